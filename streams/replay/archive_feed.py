"""Replays from an archive: plans what to read, and reads its records.

In: an archive, and the requested period. Out: a `Plan`, and a `Feed` with the messages that Kafka had.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import dropwhile, islice
from typing import cast

from confluent_kafka import TIMESTAMP_CREATE_TIME, KafkaError, Message, TopicPartition

from streams.archive import read
from streams.archive.names import ArchiveFile, ArchiveListing
from streams.archive.rows import RawRecord
from streams.archive.store import Store
from streams.config.settings import Settings
from streams.config.units import iso_ms
from streams.errors import ConfigError
from streams.kafka.clients import PARTITION_EOF
from streams.replay.plan import Input, Period, Plan, times
from streams.windows.clock import Source
from streams.windows.sessions import LostTime

CHUNK = 500


def plan(url: str, settings: Settings, period: Period, now_ms: int) -> Plan:
    """Return what to read from an archive.

    Raises:
        ConfigError: it has no record of the requested period, or the URL cannot be used.
        StateError: it cannot be read.
    """
    store = Store.at(url)
    listing = store.listing()
    topics = settings.source_topics
    read_from_ms, until_ms, clock_ms = times(settings, period, now_ms)
    if not read.chosen(listing, period.from_ms, period.to_ms, topics):
        raise _nothing(store, listing, settings, period)
    files = read.chosen(listing, read_from_ms, until_ms, topics)
    inputs = tuple(_inputs(files))
    lost = tuple(each for each in read.lost(store, listing, settings.out_of_order_ms) if each.topic in topics)
    lost_beginnings = tuple(_lost_beginnings(store, listing, settings, read_from_ms))
    has_earlier_records = _has_earlier_records(store, listing, settings, read_from_ms)
    expected = sum(each.end - each.begin for each in inputs)
    return Plan(
        period=period,
        inputs=inputs,
        read_from_ms=read_from_ms,
        until_ms=until_ms,
        clock_ms=clock_ms,
        lost=lost,
        expected=expected,
        gone=lost_beginnings,
        has_earlier_records=has_earlier_records,
    )


class ArchiveFeed:
    """Reads an archive, always from the input that is the furthest behind."""

    def __init__(self, url: str, what: Plan, inputs: Iterable[Input]) -> None:
        mine = {each.source: each.end for each in inputs if each.begin < each.end}
        topics = tuple({topic for topic, _ in mine})
        partitions = read.by_partition(url, what.read_from_ms, None, topics) if mine else {}
        self._open: dict[Source, Iterator[RawRecord]] = {
            source: records for source, records in partitions.items() if source in mine
        }
        self._ends = mine
        self._times_ms: dict[Source, int] = dict.fromkeys(self._open, 0)
        self._has_started = False

    def take(self, paused: Collection[Source]) -> list[Message]:
        """Return messages as `streams.replay.feed.Feed.take` does."""
        return cast("list[Message]", self._next_messages(paused))

    def _next_messages(self, paused: Collection[Source]) -> list[_ArchiveMessage]:
        if not self._has_started:
            self._has_started = True
            return [
                _ArchiveMessage(source, end, None) for source, end in self._ends.items() if source not in self._open
            ]
        ready = [source for source in self._open if source not in paused]
        if not ready:
            return []
        source = min(ready, key=self._times_ms.__getitem__)
        records = list(islice(self._open[source], CHUNK))
        if not records:
            return [_ArchiveMessage(source, self._ends[source], None)]
        self._times_ms[source] = records[-1].timestamp_ms
        return [_ArchiveMessage(source, each.offset, each) for each in records]

    def resume(self, position: TopicPartition) -> None:
        """Continue as `streams.replay.feed.Feed.resume` does."""
        source = position.topic, position.partition
        if source in self._open:
            self._open[source] = dropwhile(lambda record: record.offset < position.offset, self._open[source])

    def finish(self, source: Source) -> None:
        """Finish as `streams.replay.feed.Feed.finish` does."""
        self._open.pop(source, None)

    def close(self) -> None:
        """Close as `streams.replay.feed.Feed.close` does."""
        self._open.clear()


class _ArchiveMessage:
    """A record of an archive with the interface of a client's message; without a record, the end of a partition."""

    __slots__ = ("_offset", "_record", "_source")

    def __init__(self, source: Source, offset: int, record: RawRecord | None) -> None:
        self._source = source
        self._offset = offset
        self._record = record

    def topic(self) -> str:
        """Return the topic, as `confluent_kafka.Message` does."""
        return self._source[0]

    def partition(self) -> int:
        """Return the partition, as `confluent_kafka.Message` does."""
        return self._source[1]

    def offset(self) -> int:
        """Return the offset, as `confluent_kafka.Message` does."""
        return self._offset

    def error(self) -> KafkaError | None:
        """Return the error, as `confluent_kafka.Message` does."""
        return _END if self._record is None else None

    def timestamp(self) -> tuple[int, int]:
        """Return the timestamp, as `confluent_kafka.Message` does."""
        return TIMESTAMP_CREATE_TIME, -1 if self._record is None else self._record.timestamp_ms

    def value(self) -> bytes | None:
        """Return the value, as `confluent_kafka.Message` does."""
        return None if self._record is None else self._record.value


