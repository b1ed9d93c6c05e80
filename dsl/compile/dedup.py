"""Specifies the atoms that remember the values by which the signals of a rule are grouped.

In: the dedup of a rule, its formula, and the specs of its atoms. Out: a spec for each subject of the rule, in source
order.

These atoms are separate, although they hold for the same spans, for two reasons. If `dedup` changed the atoms by which
a rule is judged, a push that changes it would judge open windows without their facts. And it must not change the
witnesses of other rules with the same subject.
"""

from __future__ import annotations

from collections.abc import Iterable

from dsl.judge.atoms import AtomSpec, Use
from dsl.judge.keys import AtomKey
from dsl.judge.ruleset import Dedup, Formula


def dedup_specs(dedup: Dedup, formula: Formula, atom_specs: Iterable[AtomSpec]) -> tuple[AtomSpec, ...]:
    """Return the specs of the dedup atoms, each once."""
    by_fingerprint = {spec.fingerprint: spec for spec in atom_specs}
    keys = tuple(AtomKey(name, name) for name in dedup.by)
    subjects = (by_fingerprint[hit.atom] for hit in formula.subjects)
    specs = (
        AtomSpec(subject=each.subject, zone=each.zone, exemptions=each.exemptions, keys=keys, use=Use.DEDUP)
        for each in subjects
    )
    return tuple(dict.fromkeys(specs))
