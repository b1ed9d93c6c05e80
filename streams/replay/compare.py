"""Compares replayed signals with those that were published.

In: the signals of a replay, and the topic of the published ones. Out: for each rule id and trace, whether a signal is
added, dropped or kept. The last revision counts: a finding that late spans repaired is not a signal. A published signal
belongs to a period by the first window that it is about.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

import msgspec
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from streams.config.settings import Settings
from streams.errors import ConfigError, StateError
from streams.kafka import follow
from streams.replay.outcome import Signal
from streams.replay.plan import Period
from streams.windows.outcomes import SIGNALLED
from topics.cluster import admin
from topics.signals.digest import Digest, NotASignalError, digest
from topics.times import rfc3339_clamped


class Kind(Enum):
    """The difference that the rules of the replay make for a signal."""

    ADD = "add"
    DROP = "drop"
    KEEP = "keep"


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A rule and a trace: the last published verdict, and that of the replay; None if there is none.

    `time` is when it happened, `judged_at` when it was judged: from the replay if it has the finding, else as
    published.
    """

    change: str
    rule: str
    trace_id: str
    published: str | None
    replayed: str | None
    time: str
    judged_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The last revision of a finding, replayed or published; it happened at `happened_ms`, was judged at `time_ms`."""

    rule: str
    trace_id: str
    verdict: str
    time_ms: int
    revision: int
    happened_ms: int


Pair = tuple[str, str]
"""Rule id, trace id in hex."""


def changes(replayed: Iterable[Finding], published: Iterable[Finding]) -> list[Change]:
    """Return what was added, dropped and kept, by rule and trace.

    >>> broken = {"trace_id": "0f", "verdict": "broken", "time_ms": 1, "revision": 1, "happened_ms": 0}
    >>> new, old = Finding(rule="a", **broken), Finding(rule="b", **broken)
    >>> [(each.change, each.rule) for each in changes([new], [old])]
    [('add', 'a'), ('drop', 'b')]
    """
    now, before = _last(replayed), _last(published)
    pairs = sorted(now.keys() | before.keys())
    return [change for pair in pairs if (change := _change(pair, before.get(pair), now.get(pair))) is not None]


def _change(pair: Pair, before: Finding | None, now: Finding | None) -> Change | None:
    was_before, is_now = (each is not None and each.verdict in SIGNALLED for each in (before, now))
    shown = now or before
    if shown is None or not (was_before or is_now):
        return None
    kind = Kind.KEEP if is_now and was_before else Kind.ADD if is_now else Kind.DROP
    return Change(
        change=kind.value,
        rule=pair[0],
        trace_id=pair[1],
        published=None if before is None else before.verdict,
        replayed=None if now is None else now.verdict,
        time=rfc3339_clamped(shown.happened_ms),
        judged_at=rfc3339_clamped(shown.time_ms),
    )


def of_replay(signal: Signal) -> Finding:
    """Return a replayed signal as a finding to compare."""
    trace_id = signal.trace_id.hex()
    return Finding(
        rule=signal.rule,
        trace_id=trace_id,
        verdict=signal.verdict,
        time_ms=signal.closed_ms,
        revision=signal.revision,
        happened_ms=signal.happened_ms,
    )


def published(
    client: AdminClient, settings: Settings, period: Period, rules: Collection[str] | None
) -> Iterator[Finding]:
    """Yield the published signals of a period, for the rules with these ids (None: all).

    Raises:
        ConfigError: the signals topic does not exist.
        StateError: it cannot be read.
    """
    topic = settings.topic("signals")
    counts = admin.partition_counts(client, [topic])
    if topic not in counts:
        raise ConfigError(f"no such topic: {topic}: there is nothing to compare with; check --prefix")
    partitions = [TopicPartition(topic, number) for number in range(counts[topic])]
    ends = admin.end_offsets(client, partitions)
    # A signal is never published before its records arrived.
    for (_, number), offset in admin.offsets_at(client, partitions, period.from_ms).items():
        start = TopicPartition(topic, number, offset)
        yield from _in_time(_read(settings, start, ends[topic, number]), period, rules)


def _in_time(signals: Iterable[Digest], period: Period, rules: Collection[str] | None) -> Iterator[Finding]:
    by_uid: dict[str, list[Digest]] = {}
    for signal in signals:
        by_uid.setdefault(signal.uid, []).append(signal)
    for of_uid in by_uid.values():
        first_ms = min(each.time_ms if each.first_ms is None else each.first_ms for each in of_uid)
        for each in of_uid:
            if period.holds(first_ms) and (rules is None or each.rule_id in rules):
                yield Finding(
                    rule=each.rule_id,
                    trace_id=each.trace_id,
                    verdict=each.verdict,
                    time_ms=each.time_ms,
                    revision=each.revision,
                    happened_ms=each.happened_ms,
                )


def _read(settings: Settings, start: TopicPartition, end: int) -> Iterator[Digest]:
    for message in follow.read_range(settings.reader(), start.topic, start.partition, start.offset, end - 1):
        try:
            yield digest(message.value() or b"")
        except NotASignalError as error:
            raise StateError(
                f"the signal {start.topic}[{start.partition}]@{message.offset()} cannot be compared: {error}",
                action="compare with the version that published it",
            ) from error


def _last(findings: Iterable[Finding]) -> Mapping[Pair, Finding]:
    """Return the last finding by rule and trace."""
    in_order = sorted(findings, key=lambda each: (each.time_ms, each.revision))
    return {(each.rule, each.trace_id): each for each in in_order}
