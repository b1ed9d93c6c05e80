"""The parts of a judgement besides its verdict."""

from __future__ import annotations

import pytest

from dsl import compile_texts, judge
from dsl.compile.review import InMemoryAtomFacts, judge_trace
from tests.support.fixtures import outcome

_WHENS = "// id: r\n"
_PATTERN = "// id: r\n// kind: pattern\n"
_INVARIANT = "// id: r\n// kind: invariant\n"


@pytest.mark.parametrize(
    ("rule", "trace", "missing", "present", "subjects"),
    [
        (_WHENS + "when { a } always { b }", "broken a", ["b"], [], ["a"]),
        (_WHENS + "when { a } always { b }", "held a b", [], [], ["a", "b"]),
        (_WHENS + "when { a } always { b and c }", "broken a c", ["b"], [], ["a", "c"]),
        (_WHENS + "when { a } always { b or c }", "broken a", ["b", "c"], [], ["a"]),
        (_WHENS + "when { a } always { not b }", "broken a b", [], ["b"], ["a", "b"]),
        (_WHENS + "when { a } never { b or c }", "broken a c", [], ["c"], ["a", "c"]),
        (_WHENS + "when { a } never { d and not e } always { b }", "broken a d", ["b", "e"], ["d"], ["a", "d"]),
        (_WHENS + "when { a } always { a before b }", "broken b a", ["a before b"], [], ["a", "b"]),
        (_WHENS + "when { a } never { count(b) > 1 }", "broken a b b", [], ["count(b) > 1"], ["a", "b"]),
        (_WHENS + "when { not a } always { b }", "broken x", ["b"], [], ["span"]),
        (_WHENS + "when { a } always { b }", "cut undetermined a", ["b"], [], ["a"]),
        (_WHENS + "when { a } never { b }", "cut undetermined a", [], [], ["a"]),
        (_WHENS + "when { a } never { b }", "cut broken a b", [], ["b"], ["a", "b"]),
        (_INVARIANT + "a and b and not c", "broken a c", ["b"], ["c"], ["a", "c"]),
        (_PATTERN + "a and not b", "broken a", ["b"], [], ["a"]),
        (_PATTERN + "a and b", "broken a b", [], ["a", "b"], ["a", "b"]),
        (_PATTERN + "a and (b or c)", "broken a c", [], ["a", "c"], ["a", "c"]),
        (_PATTERN + "a and not b", "held a b", [], [], ["a", "b"]),
        (
            _PATTERN + "a and a.where(x == 1)",
            'broken a{"x": 1}',
            [],
            ["a", "a.where(x == 1)"],
            ["a", "a.where(x == 1)"],
        ),
    ],
)
def test_judgement_names_what_is_missing_and_what_is_present(
    rule: str, trace: str, missing: list[str], present: list[str], subjects: list[str]
) -> None:
    """A judgement lists what is missing, what is forbidden and present, and the subjects that were hit, in order."""
    rules, _ = compile_texts({"t.rules": rule})
    is_whole, verdict, spans = outcome(trace)

    (judgement,) = judge_trace(rules, spans, whole=is_whole)

    assert verdict == judgement.verdict.value
    assert (missing, present) == (list(judgement.missing), list(judgement.present))
    assert subjects == [text for text, _ in judgement.subjects]
    assert all(rules.atoms[atom].text == text for text, atom in judgement.subjects)


def test_judgements_are_in_the_order_of_rule_ids() -> None:
    """Every rule that applies to the trace is judged, in the order of ids."""
    rules, _ = compile_texts(
        {"t.rules": "// Signal: C (low)\na\n\n// Signal: A (low)\na and b\n\n// Signal: B (low)\nc"}
    )

    judgements = judge_trace(rules, outcome("yes a")[2])

    assert [("A", "held"), ("C", "broken")] == [(each.rule.id, each.verdict.value) for each in judgements]


def test_atoms_of_other_rule_sets_are_passed_over() -> None:
    """Facts of unknown atoms are ignored."""
    rules, _ = compile_texts({"t.rules": "// Signal: A (low)\na"})

    assert [] == judge(rules, {b"unknown!": InMemoryAtomFacts()}, whole=True)


@pytest.mark.parametrize(
    ("condition", "counts", "verdict"),
    [
        ("count(a) > 20000", {"a": 10_000}, "undetermined"),
        ("count(a) > 20000", {"a": 9_999}, "held"),
        ("count(a) >= count(b)", {"a": 10_000, "b": 10_000}, "undetermined"),
        ("count(a) >= count(b)", {"a": 10_000, "b": 9_999}, "broken"),
        ("count(a) >= count(b)", {"a": 5, "b": 10_000}, "held"),
        ("count(a) == 3", {"a": 4}, "held"),
        ("count(a) >= 3", {"a": 4}, "broken"),
    ],
)
def test_count_beyond_what_is_counted_is_undetermined(condition: str, counts: dict[str, int], verdict: str) -> None:
    """At the limit a count is a lower bound; a comparison that depends on more is undetermined."""
    rules, _ = compile_texts({"t.rules": _PATTERN + condition})
    facts = {
        fingerprint: InMemoryAtomFacts(identities={index.to_bytes(8) for index in range(counts.get(atom.text, 1))})
        for fingerprint, atom in rules.atoms.items()
    }

    (judgement,) = judge(rules, facts, whole=True)

    assert verdict == judgement.verdict.value


def test_condition_beyond_what_is_counted_makes_a_rule_undetermined() -> None:
    """A rule whose condition depends on more than is counted is not held."""
    rules, _ = compile_texts({"t.rules": _WHENS + "when { count(a) > 20000 } always { b }"})
    facts = {
        fingerprint: InMemoryAtomFacts(identities={index.to_bytes(8) for index in range(10_000)})
        for fingerprint, atom in rules.atoms.items()
    }

    (judgement,) = judge(rules, facts, whole=True)

    assert "undetermined" == judgement.verdict.value
