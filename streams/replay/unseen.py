"""Finds the names of rules that no span had, which may be why a rule applies to no trace.

In: rules, how often they applied, and the names that were seen. Out: the names of a rule that were not. What must hold:
a name that is reported is on no span that was read or, for an attribute on a subject, on none that has the subject.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from dsl import Atom, Rule, RuleSet
from dsl.judge.builtin import BUILTINS
from dsl.judge.predicate import EVERY_SPAN
from streams.replay.tally import Tally


class UnseenNames(NamedTuple):
    """A rule that applies to no trace, and those of its names that were never seen."""

    rule: str
    names: list[str]


def of_rules(rules: RuleSet, tallies: Mapping[str, Tally], seen: Collection[str]) -> Iterator[UnseenNames]:
    """Yield the rules that never applied, not even to an excepted trace, and have names that were never seen."""
    for rule in rules.rules:
        tally = tallies.get(rule.id)
        if rule.enabled and (tally is None or not (tally.applicable or tally.excepted)):
            names = unseen_names(rules, rule, seen)
            if names:
                yield UnseenNames(rule.id, names)


def unseen_names(rules: RuleSet, rule: Rule, seen: Collection[str]) -> list[str]:
    r"""Return the names of a rule that were never seen, sorted; of a subject that was not seen only its own name.

    >>> from dsl import compile_texts
    >>> text = "// id: a\nwhen { pay.where(amount > 5) and (x == 1) } always { log.where(id exists) }"
    >>> rules, _ = compile_texts({"a.rules": text})
    >>> unseen_names(rules, rules.rules[0], {"pay"}), unseen_names(rules, rules.rules[0], {"amount", "x", "log.id"})
    (['amount on pay', 'log', 'x'], ['pay'])
    """
    return sorted({name for each in rule.atoms for name in _unseen_of(rules.atoms[each], seen, rule)})


def _unseen_of(atom: Atom, seen: Collection[str], rule: Rule) -> Iterator[str]:
    subject = _subject(atom)
    if subject is None:
        # What an exception names is looked up too, and cannot be told apart here.
        names = atom.names if atom.names is not None or rule.exceptions else atom.attributes - BUILTINS.keys()
        yield from (name for name in names or () if name not in seen)
    elif subject != EVERY_SPAN and all(name not in seen for name in atom.names or ()):
        yield subject
    else:
        for name in sorted(atom.attributes):
            qualified = f"{subject}.{name}"
            if qualified in atom.attributes and not {name, qualified} & {*seen, *BUILTINS}:
                yield name if subject == EVERY_SPAN else f"{name} on {subject}"


def _subject(atom: Atom) -> str | None:
    """Return the name that the atom is about; None if it compares attributes of any span."""
    if atom.names is None:
        return EVERY_SPAN if EVERY_SPAN in atom.attributes else None
    shortest = min(atom.names, key=len)
    others = (name for name in atom.names if name != shortest)
    is_subject = all(
        name.startswith(f"{shortest}.") and name.removeprefix(f"{shortest}.") in atom.attributes for name in others
    )
    return shortest if is_subject else None
