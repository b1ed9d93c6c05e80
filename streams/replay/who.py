"""Groups broken traces by an attribute, with what happened when.

In: signals. Out: groups, the largest first. Only the last revision of a finding counts: a finding that late spans
repaired is not a broken trace.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

import msgspec

from dsl import Verdict
from streams.config.units import iso_ms
from streams.replay.outcome import NOBODY, Signal
from topics.times import rfc3339_clamped


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """A broken trace: when it happened, when it was judged, and the message of its signal."""

    time: str
    judged_at: str
    rule: str
    trace_id: str
    message: str


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """The broken traces with one value of the attribute, `who`; None for those without it.

    `first` and `last` are when the first and the last of them happened.
    """

    who: str | None
    broken: int
    traces: int
    rules: dict[str, int]
    first: str
    last: str
    timeline: list[Moment]


def last_revisions(signals: Iterable[Signal]) -> list[Signal]:
    """Return the last signal of each finding, by when it happened."""
    last: dict[str, Signal] = {}
    for signal in signals:
        before = last.get(signal.uid)
        if before is None or signal.revision > before.revision:
            last[signal.uid] = signal
    return sorted(last.values(), key=lambda signal: (signal.happened_ms, signal.trace_id, signal.rule))


def groups(signals: Iterable[Signal]) -> list[Group]:
    """Return the groups of the broken traces, the largest first, those without the attribute last."""
    by_value: defaultdict[str, list[Signal]] = defaultdict(list)
    for signal in last_revisions(signals):
        if signal.verdict == Verdict.BROKEN.value:
            by_value[signal.who or NOBODY].append(signal)
    in_order = sorted(by_value.items(), key=lambda each: (each[0] == NOBODY, -len(each[1]), each[0]))
    return [_group(None if who == NOBODY else who, each) for who, each in in_order]


def _group(who: str | None, signals: list[Signal]) -> Group:
    return Group(
        who=who,
        broken=len(signals),
        traces=len({signal.trace_id for signal in signals}),
        rules=dict(sorted(Counter(signal.rule for signal in signals).items())),
        first=rfc3339_clamped(signals[0].happened_ms),
        last=rfc3339_clamped(signals[-1].happened_ms),
        timeline=[*map(_moment, signals)],
    )


def _moment(signal: Signal) -> Moment:
    return Moment(
        time=rfc3339_clamped(signal.happened_ms),
        judged_at=iso_ms(signal.closed_ms),
        rule=signal.rule,
        trace_id=signal.trace_id.hex(),
        message=signal.message or "",
    )
