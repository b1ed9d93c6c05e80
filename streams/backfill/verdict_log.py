"""Reads `betrace.verdicts`: from when live judges each rule, how far it has judged, and what backfills have published.

In: the topic, from a time on. Out: sums over its records, which `read` brings up to date.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

import msgspec
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from streams.config.settings import Settings
from streams.errors import StateError
from streams.kafka import reader
from streams.kafka.unreadable import UnreadableRange
from streams.windows.clock import Source
from topics.cluster import admin
from topics.records import verdicts
from topics.records.verdicts import LIVE_ORIGIN, Counted, Coverage

Times: TypeAlias = list[tuple[int, int]]


class _Counts(msgspec.Struct, tag_field="kind", tag="counts", gc=False):
    """The part of a counts record that is needed here."""

    partition: int
    clock_ms: int
    origin: str = LIVE_ORIGIN


class LiveStart(NamedTuple):
    """Live judges chains whose traces were first read at `from_ms` or later; coverage says so from `stated_ms` on.

    After a time without records these differ: the settled period was reported before the rule was known.
    """

    from_ms: int
    stated_ms: int

    def earliest(self, other: LiveStart | None) -> LiveStart:
        """Return the earlier times of both.

        >>> LiveStart(5, 9).earliest(LiveStart(6, 7))
        LiveStart(from_ms=5, stated_ms=7)
        """
        if other is None:
            return self
        return LiveStart(min(self.from_ms, other.from_ms), min(self.stated_ms, other.stated_ms))


@dataclass(slots=True, kw_only=True)
class PartitionDone:
    """What a backfill has published for one facts partition.

    `counted` is its chain of counts records, `to_ms` and `settled_to_ms` are those of its last coverage record.
    `begin_ms` is from when on it judges, `read_to` the offset up to which each source is in its coverage records,
    `times` when the chains began that each rule judged, by fingerprint.
    """

    begin_ms: int
    counted: Counted
    to_ms: int
    settled_to_ms: int
    read_to: dict[Source, int] = field(default_factory=dict)
    times: defaultdict[str, Times] = field(default_factory=lambda: defaultdict(list))

    def add(self, record: Coverage) -> None:
        """Add the next coverage record."""
        self.counted, self.to_ms, self.settled_to_ms = record.counted, record.to_ms, record.settled_to_ms
        self.read_to |= {(source.topic, source.partition): source.to_offset for source in record.sources}
        from_ms = record.settled_to_ms if record.settled_from_ms is None else record.settled_from_ms
        for rule in record.rules or ():
            self.times[rule.fingerprint].append((max(from_ms, rule.from_ms), record.settled_to_ms))


class VerdictLog:
    """The records of all facts partitions from record time `from_ms` of the topic on.

    `live` is, by facts partition and rule fingerprint, the earliest time from which live ever stated that it judges;
    `clocks_ms` the record time up to which live has judged, by facts partition; `backfills` by origin and facts
    partition; `lost` what of the topic cannot be read, and is skipped.
    """

    def __init__(self, settings: Settings, client: AdminClient, from_ms: int) -> None:
        self.live: dict[tuple[int, str], LiveStart] = {}
        self.clocks_ms: dict[int, int] = {}
        self.backfills: defaultdict[str, dict[int, PartitionDone]] = defaultdict(dict)
        self.lost: list[UnreadableRange] = []
        self._settings = settings
        self._client = client
        self._topic = settings.topic("verdicts")
        count = admin.partition_counts(client, [self._topic]).get(self._topic)
        if count is None:
            raise StateError(
                f"there is no topic {self._topic}", action="run betrace topics create, or give another --prefix"
            )
        self.partition_count = count
        self._next = admin.offsets_at(client, self._starts(), from_ms)

    def read(self, *, is_all: bool = False) -> None:
        """Read the records since the last call, up to the first open transaction, or wait for all of them.

        A transaction of a program that was killed stays open for minutes, or until the next one of its id begins.

        Raises:
            NotDoneError: no broker answers.
            StateError: a record cannot be read, or the brokers refuse.
        """
        ends = admin.end_offsets if is_all else admin.last_stable_offsets
        for at, end in ends(self._client, self._starts()).items():
            start = TopicPartition(*at, self._next[at])
            for message in reader.between(self._settings, start, end, lambda: False, self.lost.append):
                self._take(message.value() or b"")
            self._next[at] = end

    def _starts(self) -> list[TopicPartition]:
        return [TopicPartition(self._topic, number) for number in range(self.partition_count)]

    def _take(self, value: bytes) -> None:
        try:
            record = _decoder.decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise StateError(
                f"a record of {self._topic} cannot be read: {error}", action="use the version of the workers"
            ) from error
        if isinstance(record, _Counts):
            if record.origin == LIVE_ORIGIN:
                self.clocks_ms[record.partition] = record.clock_ms
        elif record.origin == LIVE_ORIGIN:
            self.clocks_ms[record.partition] = record.to_ms
            for at, begin in live_starts(record):
                self.live[at] = begin.earliest(self.live.get(at))
        elif verdicts.is_backfill(record.origin):
            self._take_backfill(record)

    def _take_backfill(self, record: Coverage) -> None:
        done = self.backfills[record.origin].get(record.partition)
        if done is None:
            begin_ms = min((rule.from_ms for rule in record.rules or ()), default=0)
            done = PartitionDone(
                begin_ms=begin_ms, counted=record.counted, to_ms=record.to_ms, settled_to_ms=record.settled_to_ms
            )
            self.backfills[record.origin][record.partition] = done
        done.add(record)


def live_starts(record: Coverage) -> Iterator[tuple[tuple[int, str], LiveStart]]:
    """Yield from when on live judges each rule that a coverage record lists, by facts partition and fingerprint."""
    settled_ms = record.settled_to_ms if record.settled_from_ms is None else record.settled_from_ms
    for rule in record.rules or ():
        yield (record.partition, rule.fingerprint), LiveStart(rule.from_ms, max(rule.from_ms, settled_ms))


_decoder: msgspec.json.Decoder[_Counts | Coverage] = msgspec.json.Decoder(_Counts | Coverage)
