"""Aggregates at the limits of what is remembered."""

from __future__ import annotations

import pytest

from dsl import Span, compile_texts
from dsl.compile.review import InMemoryAtomFacts, judge_trace
from dsl.judge.aggregates import Constant, DistinctCount, LargestGroup, QuantityTerm
from dsl.judge.atoms import Pairing, Use
from dsl.judge.occurrences import MAX_OCCURRENCES, MAX_VARIANTS, Occurrence, Occurrences, Variant

ATOM = b"12345678"


def largest_group(kept: list[Occurrence], op: str, number: float) -> bool | None:
    """Whether the largest group of the occurrences, all that are remembered, compares so."""
    facts = {ATOM: InMemoryAtomFacts(occurrences=Occurrences(kept=kept))}
    return QuantityTerm("", LargestGroup(ATOM), op, Constant.of(number)).truth(facts, whole=True)


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
        QuantityTerm("", count, op, Constant.of(number)).truth(facts, whole=True)
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

    uses = sorted((atom.use.value, atom.keys, atom.pairing) for atom in rules.atoms.values())

    expected = [("distinct", ("x",), Pairing.EACH), ("with", (), Pairing.NOTHING), ("with", ("x",), Pairing.EACH)]
    assert expected == uses
