"""What other rules change: replayed signals beside those that were published.

In: the signals of a replay, and the topic of the published ones. Out: per rule id and trace what is added, dropped and
kept. What counts is the last revision: a finding that late spans repaired is none. A published signal belongs to a time
by the first window that it tells of.
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
from streams.kafka import reader
from streams.replay.outcome import Signal
from streams.replay.plan import Period
from streams.windows.outcomes import SIGNALLED
from topics.cluster import admin


class Kind(Enum):
    """What becomes of a signal under the rules of the replay."""

    ADD = "add"
    DROP = "drop"
    KEEP = "keep"


class Change(msgspec.Struct, frozen=True):
    """A rule and a trace: the last verdict that was published, and that of the replay; None where there is none."""

    change: str
    rule: str
    trace_id: str
    published: str | None
    replayed: str | None


@dataclass(frozen=True, slots=True)
class Finding:
    """The last revision of a finding, in replay or published."""

    rule: str
    trace_id: str
    verdict: str
    time_ms: int
    revision: int


Pair = tuple[str, str]
"""Rule id, trace id in hex."""


def changes(replayed: Iterable[Finding], published: Iterable[Finding]) -> list[Change]:
    """What is added, dropped and kept, by rule and trace.

    >>> new, old = Finding("a", "0f", "broken", 1, 1), Finding("b", "0f", "broken", 1, 1)
    >>> [(each.change, each.rule) for each in changes([new], [old])]
    [('add', 'a'), ('drop', 'b')]
    """
    now, before = _verdicts(replayed), _verdicts(published)
    found = []
    for pair in sorted(now.keys() | before.keys()):
        is_now, was_before = now.get(pair) in SIGNALLED, before.get(pair) in SIGNALLED
        if is_now or was_before:
            kind = Kind.KEEP if is_now and was_before else Kind.ADD if is_now else Kind.DROP
            found.append(Change(kind.value, *pair, before.get(pair), now.get(pair)))
    return found


def of_replay(signal: Signal) -> Finding:
    """A replayed signal, to be compared."""
    return Finding(signal.rule, signal.trace_id.hex(), signal.verdict, signal.closed_ms, signal.revision)


def published(
    client: AdminClient, settings: Settings, period: Period, rules: Collection[str] | None
) -> Iterator[Finding]:
    """The published signals of a time, of the rules with these ids (None: all).

    Raises:
        ConfigError: there is no topic of signals, or they are in another format.
        StateError: they cannot be read.
    """
    topic = settings.topic("signals")
    counts = admin.partition_counts(client, [topic])
    if topic not in counts:
        raise ConfigError(f"no such topic: {topic}: there is nothing to compare with; see --prefix")
    places = [TopicPartition(topic, number) for number in range(counts[topic])]
    ends = admin.end_offsets(client, places)
    # A signal is never published before its records came.
    for (_, number), begin in admin.offsets_at(client, places, period.from_ms).items():
        at = TopicPartition(topic, number, begin)
        yield from _in_time(_read(settings, at, ends[topic, number]), period, rules)


def _in_time(signals: Iterable[_Published], period: Period, rules: Collection[str] | None) -> Iterator[Finding]:
    by_uid: dict[str, list[_Published]] = {}
    for signal in signals:
        by_uid.setdefault(signal.finding_info.uid, []).append(signal)
    for of_uid in by_uid.values():
        first_ms = min(each.unmapped.betrace.window.first_ms for each in of_uid)
        for each in of_uid:
            said = each.unmapped.betrace
            if period.holds(first_ms) and (rules is None or said.rule.id in rules):
                yield Finding(said.rule.id, said.trace_id, said.verdict, each.time, said.revision)


def _read(settings: Settings, at: TopicPartition, end: int) -> Iterator[_Published]:
    for message in reader.between(settings, at, end, lambda: False):
        try:
            yield msgspec.json.decode(message.value() or b"", type=_Published)
        except (msgspec.DecodeError, UnicodeError) as error:
            raise StateError(
                f"the signal {at.topic}[{at.partition}]@{message.offset()} cannot be compared: {error}",
                action="compare only with signals in the format ocsf",
            ) from error


def _verdicts(findings: Iterable[Finding]) -> Mapping[Pair, str]:
    """The last verdict by rule and trace."""
    in_order = sorted(findings, key=lambda each: (each.time_ms, each.revision))
    return {(each.rule, each.trace_id): each.verdict for each in in_order}


class _Rule(msgspec.Struct):
    id: str


class _Window(msgspec.Struct):
    first_ms: int


class _Betrace(msgspec.Struct):
    trace_id: str
    verdict: str
    revision: int
    rule: _Rule
    window: _Window


class _Unmapped(msgspec.Struct):
    betrace: _Betrace


class _FindingInfo(msgspec.Struct):
    uid: str


class _Published(msgspec.Struct):
    time: int
    finding_info: _FindingInfo
    unmapped: _Unmapped
