"""Takes in what the consumer returns: records are projected into the section builders of their source partitions.

In: messages, and the events that a consumer returns among them. Out: section builders, dead letters, the audit trail,
counts, and the partitions whose position the log no longer has. A record that cannot be read becomes a dead letter, and
the stream continues.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping

import structlog
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaError, Message, TopicPartition

from dsl import RuleSet
from streams.config.settings import Settings
from streams.decode import backend
from streams.decode.batches import BatchResult
from streams.decode.decoder import Decoder, Format
from streams.errors import RecordError, StateError
from streams.ingest.batch_facts import add_to_builder, batch_facts
from streams.ingest.flush import SectionBuilder
from streams.ingest.group import Source
from streams.ingest.source import Projected, SourcePartition
from streams.kafka.clients import PARTITION_EOF
from streams.kafka.outbox import Outbox
from streams.kafka.unreadable import UnreadableRange, UnreadableTracker
from streams.observe import metrics
from streams.observe.logs import OncePerMinute
from streams.observe.sampling import SamplingWatch
from streams.projection.audit_records import extract
from streams.projection.budget import Budget, project
from streams.projection.project import Projector
from topics import partition as partitions
from topics.errors import Refusal
from topics.otlp.requests import RecordKind
from topics.records import audit, dead_letters
from topics.records.audit import POSITION_HEADER, AuditRecord, SourcePosition

log = structlog.get_logger()

CONSUME_BYTES = 1_000_000
CONSUME_COUNTS = (10, 5000)
FACTS_BYTES = 4_000_000
"""As Python objects these take about ten times as much memory."""

_GONE = frozenset(
    {
        KafkaError._AUTO_OFFSET_RESET,  # noqa: SLF001, confluent-kafka has no public name for it
        KafkaError.OFFSET_OUT_OF_RANGE,
    }
)
_REFUSED = frozenset({KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED})


class Intake:
    """Takes in messages of `sources`; `read_count` counts records, `batch_count` is how many to consume next."""

    def __init__(
        self, settings: Settings, rules: RuleSet, outbox: Outbox, sources: Mapping[Source, SourcePartition]
    ) -> None:
        self._letters = settings.topic("dead_letters")
        self._audit = settings.topic("audit")
        self._audit_partitions = settings.facts_partitions
        self._format = settings.format
        self._outbox = outbox
        self._sources = sources
        self._settings = settings
        self.use_rules(rules)
        self._tallies: defaultdict[str, metrics.Tally] = defaultdict(metrics.Tally)
        self._sampling = SamplingWatch()
        self._unreadable = UnreadableTracker.of(settings)
        self._budget = Budget(settings.record_budget)
        self._repeated = OncePerMinute()
        self._facts_bytes = 0
        self._pending: list[Message] = []
        self.read_count = 0
        self.batch_count = 100
        log.info("decoder backend selected", scanner=backend.selected_backend().value)

    def use_rules(self, rules: RuleSet) -> None:
        """Project records with these rules from now on."""
        self._projector = Projector(rules, self._settings.identity, self._settings.redaction)
        if hidden := self._projector.uncomparable:
            log.warning(
                "rules that compare redacted attributes are undetermined: set BETRACE_REDACT_KEY; sum, min, max and "
                "avg need attributes that are not redacted",
                attributes=hidden,
            )
        if ungrouped := self._projector.ungrouped:
            log.warning(
                "rules group signals by redacted attributes, whose values count as missing: set BETRACE_REDACT_KEY",
                attributes=ungrouped,
            )
        self._decoder = Decoder(self._projector.interest, self._settings.format)
        self._read_batch = None if self._format is Format.JSON else backend.batch_reader(self._projector.interest)

    def check_sampling(self, builders: Iterable[SectionBuilder]) -> None:
        """Look for signs of sampling in what is about to be flushed, while the builders still have it."""
        self._facts_bytes = 0
        for builder in builders:
            self._sampling.take(builder.touches.sample())

    @property
    def is_full(self) -> bool:
        """Whether the builders hold so many facts that a flush must come before more is taken in."""
        return self._facts_bytes >= FACTS_BYTES

    @property
    def has_pending(self) -> bool:
        """Whether consumed messages have not been taken in yet."""
        return bool(self._pending)

    def forget(self, sources: Collection[Source]) -> None:
        """Drop the pending messages of partitions that will be read again, by this or another worker."""
        self._pending = [message for message in self._pending if (message.topic(), message.partition()) not in sources]

    def take(self, new_messages: list[Message], *, local_ms: int) -> set[Source]:
        """Take in messages consumed by `local_ms`; return the partitions whose position is gone from the log.

        What would take too much memory stays pending for the next call, after a flush or once the outbox has room: a
        few records may produce megabytes of facts and audit records each.

        Raises:
            StateError: Kafka refuses to let us read, or a dead letter cannot be sent.
        """
        gone: set[Source] = set()
        taken_bytes = 0
        if new_messages:
            self._sampling.add(new_messages[0].value())
        messages = [*self._pending, *new_messages] if self._pending else new_messages
        index = 0
        while index < len(messages) and not self.is_full and self._outbox.has_room:
            batch = self._take_batch(messages, index, local_ms)
            if batch is not None and batch.record_count:
                index += batch.record_count
                taken_bytes += batch.value_bytes
                continue
            message = messages[index]
            index += 1
            error = message.error()
            if error is None:
                taken_bytes += self._take_record(message, local_ms)
            elif error.code() in _GONE:
                gone.add(_source(message))
            else:
                self._take_event(message, error, local_ms)
        self._pending = messages[index:]
        self._count(taken_bytes)
        return gone & self._sources.keys()

    def skip_unreadable(self, *, local_ms: int) -> list[TopicPartition]:
        """Skip the records that are known to be unreadable; return where the consumer must continue."""
        return [
            TopicPartition(*each.source, each.to_offset)
            for each in self._unreadable.step()
            if self._skip(each, local_ms)
        ]

    def _skip(self, gone: UnreadableRange, local_ms: int) -> bool:
        source = self._sources.get(gone.source)
        if source is None or source.next_offset != gone.from_offset:
            return False
        if gone.from_offset == gone.to_offset:
            return True
        source.skip(gone.to_offset, local_ms=local_ms)
        metrics.OFFSETS_LOST.labels(source.topic).inc(gone.to_offset - gone.from_offset)
        log.error(
            "records cannot be read, skipped",
            topic=source.topic,
            partition=source.partition,
            lost=(gone.from_offset, gone.to_offset),
            error=gone.reason,
        )
        return True

    def _count(self, taken_bytes: int) -> None:
        taken_count = sum(tally.records for tally in self._tallies.values())
        for topic, tally in self._tallies.items():
            metrics.add(topic, tally)
        self._tallies.clear()
        self.read_count += taken_count
        if taken_count:
            # consume(n) is not bounded in bytes, and large batches of large messages are three times slower.
            least, most = CONSUME_COUNTS
            self.batch_count = min(most, max(least, CONSUME_BYTES * taken_count // max(1, taken_bytes)))

    def _take_batch(self, messages: list[Message], index: int, local_ms: int) -> BatchResult | None:
        """Take in the batch that begins at an index; it is empty, or None, if the record must be taken alone."""
        if self._read_batch is None or messages[index].error() is not None:
            return None
        topic, partition = _source(messages[index])
        source = self._sources.get((topic, partition))
        start = None if source is None else source.batch_context(local_ms=local_ms, has_logs=_holds_logs(topic))
        if source is None or start is None:
            return None
        batch = self._read_batch(messages, index, start, source.builder.touches)
        if batch.record_count:
            self._add_batch(source, messages[index : index + batch.record_count], batch, local_ms)
        return batch

    def _add_batch(self, source: SourcePartition, messages: list[Message], batch: BatchResult, local_ms: int) -> None:
        source.add_batch(batch, local_ms=local_ms)
        source.builder.add_services(self._projector.services(batch.services))
        tally = self._tallies[source.topic]
        tally.records += batch.record_count
        tally.projected += batch.record_count
        tally.spans += batch.span_count
        tally.spans_without_trace += batch.spans_without_trace
        tally.logs_without_trace += batch.logs_without_trace
        for record in batch_facts(messages, batch, self._projector, self._budget):
            if record.refusal is not None:
                self._dead_letter(record.message, record.refusal)
            self._facts_bytes += record.size_bytes
            tally.facts += add_to_builder(source.builder, record)

    def _take_record(self, message: Message, local_ms: int) -> int:
        """Take in one record; return the size of its value in bytes."""
        topic, partition, offset = _position(message)
        value = message.value()
        source = self._sources.get((topic, partition))
        tally = self._tallies[topic]
        if source is None or offset < source.next_offset:
            # This was fetched before a rebalance; the worker that has the partition now reads it, too.
            tally.stale += 1
            return 0
        tally.records += 1
        projected = Projected(offset, [], is_dead_letter=True)
        kind = RecordKind.LOGS if _holds_logs(topic) else RecordKind.SPANS
        size_bytes, facts_bytes = len(value or b""), 0
        try:
            decoded = self._decoder.decode(value, kind)
        except RecordError as error:
            self._dead_letter(message, error.refusal)
        else:
            traces, refusal, facts_bytes = project(decoded, self._projector, self._budget.facts_bytes(size_bytes))
            if refusal is not None:
                self._dead_letter(message, refusal)
            projected = Projected(offset, traces, is_dead_letter=refusal is not None)
            self._facts_bytes += facts_bytes
            source.builder.add_services(self._projector.services(decoded.services))
            tally.projected += 1
            tally.spans += decoded.span_count
            tally.spans_without_trace += decoded.spans_without_trace
            tally.logs_without_trace += decoded.logs_without_trace
            tally.facts += sum([len(trace.facts) for trace in traces])
        # Extract audit records even if rules ignore the record: log records without a trace belong to the trail.
        room_bytes = self._budget.total_bytes(size_bytes) - facts_bytes
        audit_records = extract(value, kind, self._format, self._settings.redaction, room_bytes)
        self._send_audit(audit_records, source.epoch, (topic, partition), offset)
        stamp, record_ms = message.timestamp()
        is_broker_time = stamp == TIMESTAMP_LOG_APPEND_TIME
        source.add_record(record_ms, projected, local_ms=local_ms, is_broker_time=is_broker_time)
        return size_bytes

    def _take_event(self, message: Message, error: KafkaError, local_ms: int) -> None:
        code = error.code()
        if code == PARTITION_EOF:
            topic, partition, offset = _position(message)
            source = self._sources.get((topic, partition))
            if source is not None:
                source.reach_end(offset, local_ms=local_ms)
        elif error.fatal() or code in _REFUSED:
            raise StateError(
                f"reading {message.topic()} failed: {error.str()}",
                action="check that the topic exists and that this client may read it",
            )
        elif not self._may_be_unreadable(message, error):
            self._repeated.warning("kafka client error, reading continues", error=error.str())

    def _may_be_unreadable(self, message: Message, error: KafkaError) -> bool:
        """Return whether the record at the position of its partition may be unreadable."""
        topic, partition = message.topic(), message.partition()
        source = None if topic is None or partition is None else self._sources.get((topic, partition))
        if source is None:
            return False
        return self._unreadable.note((source.topic, source.partition), source.next_offset, error)

    def _send_audit(self, records: Iterable[AuditRecord], epoch: int, source: Source, offset: int) -> None:
        """Send each record to the partition of its trace, numbered among those of this source record in the partition.

        So a record that is sent again has the same position in the same partition.
        """
        numbers: Counter[int] = Counter()
        for record in records:
            trace_id = record.trace_id
            to = source[1] if trace_id is None else partitions.of_trace(bytes.fromhex(trace_id), self._audit_partitions)
            to %= self._audit_partitions
            at = SourcePosition(topic=source[0], partition=source[1], epoch=epoch, offset=offset, index=numbers[to])
            numbers[to] += 1
            metrics.AUDIT_RECORDS.labels(source[0]).inc()
            self._outbox.send(
                self._audit,
                audit.encode(record),
                None if trace_id is None else trace_id.encode(),
                to,
                [(POSITION_HEADER, at.encode())],
            )

    def _dead_letter(self, message: Message, refusal: Refusal) -> None:
        topic, partition, offset = _position(message)
        metrics.DEAD_LETTERS.labels(topic, refusal.reason.value).inc()
        log.warning("record sent to dead letters", reason=str(refusal), topic=topic, partition=partition, offset=offset)
        letter = dead_letters.letter(
            message.value(),
            refusal=refusal,
            topic=topic,
            partition=partition,
            offset=offset,
            public_key=self._settings.dead_letter_key,
        )
        self._outbox.send(self._letters, letter.value, letter.key, headers=letter.headers)


def _holds_logs(topic: str) -> bool:
    return "log" in topic


def _position(message: Message) -> tuple[str, int, int]:
    """Return the topic, partition and offset of a record or an end."""
    offset = message.offset()
    if offset is None:
        raise _without_position()
    return *_source(message), offset


def _source(message: Message) -> Source:
    """Return the partition of a message; librdkafka sets an offset only on some events of a partition."""
    topic, partition = message.topic(), message.partition()
    if topic is None or partition is None:
        raise _without_position()
    return topic, partition


def _without_position() -> StateError:
    return StateError("Kafka returned a message without a partition or offset", action="report this as a bug")
