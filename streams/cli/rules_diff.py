"""How one rule set differs from another, rule by rule.

In: two compiled sets. Out: lines of unified diffs. Files do not matter: a rule that moved to another file is the same.
"""

from __future__ import annotations

from difflib import unified_diff

from dsl import Rule, RuleSet
from streams.config.units import iso_ms

NAMED = 5
"""So many rules are named, of more the number."""


def differences(old: RuleSet, new: RuleSet) -> list[str]:
    """What is other in `new`: a unified diff of each rule, in canonical form, that is not the same in both."""
    texts = [{rule.id: rule_lines(rule) for rule in rules.rules} for rules in (old, new)]
    found: list[str] = []
    for rule in sorted(texts[0].keys() | texts[1].keys()):
        before, after = (each.get(rule, []) for each in texts)
        names = (rule if before else "/dev/null", rule if after else "/dev/null")
        found += unified_diff(before, after, *names, lineterm="", n=99)
    return found


def judging_from(old: RuleSet | None, new: RuleSet, from_ms: int) -> str:
    """What a push of `new` in place of `old` says: of which traces its new rules judge, if they begin at `from_ms`.

    `old` is None where no set was active, or none that this version can compile.
    """
    enabled = [rule for rule in new.rules if rule.enabled]
    ids = [rule.id for rule in fresh(old, new)]
    active = f"{len(enabled)} {'rule is' if len(enabled) == 1 else 'rules are'} active"
    if old is None or not ids:
        return active
    named = ", ".join(ids[:NAMED]) + (f" and {len(ids) - NAMED} more" if len(ids) > NAMED else "")
    judge = "judges" if len(ids) == 1 else "judge"
    return f"{active}; new: {named}, which {judge} traces that begin after about {iso_ms(from_ms)}, when workers run"


def fresh(old: RuleSet | None, new: RuleSet) -> list[Rule]:
    """The enabled rules of `new` that are not in `old`, or say something else there."""
    known = {rule.fingerprint for rule in old.rules if rule.enabled} if old is not None else set()
    return [rule for rule in new.rules if rule.enabled and rule.fingerprint not in known]


def rule_lines(rule: Rule) -> list[str]:
    """All that is said of a rule, a line each."""
    said = {
        "title": rule.title,
        "severity": rule.severity.value,
        "kind": rule.kind.value,
        "mode": rule.mode.value,
        "enabled": str(rule.enabled).lower(),
        "controls": ", ".join(rule.controls),
        "owner": rule.owner,
        "tags": ", ".join(rule.tags),
        "timezone": rule.timezone,
        "description": rule.description,
        "references": ", ".join(rule.references),
    }
    headers = [f"{name}: {text}" for name, text in said.items() if text]
    exceptions = [f"except: {each.where}, {each.owner}, until {each.expires}" for each in rule.exceptions]
    return [*headers, *exceptions, *rule.text.splitlines()]
