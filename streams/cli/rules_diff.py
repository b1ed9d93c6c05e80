"""How one rule set differs from another, rule by rule.

In: two compiled sets. Out: lines of unified diffs. Files do not matter: a rule that moved to another file is the same.
"""

from __future__ import annotations

from difflib import unified_diff

from dsl import Rule, RuleSet


def differences(old: RuleSet, new: RuleSet) -> list[str]:
    """What is other in `new`: a unified diff of each rule, in canonical form, that is not the same in both."""
    texts = [{rule.id: rule_lines(rule) for rule in rules.rules} for rules in (old, new)]
    found: list[str] = []
    for rule in sorted(texts[0].keys() | texts[1].keys()):
        before, after = (each.get(rule, []) for each in texts)
        names = (rule if before else "/dev/null", rule if after else "/dev/null")
        found += unified_diff(before, after, *names, lineterm="", n=99)
    return found


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
