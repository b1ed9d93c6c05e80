"""Computes from when each active rule judges, in all facts partitions together.

In: a rule set, and for each facts partition from when its rules judge. Out: one time per rule, as a value and as text.
A rule judges in a partition only once every source partition is projected with it, and then only traces that begin
later than anything that was projected without it (`streams.windows.rule_times`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from dsl import RuleSet
from streams.config.units import iso_ms

NAMED = 5
"""The number of rules of one time that are named; of others only the number is shown."""
MOMENTS = 5
"""The number of latest times with a line each; all earlier ones share a line."""


class RuleStart(msgspec.Struct, frozen=True):
    """From when a rule judges: traces that begin at record time `from_ms` or later; 0 means any, None none yet."""

    rule: str
    fingerprint: str
    from_ms: int | None


def starts(rules: RuleSet, partitions: Iterable[Mapping[str, int]]) -> list[RuleStart]:
    """Return from when each enabled rule judges in all facts partitions: the latest of the partitions' times.

    `partitions` map rule fingerprints to times. A rule that is missing in one of them judges nothing yet, and so does
    every rule while there is no partition.
    """
    times = [*partitions]
    return [
        RuleStart(rule.id, rule.fingerprint, _latest(each.get(rule.fingerprint) for each in times))
        for rule in rules.rules
        if rule.enabled
    ]


def _latest(moments_ms: Iterable[int | None]) -> int | None:
    latest_ms: int | None = None
    for moment_ms in moments_ms:
        if moment_ms is None:
            return None
        latest_ms = moment_ms if latest_ms is None else max(latest_ms, moment_ms)
    return latest_ms


def sentences(rule_starts: Iterable[RuleStart]) -> list[str]:
    """Return a line for the rules that judge nothing yet, then one for each time, the latest first.

    >>> starts = [RuleStart("a", "f0", 0), RuleStart("b", "f1", 1767614400000), RuleStart("c", "f2", None)]
    >>> for line in sentences(starts):
    ...     print(line)
    1 rule (c) judges nothing yet: it waits for every source partition
    1 rule (b) judges traces that begin from 2026-01-05T12:00:00.000Z on
    1 rule (a) judges every trace
    """
    by_moment: defaultdict[int | None, list[str]] = defaultdict(list)
    for each in rule_starts:
        by_moment[each.from_ms].append(each.rule)
    waiting = by_moment.pop(None, [])
    lines = []
    if waiting:
        lines.append(f"{_subject(waiting, 'judges', 'judge')} nothing yet: {_it(waiting)} for every source partition")
    moments = sorted(((at, rules) for at, rules in by_moment.items() if at is not None), reverse=True)
    lines += [_sentence(at, rules) for at, rules in moments[:MOMENTS]]
    if earlier := moments[MOMENTS:]:
        rules = [rule for _, of_moment in earlier for rule in of_moment]
        lines.append(f"{_sentence(earlier[0][0], rules)}, or earlier")
    return lines


def _sentence(from_ms: int, rules: Sequence[str]) -> str:
    what = "every trace" if from_ms == 0 else f"traces that begin from {iso_ms(from_ms)} on"
    return f"{_subject(rules, 'judges', 'judge')} {what}"


def _subject(rules: Sequence[str], one: str, more: str) -> str:
    names = ", ".join(rules[:NAMED]) + (f" and {len(rules) - NAMED} more" if len(rules) > NAMED else "")
    return f"{len(rules)} {'rule' if len(rules) == 1 else 'rules'} ({names}) {one if len(rules) == 1 else more}"


def _it(rules: Sequence[str]) -> str:
    return "it waits" if len(rules) == 1 else "they wait"
