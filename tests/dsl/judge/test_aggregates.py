"""Aggregates at the limits of what is remembered."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsl import Span, compile_texts
from dsl.compile.review import InMemoryAtomFacts, judge_trace
from dsl.judge.aggregates import Constant, DistinctCount, LargestGroup, Measure, QuantityExplanation, QuantityTerm
from dsl.judge.atoms import Pairing, Use
from dsl.judge.measures import decimal_texts, total
from dsl.judge.occurrences import MAX_OCCURRENCES, MAX_VARIANTS, Occurrence, Occurrences, Variant
from dsl.syntax.nodes import MEASURES

ATOM = b"12345678"


def largest_group(kept: list[Occurrence], op: str, number: float) -> bool | None:
    """Whether the largest group of the occurrences, all that are remembered, compares so."""
    facts = {ATOM: InMemoryAtomFacts(occurrences=Occurrences(kept=kept))}
    return QuantityTerm(text="", left=LargestGroup(ATOM), op=op, right=Constant.of(number)).truth(facts, whole=True)


@pytest.mark.parametrize(("count", "expected"), [(MAX_OCCURRENCES - 1, False), (MAX_OCCURRENCES, None)])
def test_largest_group_of_too_many_spans_is_a_lower_bound(count: int, *, expected: bool | None) -> None:
    """Beyond the limit, a comparison is known only where more spans cannot change it."""
    kept = [Occurrence(number.to_bytes(8, "big"), (Variant(1, ((b"x",),)),)) for number in range(count)]

    assert expected is largest_group(kept, ">", count)
    assert largest_group(kept, ">=", count) is True


def test_largest_group_of_a_span_with_too_many_copies_is_a_lower_bound() -> None:
    """Values of copies that were not kept could make a group larger."""
    copies = tuple(Variant(start, ((b"x",),)) for start in range(MAX_VARIANTS))
    kept = [Occurrence(b"1", copies)]

    assert largest_group(kept, ">=", 1) is True
    assert largest_group(kept, ">", 1) is None


def test_distinct_values_beyond_the_limit_are_a_lower_bound() -> None:
    """A rule counts only as far as it needs, however many values another rule counts."""
    facts = {ATOM: InMemoryAtomFacts(identities={bytes([number]) for number in range(9)})}
    count = DistinctCount(ATOM, 5, is_of_values=True)

    truths = [
        QuantityTerm(text="", left=count, op=op, right=Constant.of(number)).truth(facts, whole=True)
        for op, number in ((">", 4), ("==", 4), ("==", 5), ("<=", 5), ("==", 7.5))
    ]

    assert [True, False, None, None, False] == truths


def test_many_spans_with_few_values_are_counted_exactly() -> None:
    """What is remembered for `distinct` depends on the number of values, not of spans."""
    rules, _ = compile_texts({"t.rules": "// id: r\nwhen { a } always { distinct(a, x) == 3 }"})
    spans = [
        Span("a", identity=number.to_bytes(8, "big"), attributes={"x": number % 3})
        for number in range(MAX_OCCURRENCES + 1)
    ]

    [judgement] = judge_trace(rules, spans)

    assert judgement.verdict.value == "held"
    [(atom, counted)] = [(atom.use, atom.counted) for atom in rules.atoms.values() if atom.keys]
    assert (Use.DISTINCT, 4) == (atom, counted)


def test_aggregates_share_the_atoms_of_pairs() -> None:
    """`count by` needs what a pair with the same key needs; `distinct` needs less, so it has an atom of its own."""
    rules, _ = compile_texts(
        {
            "t.rules": "// id: r\nwhen { a } always { some a has a with same x } never { count(a by x) > 3 }\n"
            "// id: s\nwhen { a } never { distinct(a, x) > 3 }"
        }
    )

    uses = sorted((atom.use.value, tuple(key.name for key in atom.keys), atom.pairing) for atom in rules.atoms.values())

    expected = [("distinct", ("x",), Pairing.EACH), ("with", (), Pairing.NOTHING), ("with", ("x",), Pairing.EACH)]
    assert expected == uses


def test_positions_that_pairs_compare_keep_atoms_apart() -> None:
    """The atom of `count by` has no positions, so a pair that compares these beside the same key has another atom."""
    text = "// id: r\n// kind: pattern\ncount(a by x) > 1 and some a has a directly above with same x"
    rules, _ = compile_texts({"t.rules": text})
    spans = [
        Span("a", span_id=own, parent_id=parent, identity=own, attributes={"x": 7})
        for own, parent in ((b"1", b""), (b"2", b"1"))
    ]

    [judgement] = judge_trace(rules, spans)

    assert judgement.verdict.value == "broken"
    assert [0, 0, 1, 1] == sorted(len(atom.links) for atom in rules.atoms.values())


def measure(function: str, op: str, number: float, kept: list[Occurrence], *, whole: bool = True) -> bool | None:
    """Whether the number of the occurrences, all that are remembered, compares so."""
    facts = {ATOM: InMemoryAtomFacts(occurrences=Occurrences(kept=kept))}
    term = QuantityTerm(text="", left=Measure(ATOM, function), op=op, right=Constant.of(number))
    return term.truth(facts, whole=whole)


def numbered(count: int) -> list[Occurrence]:
    """Occurrences with the numbers from 0 on."""
    return [Occurrence(number.to_bytes(8, "big"), (Variant(1, ((b"%d" % number,),)),)) for number in range(count)]


def test_numbers_of_too_many_spans_are_known_only_where_more_cannot_change_them() -> None:
    """Beyond the limit, there is no sum or average, and the largest and smallest number are bounds."""
    few, many = numbered(MAX_OCCURRENCES - 1), numbered(MAX_OCCURRENCES)
    sum_of_few = (MAX_OCCURRENCES - 1) * (MAX_OCCURRENCES - 2) // 2

    assert measure("sum", "==", sum_of_few, few) is True
    assert measure("avg", "==", (MAX_OCCURRENCES - 2) / 2, few) is True
    assert [None, None] == [measure(function, ">", -1, many) for function in ("sum", "avg")]
    assert [True, None] == [measure("max", ">", number, many) for number in (9_998, 9_999)]
    assert [True, None] == [measure("min", "<", number, many) for number in (1, 0)]


def test_number_of_a_span_with_too_many_copies_is_unknown() -> None:
    """A copy that was not kept could have a larger number."""
    copies = tuple(Variant(start, ((b"1",),)) for start in range(MAX_VARIANTS))

    assert {None} == {measure(function, ">", 0, [Occurrence(b"1", copies)]) for function in MEASURES}


@pytest.mark.parametrize("function", MEASURES)
def test_no_number_of_a_cut_trace_is_unknown(function: str) -> None:
    """The missing part may have numbers."""
    assert measure(function, "!=", 5, [], whole=False) is None


@given(st.lists(st.floats(-1e37, 1e37) | st.integers(-(10**37), 10**37), max_size=9), st.randoms(use_true_random=False))
def test_sum_is_exact_in_any_order(numbers: list[float], random: Random) -> None:
    """A sum is that of the decimals as they are written, however small beside the others."""
    exact = sum((Fraction(str(number)) for number in numbers), Fraction(0))
    shuffled = list(numbers)
    random.shuffle(shuffled)
    texts = [texts[0] for number in shuffled if (texts := decimal_texts(number))]

    result = total(map(Decimal, texts))

    assert exact == (None if result is None else Fraction(result))


def test_integers_of_any_size_are_no_error() -> None:
    """Whatever the value, reading it does not fail; beyond the limit there is no number."""
    limit = 10**38

    actual = [decimal_texts(value) for value in (limit, limit + 1, -limit - 1, 10**5_000, float("inf"), "9" * 19)]

    assert [(str(limit),), None, None, None, None, None] == actual


def test_broken_rule_says_what_the_numbers_are() -> None:
    """The explanation has each quantity, and how far it is known."""
    condition = (
        "sum(a, x) <= 4 and avg(a, x) < 2 and count(a by x) == count(a) and trace.duration < 1s and min(b, y) > 1"
    )
    rules, _ = compile_texts({"t.rules": f"// id: r\nwhen {{ a }} always {{ {condition} }}"})
    spans = [
        Span("a", identity=b"1", start_ns=0, attributes={"x": 1.5}),
        Span("a", identity=b"2", end_ns=2_000_000_000, attributes={"x": 3}),
    ]

    [[*of_whole], [*of_cut]] = [judge_trace(rules, spans, whole=whole)[0].explanations for whole in (True, False)]

    assert [
        ("sum(a, x) is 4.5",),
        ("avg(a, x) is 2.25",),
        ("count(a by x) is 1", "count(a) is 2"),
        ("trace.duration is 2s",),
        ("min(b, y) has no value",),
    ] == [each.amounts for each in of_whole if isinstance(each, QuantityExplanation)]
    assert [
        ("sum(a, x) is not known",),
        ("avg(a, x) is not known",),
        ("count(a by x) is 1 at least", "count(a) is 2 at least"),
        ("trace.duration is 2s at least",),
        ("min(b, y) is not known",),
    ] == [each.amounts for each in of_cut if isinstance(each, QuantityExplanation)]
