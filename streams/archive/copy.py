"""Copies the source topics to an archive, with a consumer of its own.

    start where the archive ends → consume → a cut per partition and hour → commit, so that the lag is visible

The archive's file names are the only state: after a kill, reading continues where the last complete cut ends, and
incomplete files are deleted. The committed offsets are only informative.

A cut ends before the first record of a later hour, so that an hour is one file; a record of an earlier hour is put into
one more file of its hour. A record stamped in the future ends no cut, or one sender with a wrong clock would cause a
file per record.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from streams.archive import read
from streams.archive.names import HOUR_MS, ArchiveListing
from streams.archive.rows import RawRecord
from streams.archive.schema import TOPIC_ID_KEY
from streams.archive.store import Store
from streams.archive.write import PartitionWriter, Written
from streams.config.settings import Settings
from streams.decode.whole import WholeDecoder
from streams.errors import BetraceError, StateError
from streams.kafka.clients import GROUP_CONSUMER, PARTITION_EOF
from streams.kafka.unreadable import UnreadableTracker, seek
from streams.observe.logs import OncePerMinute
from streams.windows.clock import Source
from topics.cluster import admin
from topics.errors import TopicsError

log = structlog.get_logger()

ANSWER_S = 30.0
CONSUME_COUNT = 200
CONSUME_S = 0.2
LIST_INTERVAL_S = 10.0


@dataclass(slots=True)
class Progress:
    """One source partition: its writer, the next offset to read, and when its cut began (None: it is empty)."""

    writer: PartitionWriter
    next_offset: int
    began_s: float | None = None

    @property
    def at(self) -> TopicPartition:
        """Where reading continues."""
        return TopicPartition(self.writer.topic, self.writer.partition, self.next_offset)


@dataclass(slots=True, kw_only=True)
class Copier:
    """Copies until `stop` is called, or up to `ends` if they are given; calls `report` for every file.

    A partition without archive starts at its offset in `start_offsets`, or at the first record in Kafka. A cut is
    written at most `every_s` after its first record was read. Records not yet written take about `memory_bytes`.
    """

    settings: Settings
    store: Store
    report: Callable[[Written], None]
    every_s: float = 3600.0
    memory_bytes: int = 512 << 20
    start_offsets: Mapping[Source, int] = field(default_factory=dict)
    ends: Mapping[Source, int] | None = None
    _sources: dict[Source, Progress] = field(default_factory=dict)
    _is_stopping: bool = False
    _obstacles: UnreadableTracker = field(init=False)
    _repeated: OncePerMinute = field(default_factory=OncePerMinute)

    def __post_init__(self) -> None:
        self._obstacles = UnreadableTracker.of(self.settings)

    def stop(self) -> None:
        """Stop `run` after the current records; any thread may call this."""
        self._is_stopping = True

    def run(self) -> None:
        """Copy; before returning or raising, write everything that was read.

        Raises:
            StateError: a topic is gone, the archive belongs to another topic or version or cannot be written, or Kafka
                reports a fatal error.
        """
        consumer = Consumer({**self.settings.client(GROUP_CONSUMER), "group.id": self.settings.group("archive")})
        try:
            try:
                self._copy(consumer)
            except (BetraceError, TopicsError, KafkaException):
                # If a topic is gone, this is the last copy of what was read.
                self._cut_all(consumer)
                raise
            self._cut_all(consumer)
        except OSError as error:
            raise StateError(
                f"the archive {self.store.root} cannot be written: {error}",
                action="check that it is reachable and has free space, then start again: nothing is lost",
            ) from error
        finally:
            consumer.close()

    def _copy(self, consumer: Consumer) -> None:
        kafka = AdminClient({**self.settings.client()})
        listed_s = None
        while not self._is_stopping and not self._is_done():
            if listed_s is None or time.monotonic() - listed_s >= LIST_INTERVAL_S:
                self._find_partitions(kafka, consumer)
                listed_s = time.monotonic()
            for message in consumer.consume(CONSUME_COUNT, CONSUME_S):
                self._take(consumer, message)
            self._pass_over(consumer)
            self._spill()
            self._cut_old(consumer)

    def _is_done(self) -> bool:
        if self.ends is None or not self._sources:
            return False
        return all(progress.next_offset >= self.ends.get(source, 0) for source, progress in self._sources.items())

    # Partitions

    def _find_partitions(self, kafka: AdminClient, consumer: Consumer) -> None:
        """Start every new partition."""
        topics = self.settings.source_topics
        counts, topic_ids = admin.partition_counts(kafka, topics), admin.topic_ids(kafka, topics)
        if missing := set(topics) - counts.keys():
            raise StateError(
                f"{', '.join(sorted(missing))} no longer exists", action="check who deleted it, then start again"
            )
        sources = [(topic, number) for topic, count in counts.items() for number in range(count)]
        new = [source for source in sources if source not in self._sources]
        if not new:
            return
        listing = self.store.listing()
        for topic, number in new:
            self._sources[topic, number] = self._start_partition(
                consumer, listing, topic_ids[topic], TopicPartition(topic, number)
            )
        consumer.incremental_assign([self._sources[source].at for source in new])

    def _start_partition(
        self, consumer: Consumer, listing: ArchiveListing, topic_id: str, position: TopicPartition
    ) -> Progress:
        """Start reading where the archive of a partition ends, and delete what a killed archiver left behind."""
        low, high = consumer.get_watermark_offsets(position, timeout=ANSWER_S, cached=False)
        end, highest_ms = listing.end_offset(position.topic, position.partition), None
        if end is not None:
            highest_ms = self._check(listing, topic_id, position, end, high)
            if low > end:
                lost = {"topic": position.topic, "partition": position.partition, "lost": [end, low]}
                log.error("records were deleted before they were archived", **lost)
        self._clean(listing, position)
        offset = max(low, self.start_offsets.get((position.topic, position.partition), 0) if end is None else end)
        log.info("archiving starts", topic=position.topic, partition=position.partition, offset=offset)
        decoder = WholeDecoder(self.settings.format)
        writer = PartitionWriter(
            store=self.store,
            topic=position.topic,
            partition=position.partition,
            first_offset=offset,
            topic_id=topic_id,
            decoder=decoder,
            highest_ms=highest_ms,
        )
        return Progress(writer, offset)

    def _clean(self, listing: ArchiveListing, position: TopicPartition) -> None:
        self.store.remove_parts(position.topic, position.partition)
        for file in listing.leftovers:
            if (file.topic, file.partition) == (position.topic, position.partition):
                self.store.remove(file)

    def _check(self, listing: ArchiveListing, topic_id: str, position: TopicPartition, end: int, high: int) -> int:
        """Return the highest timestamp in the partition's last cut, which must belong to this topic."""
        last = [
            file
            for file in listing.files
            if (file.topic, file.partition, file.end_offset) == (position.topic, position.partition, end)
        ]
        for file in last:
            with read.opened(self.store, file) as parquet:
                archived_id = parquet.metadata.metadata.get(TOPIC_ID_KEY.encode(), b"").decode()
            if archived_id != topic_id or end > high:
                raise StateError(
                    f"the archive of {position.topic}[{position.partition}] ends at {end} of topic id {archived_id}, "
                    f"the topic now ends at {high} and has id {topic_id}: it was recreated",
                    action="archive to another directory",
                )
        return max(read.times(self.store, file)[1] for file in last)

    # Records

    def _take(self, consumer: Consumer, message: Message) -> None:
        error = message.error()
        progress = self._sources.get((message.topic() or "", message.partition() or 0))
        if error is None and progress is not None:
            self._add(consumer, progress, message)
        elif error is None:
            raise StateError("Kafka returned a message without an offset", action="report this as a bug")
        elif error.code() == PARTITION_EOF and progress is not None:
            self._reach(progress, message.offset() or 0)
        elif error.fatal() or error.code() in _STOPS:
            raise StateError(
                f"reading {message.topic()} failed: {error.str()}",
                action="check that the topic exists and still has what was not archived, then start again",
            )
        elif progress is None or not self._obstacles.note(_source(progress), progress.next_offset, error):
            self._repeated.warning("kafka reported an error, reading continues", error=error.str())

    def _pass_over(self, consumer: Consumer) -> None:
        """Leave a hole where records cannot be read: a cut ends before it, and the next one begins after it."""
        for each in self._obstacles.step():
            progress = self._sources.get(each.source)
            if progress is None or progress.next_offset != each.from_offset:
                continue
            if each.to_offset > each.from_offset:
                self._cut(consumer, progress)
                progress.writer.first_offset = progress.next_offset = each.to_offset
                lost = {"topic": progress.writer.topic, "partition": progress.writer.partition}
                log.error(
                    "records cannot be read and are skipped",
                    **lost,
                    lost=(each.from_offset, each.to_offset),
                    error=each.reason,
                )
            seek(consumer, progress.at)

    def _add(self, consumer: Consumer, progress: Progress, message: Message) -> None:
        record = _record(progress, message)
        if self.ends is not None and record.offset >= self.ends.get(record[:2], 0):
            self._reach(progress, record.offset)
            return
        if self._begins_hour(progress, record.timestamp_ms):
            self._cut(consumer, progress)
        progress.writer.add(record)
        progress.next_offset = record.offset + 1
        if progress.began_s is None:
            progress.began_s = time.monotonic()

    def _reach(self, progress: Progress, offset: int) -> None:
        """Note that there is nothing more to archive below `offset`, without passing the end."""
        source = (progress.writer.topic, progress.writer.partition)
        end = offset if self.ends is None else self.ends.get(source, 0)
        progress.next_offset = max(progress.next_offset, min(offset, end))

    def _begins_hour(self, progress: Progress, record_ms: int) -> bool:
        highest_ms = progress.writer.highest_ms
        if progress.began_s is None or highest_ms is None:
            return False
        now_ms = time.time_ns() // 1_000_000
        return highest_ms // HOUR_MS < record_ms // HOUR_MS <= now_ms // HOUR_MS

    # Writing

    def _spill(self) -> None:
        writers = [progress.writer for progress in self._sources.values() if progress.began_s is not None]
        while writers and sum(writer.waiting_bytes for writer in writers) > self.memory_bytes:
            max(writers, key=lambda writer: writer.waiting_bytes).spill()

    def _cut_old(self, consumer: Consumer) -> None:
        now_s = time.monotonic()
        for progress in self._sources.values():
            if progress.began_s is not None and now_s - progress.began_s >= self.every_s:
                self._cut(consumer, progress)

    def _cut_all(self, consumer: Consumer) -> None:
        for progress in self._sources.values():
            self._cut(consumer, progress)

    def _cut(self, consumer: Consumer, progress: Progress) -> None:
        written = progress.writer.cut(progress.next_offset)
        progress.began_s = None
        for each in written:
            self.report(each)
        if written:
            try:
                consumer.commit(offsets=[progress.at], asynchronous=False)
            except KafkaException as error:
                log.warning(
                    "offset commit failed; consumer lag will look too high, the archive is unaffected", error=str(error)
                )


_STOPS = frozenset(
    {
        KafkaError._AUTO_OFFSET_RESET,  # noqa: SLF001, confluent-kafka has no public name for it
        KafkaError.OFFSET_OUT_OF_RANGE,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
    }
)


def _source(progress: Progress) -> Source:
    return progress.writer.topic, progress.writer.partition


def _record(progress: Progress, message: Message) -> RawRecord:
    pairs: Iterable[tuple[str, str | bytes | None]] = message.headers() or ()  # type: ignore[assignment]
    headers = tuple((key, _bytes(value)) for key, value in pairs)
    place = (progress.writer.topic, progress.writer.partition, message.offset() or 0)
    return RawRecord(*place, message.timestamp()[1], message.key(), message.value(), headers)


def _bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value