_END = KafkaError(PARTITION_EOF)


def _inputs(files: Iterable[ArchiveFile]) -> Iterator[Input]:
    """Yield the inputs; an archive does not know partitions that were always empty, so none waits for them."""
    ranges: defaultdict[str, dict[int, tuple[int, int]]] = defaultdict(dict)
    for file in files:
        begin, end = ranges[file.topic].get(file.partition, (file.first_offset, file.end_offset))
        ranges[file.topic][file.partition] = (min(begin, file.first_offset), max(end, file.end_offset))
    for topic, partitions in sorted(ranges.items()):
        count = max(partitions) + 1
        for number in range(count):
            begin, end = partitions.get(number, (0, 0))
            yield Input(topic=topic, partition=number, partition_count=count, begin=begin, end=end)


def _lost_beginnings(
    store: Store, listing: ArchiveListing, settings: Settings, read_from_ms: int
) -> Iterator[LostTime]:
    """Yield the times lost where the archive of a partition begins in the middle."""
    firsts: dict[Source, ArchiveFile] = {}
    for file in listing.files:
        if file.topic in settings.source_topics:
            firsts.setdefault((file.topic, file.partition), file)
    cuts: Mapping[Source, list[ArchiveFile]] = {
        source: [file for file in listing.files if file.cut == first.cut] for source, first in firsts.items()
    }
    for source, files in cuts.items():
        if files[0].first_offset > 0:
            first_ms = min(read.times(store, file)[0] for file in files)
            if first_ms > read_from_ms:
                yield LostTime(*source, 0, first_ms + settings.out_of_order_ms)


def _has_earlier_records(store: Store, listing: ArchiveListing, settings: Settings, read_from_ms: int) -> bool:
    """Return whether there were records before the first one read, in the archive or before it."""
    of_topics = [file for file in listing.files if file.topic in settings.source_topics]
    firsts = {(file.topic, file.partition): file.first_offset for file in reversed(of_topics)}
    return any(first > 0 for first in firsts.values()) or any(
        file.hour_ms < read_from_ms and read.times(store, file)[0] < read_from_ms for file in of_topics
    )


def _nothing(store: Store, listing: ArchiveListing, settings: Settings, period: Period) -> ConfigError:
    topics = ", ".join(settings.source_topics)
    of_topics = [file for file in listing.files if file.topic in settings.source_topics]
    if of_topics:
        first, last = (pick(of_topics, key=lambda file: file.hour_ms).hour_ms for pick in (min, max))
        return ConfigError(
            f"the archive {store.root} has no record of {topics} between {period}: its records are from the hours "
            f"{iso_ms(first)} to {iso_ms(last)}: choose another time"
        )
    if listing.files:
        held = ", ".join(sorted({file.topic for file in listing.files}))
        return ConfigError(
            f"the archive {store.root} has no record of {topics}: it has {held}: name them with --source-topics"
        )
    return ConfigError(
        f"there is no archive at {store.root}: give the directory or URL given to betrace archive; it writes "
        "a file once the first hour is over, or at once with --until-idle"
    )
