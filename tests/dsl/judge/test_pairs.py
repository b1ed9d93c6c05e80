"""Pairs at the limits of what a window remembers."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from dsl import RuleSet, Span, compile_texts, judge
from dsl.compile.review import InMemoryAtomFacts, judge_trace
from dsl.judge.occurrences import MAX_OCCURRENCES
from dsl.judge.pairs import PairExplanation
from dsl.judge.span import Attributes

_MANY = MAX_OCCURRENCES


def spans(
    name: str, count: int, first: int = 0, step: int = 1, attributes: Attributes | None = None, of: str = ""
) -> list[Span]:
    """Spans of a name that start one after the other."""
    ids = [f"{name}{of}{number:07}".encode() for number in range(count)]
    return [
        Span(name, span_id=each, start_ns=1 + first + step * number, attributes=attributes or {}, identity=each)
        for number, each in enumerate(ids)
    ]


def sharing(count: int) -> list[Span]:
    """As many a as b, each with other values, of which one is the same for all."""
    return [
        span
        for name in "ab"
        for number in range(count)
        for span in spans(name, 1, attributes={"u": ["shared", f"{name}{number}"]}, of=f"{number:04}")
    ]


def _displaced() -> list[Span]:
    """A span of a whose id is larger than that of all others, so that it is not kept beside `_MANY` of them."""
    return spans("a", 1, attributes={"k": 1}, of="z")


def verdict(condition: str, trace: Iterable[Span]) -> str:
    """The verdict of a rule."""
    rules, _ = compile_texts({"t.rules": f"// id: r\n{condition}"})
    (judgement,) = judge_trace(rules, trace)
    return judgement.verdict.value


@pytest.mark.parametrize(
    ("condition", "trace", "expected"),
    [
        # What is kept decides where it can.
        ("when { a } never { some a has b with same k }", lambda: [*spans("a", _MANY), *spans("b", 1)], "undetermined"),
        (
            "when { a } never { some a has b with same k }",
            lambda: [*spans("a", _MANY, attributes={"k": 1}), *spans("b", 1, attributes={"k": 1})],
            "broken",
        ),
        ("when { a } never { some a has b with same k }", lambda: [*spans("a", _MANY - 1), *spans("b", 1)], "held"),
        # What made it true was displaced, wherever it stood in the trace; then it is unknown, not false.
        (
            "when { a } never { some a has b with same k }",
            lambda: [*_displaced(), *spans("b", 1, attributes={"k": 1}), *spans("a", _MANY)],
            "undetermined",
        ),
        (
            "when { a } never { some a has b with same k }",
            lambda: [*spans("a", _MANY), *_displaced(), *spans("b", 1, attributes={"k": 1})],
            "undetermined",
        ),
        ("when { a } never { some a has b before }", lambda: [*spans("b", 1), *spans("a", 2 * _MANY)], "broken"),
        ("when { a } always { each a has own b after }", lambda: [*spans("a", 1), *spans("b", _MANY, first=1)], "held"),
        (
            "when { a } always { each a has own b before }",
            lambda: [*spans("a", 1), *spans("b", _MANY, first=1)],
            "undetermined",
        ),
        ("when { a } always { each a has own b after }", lambda: [*spans("a", _MANY), *spans("b", 1)], "broken"),
        # Something that is not kept could lie between.
        (
            "when { a } never { some a has b before without c between }",
            lambda: [*spans("b", 1), *spans("c", _MANY, first=10), *spans("a", 1, first=5)],
            "undetermined",
        ),
        # First and last starts are known of however many.
        (
            "when { a } always { each a has b before }",
            lambda: [*spans("b", 1), *spans("a", 2 * _MANY, first=1)],
            "held",
        ),
        (
            "when { a } never { some a has b before }",
            lambda: [*spans("a", 2 * _MANY), *spans("b", 1, first=5)],
            "broken",
        ),
        # One of its own for thousands, and one too few.
        (
            "when { a } always { each a has own b after }",
            lambda: [*spans("a", 5000), *spans("b", 5000, first=5000)],
            "held",
        ),
        (
            "when { a } always { each a has own b after }",
            lambda: [*spans("a", 5000), *spans("b", 4999, first=5000)],
            "broken",
        ),
        (
            "when { a } always { each a has own b after without c between }",
            lambda: [*spans("a", 3000, step=3), *spans("b", 3000, first=1, step=3), *spans("c", 3000, first=2, step=3)],
            "held",
        ),
        # A search is limited in each bucket of equal keys, not over all.
        (
            "when { a } always { each a has own b with same k, different u }",
            lambda: [
                span
                for k in range(4)
                for span in [
                    *spans("a", 300, first=k, attributes={"k": k, "u": 1}, of=str(k)),
                    *spans("b", 300, attributes={"k": k, "u": 2}, of=str(k)),
                ]
            ],
            "held",
        ),
        (
            "when { a } always { each a has own b with same k, different u }",
            lambda: [
                *spans("a", 501, attributes={"k": 1, "u": 1}),
                *spans("b", 501, attributes={"k": 1, "u": 2}),
            ],
            "undetermined",
        ),
        # Nobody competes for partners that do not exist.
        (
            "when { a } always { each a has own b with same k, different u }",
            lambda: [*spans("a", 501, attributes={"k": 1, "u": 1}), *spans("b", 501, attributes={"k": 2, "u": 2})],
            "broken",
        ),
        (
            "when { a } always { each a has own b within 1s }",
            lambda: [*spans("a", 3000, step=2 * 10**9), *spans("b", 3000, first=10**9, step=2 * 10**9)],
            "held",
        ),
        # Equal neighbours are tested once; others up to a limit.
        (
            "when { a } always { each a has b with different u }",
            lambda: [
                *spans("a", 3000, attributes={"u": 1}),
                *spans("b", 3000, attributes={"u": 1}),
                *spans("b", 1, attributes={"u": 2}, of="z"),
            ],
            "held",
        ),
        (
            "when { a } always { each a has b with different u, different v }",
            lambda: [
                *spans("a", 100, attributes={"u": 1, "v": 1}),
                *spans("b", 2000, attributes={"u": 1, "v": 1}),
                *[
                    span
                    for number in range(2000)
                    for span in spans("b", 1, attributes={"u": 1, "v": number}, of=f"v{number}")
                ],
            ],
            "undetermined",
        ),
        # A trace made for it cannot take minutes: so many tests in all, and no more.
        ("when { a } never { some a has b with different u }", lambda: sharing(500), "held"),
        ("when { a } never { some a has b with different u }", lambda: sharing(501), "undetermined"),
        # With several values each a search would take too long.
        (
            "when { a } always { each a has own b with same k }",
            lambda: [*spans("a", 501, attributes={"k": [1, 2]}), *spans("b", 501, attributes={"k": [2, 3]})],
            "undetermined",
        ),
        (
            "when { a } always { each a has own b with same k }",
            lambda: [*spans("a", 500, attributes={"k": [1, 2]}), *spans("b", 500, attributes={"k": [2, 3]})],
            "held",
        ),
        (
            "when { a } always { each a has own b with same k }",
            lambda: [*spans("a", 500, attributes={"k": [1, 2]}), *spans("b", 499, attributes={"k": [2, 3]})],
            "broken",
        ),
    ],
)
def test_what_is_remembered_decides_where_it_can(
    condition: str, trace: Callable[[], list[Span]], expected: str
) -> None:
    """A trace beyond the limit is undetermined only where the omitted occurrences could change the verdict."""
    assert expected == verdict(condition, trace())


def test_an_explanation_names_no_span_that_may_have_a_partner() -> None:
    """Of two spans without a partner, one has too many values to be sure: the signal must not say that it has none."""
    rules, _ = compile_texts({"t.rules": "// id: r\nwhen { a } always { each a has b with same k }"})
    trace = [
        *spans("a", 1, attributes={"k": [*range(100)]}, of="many"),
        *spans("a", 1, attributes={"k": 1}, of="one"),
        *spans("b", 1, attributes={"k": 2}),
    ]

    (judgement,) = judge_trace(rules, trace)

    (explanation,) = judgement.explanations
    assert isinstance(explanation, PairExplanation)
    assert judgement.verdict.value == "broken"
    assert [trace[1].identity] == [example.occurrence.identity for example in explanation.examples]


def test_rules_without_pairs_remember_no_occurrences() -> None:
    """Neither orders, nor counts, nor pairs that first and last starts decide keep occurrences."""
    text = "when { a } always { a before b and count(a) > 1 } never { some a has b before or not each b has a after }"
    rules, _ = compile_texts({"t.rules": f"// id: r\n{text}"})
    facts = _facts(rules, [*spans("a", 3), *spans("b", 3)])

    judge(rules, facts, whole=True)

    kept = [each.occurrences.kept for each in facts.values() if each.occurrences is not None]
    assert [] == [occurrence for occurrences in kept for occurrence in occurrences]


def test_keys_make_an_atom_of_their_own() -> None:
    """The join keys of one rule do not affect another rule with the same subject."""
    rules, _ = compile_texts(
        {
            "t.rules": "// id: plain\nwhen { a } always { each a has own b }\n"
            "// id: keyed\nwhen { a } always { each a has own b with same k, same l }"
        }
    )

    keys = sorted((atom.text, tuple(key.name for key in atom.keys)) for atom in rules.atoms.values())

    assert [("a", ()), ("a", ("k", "l")), ("b", ()), ("b", ("k", "l"))] == keys


def test_a_witness_shows_the_values_that_are_compared() -> None:
    """A reader of the signal sees the compared values."""
    rules, _ = compile_texts({"t.rules": "// id: r\nwhen { a } never { some a has b with same k }"})
    trace = [*spans("a", 1, attributes={"k": 17}), *spans("b", 1, attributes={"k": 17})]

    (judgement,) = judge_trace(rules, trace)

    shown = {text: rules.atoms[atom].witness(trace[0]) for text, atom in judgement.subjects}
    assert {"a": {"k": 17}, "b": {"k": 17}} == shown


def _facts(rules: RuleSet, trace: Iterable[Span]) -> dict[bytes, InMemoryAtomFacts]:
    facts: dict[bytes, InMemoryAtomFacts] = {}
    for span in trace:
        for atom in rules.hits(span):
            facts.setdefault(atom.fingerprint, InMemoryAtomFacts()).add(atom, span)
    return facts
