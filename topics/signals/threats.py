"""Sorts the ids of MITRE ATT&CK and ATLAS that a rule names into tactics, techniques and sub-techniques.

In: ids such as T1059.001, TA0001 and AML.T0051. Out: `Threat`s.
"""

from __future__ import annotations

from typing import NamedTuple

from topics.signals.finding import RuleText

ATTACK = "MITRE ATT&CK"
ATLAS = "MITRE ATLAS"

_ATLAS_PREFIX = "AML."
_TACTIC_PREFIX = "TA"


class Threat(NamedTuple):
    """One id: that of a tactic, or of a technique and perhaps its sub-technique."""

    tactic: str | None = None
    technique: str | None = None
    sub_technique: str | None = None


def threat(identifier: str) -> Threat:
    """Return what an id is about.

    >>> threat("T1059.001"), threat("AML.TA0002").tactic, threat("AML.T0051").technique
    (Threat(tactic=None, technique='T1059', sub_technique='T1059.001'), 'AML.TA0002', 'AML.T0051')
    """
    short = identifier.removeprefix(_ATLAS_PREFIX)
    if short.startswith(_TACTIC_PREFIX):
        return Threat(tactic=identifier)
    technique, dot, _ = short.partition(".")
    whole = identifier[: len(identifier) - len(short)] + technique
    return Threat(technique=whole, sub_technique=identifier if dot else None)


def threats(rule: RuleText) -> list[Threat]:
    """Return the threats of a rule, sorted by id, each once."""
    return [threat(identifier) for identifier in sorted({*rule.attack, *rule.atlas})]


def frameworks(rule: RuleText) -> list[str]:
    """Return the names of the frameworks whose ids the rule names."""
    return [name for name, identifiers in ((ATTACK, rule.attack), (ATLAS, rule.atlas)) if identifiers]
