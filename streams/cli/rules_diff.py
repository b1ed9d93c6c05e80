"""Compares two rule sets, rule by rule.

In: two compiled sets. Out: lines of unified diffs. Files do not matter: a rule that moved to another file is unchanged.
"""

from __future__ import annotations

from dataclasses import asdict
from difflib import unified_diff

from dsl import Rule, RuleSet
from dsl.files.dedup import text as dedup_text
from streams.config.units import iso_ms

NAMED = 5
"""The number of rules that are named; of others only the number is shown."""


def differences(old: RuleSet, new: RuleSet) -> list[str]:
    """Return the differences in `new`: a unified diff, in canonical form, of each rule that differs."""
    texts = [{rule.id: rule_lines(rule) for rule in rules.rules} for rules in (old, new)]
    lines: list[str] = []
    for rule in sorted(texts[0].keys() | texts[1].keys()):
        before, after = (each.get(rule, []) for each in texts)
        names = (rule if before else "/dev/null", rule if after else "/dev/null")
        lines += unified_diff(before, after, *names, lineterm="", n=99)
    return lines


def judging_from(old: RuleSet | None, new: RuleSet, from_ms: int) -> str:
    """Return the message of a push of `new` in place of `old`; its new rules judge from `from_ms` on.

    `old` is None if no set was active, or this version cannot compile it.
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
    """Return the enabled rules of `new` that `old` lacks or defines differently."""
    known = {rule.fingerprint for rule in old.rules if rule.enabled} if old is not None else set()
    return [rule for rule in new.rules if rule.enabled and rule.fingerprint not in known]


def rule_lines(rule: Rule) -> list[str]:
    """Return everything a rule defines, a line each."""
    fields = {
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
        **{key: _text(value) for key, value in asdict(rule.triage).items()},
        "dedup": "" if rule.dedup is None else dedup_text(rule.dedup),
    }
    headers = [f"{name}: {text}" for name, text in fields.items() if text]
    exceptions = [f"except: {each.where}, {each.owner}, until {each.expires}" for each in rule.exceptions]
    return [*headers, *exceptions, *rule.definitions, *rule.text.splitlines()]


def _text(value: str | int | tuple[str, ...] | None) -> str:
    return "" if value is None else ", ".join(value) if isinstance(value, tuple) else str(value)
