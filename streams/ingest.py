"""Ingest: source records in, facts messages out.

    consume a batch → decode and project each record → every `flush_ms` one message per facts partition
    → when the producer has confirmed a flush, commit the source offsets it covers

Stateless: all it must know is committed with the offsets. A record that cannot be read becomes a dead letter and the
stream goes on; a facts message that cannot be delivered ends ingest, because its offsets must never be committed.
"""

from __future__ import annotations

import time
from collections import defaultdict

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from dsl import RuleSet
from streams import flush, metrics, scan
from streams.decode import Decoder
from streams.errors import RecordError, StateError
from streams.outbox import PRODUCER, Outbox
from streams.project import IDENTITY_ATTRIBUTES, Projector, project
from streams.reader import PARTITION_EOF
from streams.settings import ClientSettings, Settings
from streams.source import Log, Projected, SourcePartition, begin, read_metadata
from topics import admin, dead_letters
from topics.errors import AdminError
from topics.otlp import RecordKind

log = structlog.get_logger()

CONSUME_BYTES = 1_000_000
CONSUME_COUNTS = (10, 5000)
FLUSH_BYTES = 800_000
FLUSH_GROUPS = 50_000
IDLE_S = 1.0
WAIT_S = 30.0

CONSUMER: ClientSettings = {
    "enable.auto.commit": False,
    "auto.offset.reset": "error",
    "enable.partition.eof": True,
    "session.timeout.ms": 6000,
    "heartbeat.interval.ms": 1000,
    # librdkafka's default of 1000 costs two thirds of the speed.
    "fetch.queue.backoff.ms": 5,
    "fetch.wait.max.ms": 20,
    "queued.min.messages": 100_000,
    "topic.metadata.refresh.interval.ms": 5000,
}
_GONE = frozenset(
    {
        KafkaError._AUTO_OFFSET_RESET,  # noqa: SLF001, confluent-kafka has no public name for it
        KafkaError.OFFSET_OUT_OF_RANGE,
    }
)
_REFUSED = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
    }
)


