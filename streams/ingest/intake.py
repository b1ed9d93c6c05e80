"""What the consumer gives: records become projections in the drafts of their source partitions.

In: messages, and the events that a consumer gives among them. Out: drafts, dead letters, the audit trail, counts, and
the partitions whose log is not where it was. A record that cannot be read becomes a dead letter and the stream goes on.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping

import structlog
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaError, Message, TopicPartition

from dsl import RuleSet
from streams.config.settings import Settings
from streams.decode import backend
from streams.decode.batches import Run
from streams.decode.decoder import Decoder, Format
from streams.errors import RecordError, StateError
from streams.ingest.flush import Draft
from streams.ingest.group import Source
from streams.ingest.run_facts import add_to, run_facts
from streams.ingest.source import Projected, SourcePartition
from streams.kafka.outbox import Outbox
from streams.kafka.reader import PARTITION_EOF
from streams.kafka.unreadable import Obstacles, Unreadable
from streams.observe import metrics
from streams.observe.sampling import SamplingWatch
from streams.projection.audit_records import extract
from streams.projection.budget import Budget, project
from streams.projection.project import Projector
from topics import partition as partitions
from topics.otlp.requests import RecordKind
from topics.records import audit, dead_letters
from topics.records.audit import POSITION_HEADER, AuditRecord, SourcePosition

log = structlog.get_logger()

CONSUME_BYTES = 1_000_000
CONSUME_COUNTS = (10, 5000)
FACTS_BYTES = 4_000_000
"""As Python objects these take about ten times as much."""

_GONE = frozenset(
    {
        KafkaError._AUTO_OFFSET_RESET,  # noqa: SLF001, confluent-kafka has no public name for it
        KafkaError.OFFSET_OUT_OF_RANGE,
    }
)
_REFUSED = frozenset({KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED})


class Intake:
    """Takes in messages of `sources`. `read_count` counts the records so far, `batch_count` is how many to ask for."""

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
        self.use(rules)
        self._tallies: defaultdict[str, metrics.Tally] = defaultdict(metrics.Tally)
        self._sampling = SamplingWatch()
        self._obstacles = Obstacles.of(settings)
        self._budget = Budget(settings.record_budget)
        self._facts_bytes = 0
        self._left: list[Message] = []
        self.read_count = 0
        self.batch_count = 100
        log.info("requests are decoded", scanner=backend.chosen().value)

    def use(self, rules: RuleSet) -> None:
        """From now on records are projected with these rules."""
        self._projector = Projector(rules, self._settings.identity, self._settings.redaction)
        if hidden := self._projector.uncomparable:
            log.warning("pairs compare redacted attributes: set BETRACE_REDACT_KEY to decide them", attributes=hidden)
        self._decoder = Decoder(self._projector.interest, self._settings.format)
        self._read_run = None if self._format is Format.JSON else backend.run_reader(self._projector.interest)

    def look_at(self, drafts: Iterable[Draft]) -> None:
        """Looks for signs of a sampled source in what is to be flushed; then nothing of it is held any more."""
        self._facts_bytes = 0
        for draft in drafts:
            self._sampling.take(draft.touches.sample())

    @property
    def is_full(self) -> bool:
        """The drafts hold so many facts that they are to be flushed before more is taken in."""
        return self._facts_bytes >= FACTS_BYTES

    @property
    def has_left(self) -> bool:
        """Messages that were given are not taken in yet."""
        return bool(self._left)

    def forget(self, sources: Collection[Source]) -> None:
        """What is left of these is read again, by whoever reads them."""
        self._left = [message for message in self._left if (message.topic(), message.partition()) not in sources]

    def take(self, given: list[Message], *, local_ms: int) -> set[Source]:
        """Takes in messages that were read by `local_ms`; returns the partitions whose position is gone from the log.

        What would take too much memory is left for the next call, after a flush, or once the outbox has room: a few
        records may make megabytes of facts and audit records each.

        Raises:
            StateError: Kafka refuses to let us read, or a dead letter cannot be sent.
        """
        gone: set[Source] = set()
        taken_bytes = 0
        if given:
            self._sampling.look(given[0].value())
        messages = [*self._left, *given] if self._left else given
        index = 0
        while index < len(messages) and not self.is_full and self._outbox.has_room:
            run = self._take_run(messages, index, local_ms)
            if run is not None and run.record_count:
                index += run.record_count
                taken_bytes += run.value_bytes
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
        self._left = messages[index:]
        self._count(taken_bytes)
        return gone & self._sources.keys()

    def pass_over(self, *, local_ms: int) -> list[TopicPartition]:
        """Gives up the records that are known by now to be unreadable; returns where the consumer is to go on."""
        return [
            TopicPartition(*each.source, each.to_offset)
            for each in self._obstacles.step()
            if self._give_up(each, local_ms)
        ]

    def _give_up(self, gone: Unreadable, local_ms: int) -> bool:
        source = self._sources.get(gone.source)
        if source is None or source.next_offset != gone.from_offset:
            return False
        if gone.from_offset == gone.to_offset:
            return True
        source.pass_over(gone.to_offset, local_ms=local_ms)
        metrics.OFFSETS_LOST.labels(source.topic).inc(gone.to_offset - gone.from_offset)
        log.error(
            "records cannot be read and are passed over",
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
            # consume(n) is not bounded in bytes, and large batches of large messages cost two thirds of the speed.
            least, most = CONSUME_COUNTS
            self.batch_count = min(most, max(least, CONSUME_BYTES * taken_count // max(1, taken_bytes)))

    def _take_run(self, messages: list[Message], index: int, local_ms: int) -> Run | None:
        """Takes in the run of records that begins at an index, an empty one where it must be a record at a time."""
        if self._read_run is None or messages[index].error() is not None:
            return None
        topic, partition = _source(messages[index])
        source = self._sources.get((topic, partition))
        start = None if source is None else source.run_start(local_ms=local_ms, has_logs=_holds_logs(topic))
        if source is None or start is None:
            return None
        run = self._read_run(messages, index, start, source.draft.touches)
        if run.record_count:
            self._add_run(source, messages[index : index + run.record_count], run, local_ms)
        return run

    def _add_run(self, source: SourcePartition, messages: list[Message], run: Run, local_ms: int) -> None:
        source.take_run(run, local_ms=local_ms)
        source.draft.add_services(self._projector.services(run.services))
        tally = self._tallies[source.topic]
        tally.records += run.record_count
        tally.projected += run.record_count
        tally.spans += run.span_count
        tally.spans_without_trace += run.spans_without_trace
        tally.logs_without_trace += run.logs_without_trace
        for record in run_facts(messages, run, self._projector, self._budget):
            if record.reason is not None:
                self._dead_letter(record.message, record.reason)
            self._facts_bytes += record.size_bytes
            tally.facts += add_to(source.draft, record)

    def _take_record(self, message: Message, local_ms: int) -> int:
        """Takes in one record; returns the size of its value in bytes."""
        topic, partition, offset = _place(message)
        value = message.value()
        source = self._sources.get((topic, partition))
        tally = self._tallies[topic]
        if source is None or offset < source.next_offset:
            # Fetched before a rebalance: whoever reads the partition now reads it too.
            tally.stale += 1
            return 0
        tally.records += 1
        projected = Projected(offset, [], is_dead_letter=True)
        kind = RecordKind.LOGS if _holds_logs(topic) else RecordKind.SPANS
        size_bytes, facts_bytes = len(value or b""), 0
        try:
            decoded = self._decoder.decode(value, kind)
        except RecordError as error:
            self._dead_letter(message, str(error))
        else:
            traces, refused, facts_bytes = project(decoded, self._projector, self._budget.facts_bytes(size_bytes))
            if refused is not None:
                self._dead_letter(message, refused)
            projected = Projected(offset, traces, is_dead_letter=refused is not None)
            self._facts_bytes += facts_bytes
            source.draft.add_services(self._projector.services(decoded.services))
            tally.projected += 1
            tally.spans += decoded.span_count
            tally.spans_without_trace += decoded.spans_without_trace
            tally.logs_without_trace += decoded.logs_without_trace
            tally.facts += sum([len(trace.facts) for trace in traces])
        # Also of a record that is none to rules: log records without a trace belong to the trail.
        room_bytes = self._budget.total_bytes(size_bytes) - facts_bytes
        found = extract(value, kind, self._format, self._settings.redaction, room_bytes)
        self._send_audit(found, source.epoch, (topic, partition), offset)
        stamp, record_ms = message.timestamp()
        is_broker_time = stamp == TIMESTAMP_LOG_APPEND_TIME
        source.take(record_ms, projected, local_ms=local_ms, is_broker_time=is_broker_time)
        return size_bytes

    def _take_event(self, message: Message, error: KafkaError, local_ms: int) -> None:
        code = error.code()
        if code == PARTITION_EOF:
            topic, partition, offset = _place(message)
            source = self._sources.get((topic, partition))
            if source is not None:
                source.reach_end(offset, local_ms=local_ms)
        elif error.fatal() or code in _REFUSED:
            raise StateError(
                f"reading {message.topic()} failed: {error.str()}", action="check that the topic is there and readable"
            )
        elif not self._is_obstacle(message, error):
            log.warning("kafka reports an error, reading goes on", error=error.str())

    def _is_obstacle(self, message: Message, error: KafkaError) -> bool:
        """Whether it may be the record at which its partition stands that cannot be read."""
        topic, partition = message.topic(), message.partition()
        source = None if topic is None or partition is None else self._sources.get((topic, partition))
        if source is None:
            return False
        return self._obstacles.note((source.topic, source.partition), source.next_offset, error)

    def _send_audit(self, found: Iterable[AuditRecord], epoch: int, source: Source, offset: int) -> None:
        """Each record in the partition of its trace, with its number among those that this source record brought there.

        So a record that is written again has the same place in the same partition.
        """
        numbers: Counter[int] = Counter()
        for record in found:
            trace_id = record.trace_id
            to = source[1] if trace_id is None else partitions.of_trace(bytes.fromhex(trace_id), self._audit_partitions)
            to %= self._audit_partitions
            at = SourcePosition(*source, epoch, offset, numbers[to])
            numbers[to] += 1
            metrics.AUDIT_RECORDS.labels(source[0]).inc()
            self._outbox.send(
                self._audit,
                audit.encode(record),
                None if trace_id is None else trace_id.encode(),
                to,
                [(POSITION_HEADER, at.encode())],
            )

    def _dead_letter(self, message: Message, reason: str) -> None:
        topic, partition, offset = _place(message)
        metrics.DEAD_LETTERS.labels(topic, reason.split(":", maxsplit=1)[0]).inc()
        log.warning("record becomes a dead letter", reason=reason, topic=topic, partition=partition, offset=offset)
        letter = dead_letters.letter(
            message.value(),
            reason=reason,
            topic=topic,
            partition=partition,
            offset=offset,
            public_key=self._settings.dead_letter_key,
        )
        self._outbox.send(self._letters, letter.value, letter.key, headers=letter.headers)


def _holds_logs(topic: str) -> bool:
    return "log" in topic


def _place(message: Message) -> tuple[str, int, int]:
    """Where a record or an end is."""
    offset = message.offset()
    if offset is None:
        raise _without_place()
    return *_source(message), offset


def _source(message: Message) -> Source:
    """Of which partition a message is; librdkafka gives an offset only with some events of a partition."""
    topic, partition = message.topic(), message.partition()
    if topic is None or partition is None:
        raise _without_place()
    return topic, partition


def _without_place() -> StateError:
    return StateError("kafka gave a message without a place", action="report this as a bug")
