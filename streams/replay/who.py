"""Who broke the rules: broken traces grouped by an attribute, with what happened when.

In: signals. Out: groups, the largest first. Only the last revision of a finding counts: what late spans repaired is no
broken trace.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

import msgspec

from dsl import Verdict
from streams.config.units import iso_ms
from streams.replay.outcome import NOBODY, Signal


class Moment(msgspec.Struct, frozen=True):
    """A broken trace: when it began, and what was said of it."""

    time: str
    rule: str
    trace_id: str
    message: str


class Group(msgspec.Struct, frozen=True):
    """The broken traces of one value of the attribute, `who`; None are those without it."""

    who: str | None
    broken: int
    traces: int
    rules: dict[str, int]
    first: str
    last: str
    timeline: list[Moment]


def last_revisions(signals: Iterable[Signal]) -> list[Signal]:
    """The last signal of each finding, by the time at which its trace began for the rule."""
    last: dict[str, Signal] = {}
    for signal in signals:
        before = last.get(signal.uid)
        if before is None or signal.revision > before.revision:
            last[signal.uid] = signal
    return sorted(last.values(), key=lambda signal: (signal.first_ms, signal.trace_id, signal.rule))


def groups(signals: Iterable[Signal]) -> list[Group]:
    """The groups of the broken traces, the one with the most first, those without the attribute last."""
    found: defaultdict[str, list[Signal]] = defaultdict(list)
    for signal in last_revisions(signals):
        if signal.verdict == Verdict.BROKEN.value:
            found[signal.who or NOBODY].append(signal)
    in_order = sorted(found.items(), key=lambda each: (each[0] == NOBODY, -len(each[1]), each[0]))
    return [_group(None if who == NOBODY else who, each) for who, each in in_order]


def _group(who: str | None, signals: list[Signal]) -> Group:
    return Group(
        who,
        len(signals),
        len({signal.trace_id for signal in signals}),
        dict(sorted(Counter(signal.rule for signal in signals).items())),
        iso_ms(signals[0].first_ms),
        iso_ms(signals[-1].first_ms),
        [Moment(iso_ms(each.first_ms), each.rule, each.trace_id.hex(), each.message or "") for each in signals],
    )