class Ingest:
    """One ingest worker; `run` until `stop` is called from a signal. `read_count` counts the records read so far."""

    def __init__(self, settings: Settings, rules: RuleSet) -> None:
        self._settings = settings
        self._rules = rules
        self._projector = Projector(rules, settings.identity or IDENTITY_ATTRIBUTES)
        self._decoder = Decoder(self._projector.interest, settings.format)
        log.info("requests are decoded", scanner=scan.chosen().value)
        self._sources: dict[tuple[str, int], SourcePartition] = {}
        self.read_count = 0
        self._tallies: defaultdict[str, metrics.Tally] = defaultdict(metrics.Tally)
        self._stopping = False
        self._batch_count = 100
        self._admin = AdminClient({**settings.client()})
        self._outbox = Outbox(settings.client(PRODUCER))
        self._consumer = Consumer({**settings.client(CONSUMER), "group.id": settings.group("ingest")})

    def stop(self) -> None:
        """Ends `run` after the current batch; safe to call from a signal handler."""
        self._stopping = True

    def run(self) -> None:
        """Reads until stopped; on the way out flushes, commits and leaves the group.

        Raises:
            StateError: a facts message was not delivered, or Kafka reports a fatal error.
        """
        topics = list(self._settings.source_topics)
        self._consumer.subscribe(topics, on_assign=self._assign, on_revoke=self._revoke, on_lost=self._lose)
        flushed_s = idled_s = time.monotonic()
        try:
            while not self._stopping:
                self._take(self._consumer.consume(self._batch_count, timeout=self._settings.flush_ms / 1000))
                now_s = time.monotonic()
                if now_s - idled_s >= IDLE_S:
                    self._tick_idle()
                    self._commit()
                    idled_s = now_s
                if self._is_due(now_s - flushed_s):
                    self._flush()
                    flushed_s = now_s
                self._outbox.poll()
            self._finish()
        finally:
            self._consumer.close()

    # Records

    def _take(self, messages: list[Message]) -> None:
        local_ms = _now_ms()
        taken_bytes = taken_count = 0
        for message in messages:
            error = message.error()
            if error is not None:
                self._take_error(message, error, local_ms)
                continue
            taken_count += 1
            taken_bytes += self._take_record(message, local_ms)
        for topic, tally in self._tallies.items():
            metrics.add(topic, tally)
        self._tallies.clear()
        self.read_count += taken_count
        if taken_count:
            # consume(n) is not bounded in bytes, and large batches of large messages cost two thirds of the speed.
            least, most = CONSUME_COUNTS
            self._batch_count = min(most, max(least, CONSUME_BYTES * taken_count // max(1, taken_bytes)))

    def _take_record(self, message: Message, local_ms: int) -> int:
        """Takes in one record; returns the size of its value in bytes."""
        topic, partition, offset = _place(message)
        value = message.value()
        tally = self._tallies[topic]
        tally.records += 1
        try:
            kind = RecordKind.LOGS if "log" in topic else RecordKind.SPANS
            decoded = self._decoder.decode(value, kind)
        except RecordError as error:
            self._dead_letter(message, str(error))
            projected = Projected(offset, [])
        else:
            projected = Projected(offset, project(decoded, self._projector))
            tally.projected += 1
            tally.spans += decoded.span_count
            tally.spans_without_trace += decoded.spans_without_trace
            tally.logs_without_trace += decoded.logs_without_trace
            tally.facts += sum([len(trace.facts) for trace in projected.traces])
        self._sources[topic, partition].take(message.timestamp()[1], projected, local_ms=local_ms)
        return len(value or b"")

    def _take_error(self, message: Message, error: KafkaError, local_ms: int) -> None:
        code = error.code()
        if code == PARTITION_EOF:
            topic, partition, offset = _place(message)
            if (topic, partition) in self._sources:
                self._sources[topic, partition].reach_end(offset, local_ms=local_ms)
        elif code in _GONE:
            topic, partition, _ = _place(message)
            self._begin_again(TopicPartition(topic, partition))
        elif error.fatal() or code in _REFUSED:
            raise StateError(
                f"reading {message.topic()} failed: {error.str()}", action="check that the topic is there and readable"
            )
        else:
            log.warning("kafka reports an error, reading goes on", error=error.str())

    def _dead_letter(self, message: Message, reason: str) -> None:
        topic, partition, offset = _place(message)
        metrics.DEAD_LETTERS.labels(topic, reason.split(":", maxsplit=1)[0]).inc()
        log.warning("record becomes a dead letter", reason=reason, topic=topic, partition=partition, offset=offset)
        letter = dead_letters.letter(message.value(), reason=reason, topic=topic, partition=partition, offset=offset)
        self._outbox.send(self._settings.topic("dead_letters"), letter.value, letter.key, headers=letter.headers)

    # Flushing

    def _is_due(self, since_s: float) -> bool:
        waiting = sum(len(source.draft.groups) for source in self._sources.values())
        if since_s * 1000 < self._settings.flush_ms:
            return waiting >= FLUSH_GROUPS
        return waiting > 0 or since_s >= IDLE_S

    def _flush(self) -> None:
        """Sends what was projected, one message for every facts partition (more when it is too large)."""
        sources = [*self._sources.values()]
        if not sources:
            return
        drafts = [source.renew_draft() for source in sources]
        count, topic = self._settings.facts_partitions, self._settings.topic("facts")
        sections = [
            draft.sections(count, source.time.watermark_ms) for source, draft in zip(sources, drafts, strict=True)
        ]
        for partition in range(count):
            of_partition = [of_source[partition] for of_source in sections]
            for value in flush.messages(self._rules.fingerprint, of_partition, FLUSH_BYTES):
                self._outbox.send(topic, value, None, partition)
        self._outbox.depart(
            [_commit_at(source, draft.to_offset) for source, draft in zip(sources, drafts, strict=True)]
        )
        metrics.FLUSHES.inc()
        for source in sources:
            metrics.RECORDS_SKEWED.labels(source.topic).inc(source.time.skewed_count)
            source.time.skewed_count = 0

    def _commit(self) -> None:
        """Commits what is confirmed; failing costs nothing but repeated, idempotent facts at the next start."""
        offsets = [at for at in self._outbox.take_confirmed() if (at.topic, at.partition) in self._sources]
        try:
            if offsets:
                self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            log.warning("offsets were not committed", error=str(error))

    def _finish(self) -> None:
        """Flushes all that is certain, waits for the confirmations, commits."""
        self._flush()
        self._outbox.wait()
        self._commit()

    # Time

    def _tick_idle(self) -> None:
        """Moves the time of partitions at their end: the local clock is read before the ends are asked for."""
        at_end = [source for source in self._sources.values() if source.at_end]
        if not at_end:
            return
        local_ms = _now_ms()
        try:
            ends = admin.end_offsets(self._admin, [TopicPartition(at.topic, at.partition) for at in at_end])
        except AdminError as error:
            log.warning("the ends of the source topics are not known, their clock waits", error=str(error))
            return
        for source in at_end:
            if ends[source.topic, source.partition] == source.next_offset:
                source.time.tick_idle(local_ms=local_ms)

    # Partitions come and go

    def _assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if not partitions:
            return
        begun = self._begin(partitions)
        consumer.assign([TopicPartition(at.topic, at.partition, at.next_offset) for at in begun])

    def _begin(self, partitions: list[TopicPartition]) -> list[SourcePartition]:
        topics = self._settings.source_topics
        counts, topic_ids = admin.partition_counts(self._admin, topics), admin.topic_ids(self._admin, topics)
        begun = [
            self._begin_one(at, counts[at.topic], topic_ids[at.topic])
            for at in self._consumer.committed(partitions, timeout=WAIT_S)
        ]
        # The epoch is committed before its first facts, so that it outlives a crash.
        self._consumer.commit(
            offsets=[_commit_at(source, source.draft.from_offset) for source in begun], asynchronous=False
        )
        return begun

    def _begin_one(self, at: TopicPartition, partition_count: int, topic_id: str) -> SourcePartition:
        low, high = self._consumer.get_watermark_offsets(at, timeout=WAIT_S, cached=False)
        start = begin(
            at.offset if at.offset >= 0 else None,
            read_metadata(at.metadata),
            Log(topic_id, low, high),
            start=self._settings.start,
            now_ms=_now_ms(),
        )
        source = SourcePartition.at(at, start, topic_id, partition_count, self._settings.new_time(), now_ms=_now_ms())
        if start.lost is not None:
            metrics.OFFSETS_LOST.labels(at.topic).inc(start.lost[1] - start.lost[0])
            log.error("records are gone before they were read", topic=at.topic, partition=at.partition, lost=start.lost)
        log.info("reading begins", topic=at.topic, partition=at.partition, offset=start.offset, epoch=start.epoch)
        self._sources[at.topic, at.partition] = source
        return source

    def _begin_again(self, at: TopicPartition) -> None:
        """The log moved away under the position: what was projected is flushed, then reading begins where it can."""
        self._finish()
        for source in self._begin([at]):
            self._consumer.seek(TopicPartition(source.topic, source.partition, source.next_offset))

    def _revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._finish()
        self._lose(consumer, partitions)

    def _lose(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        for at in partitions:
            self._sources.pop((at.topic, at.partition), None)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _place(message: Message) -> tuple[str, int, int]:
    """Where a message is; librdkafka gives all three for a message of a partition."""
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    if topic is None or partition is None or offset is None:
        raise StateError("kafka gave a message without a place", action="report this as a bug")
    return topic, partition, offset


def _commit_at(source: SourcePartition, offset: int) -> TopicPartition:
    return TopicPartition(source.topic, source.partition, offset, source.metadata())
