"""Judges a trace: turns facts into verdicts.

In: a rule set, the facts of a window, and whether the trace is whole. Out: a `Judgement` for each rule that applies to
the trace. Pure; the cost depends on the atoms that were hit, not on the number of rules or the length of the trace.
"""

from __future__ import annotations

from enum import Enum

import msgspec

from dsl.judge.aggregates import QuantityExplanation
from dsl.judge.facts import AtomFacts, Facts, JudgedFacts
from dsl.judge.formula import explanations, reasons
from dsl.judge.pairs import PairExplanation
from dsl.judge.ruleset import Formula, Kind, Rule, RuleSet

__all__ = ["AtomFacts", "Judgement", "Verdict", "judge"]


class Verdict(Enum):
    """The verdict of a rule on one trace."""

    NOT_APPLICABLE = "not_applicable"
    HELD = "held"
    BROKEN = "broken"
    UNDETERMINED = "undetermined"


# Positional: one is made for each rule and window, and keywords take several times as long.
class Judgement(msgspec.Struct, frozen=True, gc=False):
    """One rule's verdict on one trace.

    When the verdict is broken or undetermined, `missing` lists what was required and absent, and `present` what was
    forbidden and present: subjects, or comparisons of counts and of order, in canonical form. `subjects` are the rule's
    subjects that were hit, with their atoms, in source order. `excepted` means that the rule is not applicable only
    because of an exception. `explanations` are those of the pairs and aggregates among `missing` and `present`.
    """

    rule: Rule
    verdict: Verdict
    missing: tuple[str, ...]
    present: tuple[str, ...]
    subjects: tuple[tuple[str, bytes], ...]
    excepted: bool
    explanations: tuple[PairExplanation | QuantityExplanation, ...] = ()


def judge(rules: RuleSet, facts: Facts, *, whole: bool) -> list[Judgement]:
    """Return one judgement per rule that is applicable or excepted, sorted by rule id.

    `facts` has the facts of every atom that was hit, by fingerprint. A trace that is not `whole` gets a verdict other
    than undetermined only where the missing part could not change it.
    """
    judged = JudgedFacts(facts)
    judgements = (_judge(rule, judged, whole=whole) for rule in rules.candidates(facts))
    return [judgement for judgement in judgements if judgement is not None]


def _judge(rule: Rule, facts: Facts, *, whole: bool) -> Judgement | None:
    formula = rule.formula
    # The hits decide whether a rule is about a trace; only for such a rule does the missing part matter.
    applies = formula.applies.truth(facts, whole=True)
    if applies is False:
        is_excepted = formula.unexcepted is not None and formula.unexcepted.truth(facts, whole=True) is True
        return Judgement(rule, Verdict.NOT_APPLICABLE, (), (), (), excepted=True) if is_excepted else None
    if not whole:
        applies = formula.applies.truth(facts, whole=False)
    is_broken = formula.broken.truth(facts, whole=whole)
    if is_broken is False and applies is True:
        return Judgement(rule, Verdict.HELD, (), (), _hit_subjects(formula, facts), excepted=False)
    verdict = Verdict.BROKEN if is_broken and applies else Verdict.UNDETERMINED
    missing, present = _reasons(rule, facts, whole=whole)
    named = {*missing, *present}
    found = explanations(formula.broken, facts, whole=whole, expected=False)
    explained = tuple(each for each in found if each.text in named)
    return Judgement(
        rule, verdict, missing, present, _hit_subjects(formula, facts), excepted=False, explanations=explained
    )


def _reasons(rule: Rule, facts: Facts, *, whole: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what is missing, and what is present but forbidden."""
    why = dict.fromkeys(reasons(rule.formula.broken, facts, whole=whole, expected=False))
    missing = tuple(reason.text for reason in why if reason.is_missing)
    if rule.kind is Kind.PATTERN and missing:
        # A pattern is broken only by all its subjects together: when one is missing, the others are not a violation.
        return missing, ()
    return missing, tuple(reason.text for reason in why if not reason.is_missing)


def _hit_subjects(formula: Formula, facts: Facts) -> tuple[tuple[str, bytes], ...]:
    return tuple((text, atom) for text, atom in formula.subjects if atom in facts)
