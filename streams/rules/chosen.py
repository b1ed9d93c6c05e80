"""Chooses some of the rules of a set by their ids.

In: a rule set, and ids. Out: a rule set with only those rules and their atoms.
"""

from __future__ import annotations

from dsl import RuleSet
from streams.errors import ConfigError


def chosen(rules: RuleSet, ids: frozenset[str]) -> RuleSet:
    """Return the rules with these ids.

    Raises:
        ConfigError: there is no rule with one of them.
    """
    selected = [rule for rule in rules.rules if rule.id in ids]
    if missing := ids - {rule.id for rule in selected}:
        raise ConfigError(
            f"no rule has the id {', '.join(sorted(missing))}: the ids are {', '.join(rule.id for rule in rules.rules)}"
        )
    atoms = frozenset().union(*(rule.remembered_atoms for rule in selected))
    return RuleSet.of(selected, [atom for atom in rules.atoms.values() if atom.fingerprint in atoms], rules.texts)


def only(rules: RuleSet, rule_id: str | None) -> RuleSet:
    """Return the rule with this id, or without an id the only rule, as a set.

    Raises:
        ConfigError: there is no such rule, it is not enabled, or there are several rules and no id.
    """
    if rule_id is None and len(rules.rules) != 1:
        raise ConfigError(f"say which rule with --rule: the ids are {', '.join(rule.id for rule in rules.rules)}")
    one = rules if rule_id is None else chosen(rules, frozenset({rule_id}))
    if not one.rules[0].enabled:
        raise ConfigError(f"{one.rules[0].id} is not enabled: it judges nothing")
    return one
