"""Determines the atoms that remember by which values the signals of a rule are grouped.

In: the dedup of a rule, its formula, and the specs of its atoms. Out: a spec for each subject of the rule, in source
order.

These atoms are separate, although they hold for the same spans: a rule's dedup must change neither the atoms by which
it is judged, or a push that changes it would judge the open windows without their facts, nor the witnesses of other
rules with the same subject.
"""

from __future__ import annotations

from collections.abc import Iterable

from dsl.judge.atoms import AtomSpec, Use
from dsl.judge.keys import AtomKey
from dsl.judge.ruleset import Dedup, Formula


def dedup_specs(dedup: Dedup, formula: Formula, atom_specs: Iterable[AtomSpec]) -> tuple[AtomSpec, ...]:
    """Return the specs, each once."""
    by_fingerprint = {spec.fingerprint: spec for spec in atom_specs}
    keys = tuple(AtomKey(name, name) for name in dedup.by)
    subjects = (by_fingerprint[hit.atom] for hit in formula.subjects)
    specs = (
        AtomSpec(subject=each.subject, zone=each.zone, exemptions=each.exemptions, keys=keys, use=Use.DEDUP)
        for each in subjects
    )
    return tuple(dict.fromkeys(specs))
