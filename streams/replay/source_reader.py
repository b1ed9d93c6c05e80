"""Reads a reader's inputs into sections of facts.

In: records. Out: one section per process and input. Decoding, projection and record time are ingest's.
An input's sections follow one another, and after its last one the clock does not wait for it. Most records are
processed in batches, compiled (`streams.decode.batches`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Message, TopicPartition

from streams.config.settings import Settings
from streams.decode import backend
from streams.decode.decoder import Decoder, Format
from streams.errors import RecordError, StateError
from streams.ingest.batch_facts import add_to_builder, batch_facts
from streams.ingest.source import Projected, SourcePartition, StartPosition
from streams.ingest.watermark import PartitionTime
from streams.kafka.clients import PARTITION_EOF
from streams.kafka.unreadable import UnreadableRange, UnreadableTracker
from streams.projection.budget import Budget, project
from streams.projection.project import Projector
from streams.replay.feed import check
from streams.replay.name_watch import NameWatch
from streams.replay.plan import Input, Plan
from streams.windows.clock import Source
from topics.otlp.requests import RecordKind
from topics.records.facts import Section

EPOCH = 1
MINUTE_MS = 60_000
HOUR_MS = 3_600_000


@dataclass(slots=True, kw_only=True)
class Read:
    """What was read; `records` is None if they were not counted.

    `behind` counts records that were stamped more than out_of_order before an earlier one, `out_of_bounds` those of
    producers with a time outside the accepted bounds, `lost` are those that cannot be read. `minutes` are those of
    record time, in the requested period, that have a record. `names` are those of the rules' names that were seen.
    """

    records: int | None = None
    spans: int = 0
    unreadable: int = 0
    behind: int = 0
    out_of_bounds: int = 0
    lost: list[UnreadableRange] = field(default_factory=list)
    minutes: set[int] = field(default_factory=set)
    names: set[str] = field(default_factory=set)

    def add(self, other: Read) -> None:
        """Add what another reader read."""
        if other.records is not None:
            self.records = (self.records or 0) + other.records
        self.spans += other.spans
        self.unreadable += other.unreadable
        self.behind += other.behind
        self.out_of_bounds += other.out_of_bounds
        self.lost += other.lost
        self.minutes |= other.minutes
        self.names |= other.names


class HourRead(NamedTuple):
    """What was read of one source and hour of record time: the offset after its last record, and unreadable ones."""

    to_offset: int
    unreadable: int

    def plus(self, other: HourRead) -> HourRead:
        """Return the sum.

        >>> HourRead(5, 1).plus(HourRead(3, 1))
        HourRead(to_offset=5, unreadable=2)
        """
        return HourRead(max(self.to_offset, other.to_offset), self.unreadable + other.unreadable)


class SourceReader:
    """Processes the records of `inputs`; `open` are those that have not ended.

    `hours` have, by source and hour of record time, what was read since they were last taken.
    """

    def __init__(self, settings: Settings, projector: Projector, plan: Plan, inputs: Iterable[Input]) -> None:
        self.read = Read(records=0)
        self.hours: dict[tuple[Source, int], HourRead] = {}
        self._plan = plan
        self._projector = projector
        self._watch = NameWatch(projector.rules.interest)
        self._budget = Budget(settings.record_budget)
        self._decoder = Decoder(projector.interest, settings.format)
        self._read_batch = None if settings.format is Format.JSON else backend.batch_reader(projector.interest)
        self._ends = {each.source: each.end for each in inputs}
        self._sources = {each.source: _source(settings, each) for each in inputs}
        self._start_offset_sum = sum(source.next_offset for source in self._sources.values())
        self.open = {each.source for each in inputs if each.begin < each.end}
        # Every input reports at least its end.
        self._unreported = set(self._sources)
        self._obstacles = UnreadableTracker.of(settings)

    @property
    def offsets(self) -> int:
        """The number of offsets of all inputs that were read."""
        return sum(source.next_offset for source in self._sources.values()) - self._start_offset_sum

    def take(self, messages: list[Message], *, local_ms: int) -> set[Source]:
        """Process what a feed returned, and return the inputs that ended with it.

        Raises:
            StateError: Kafka reports that reading cannot continue.
        """
        ended: set[Source] = set()
        index = 0
        while index < len(messages):
            message = messages[index]
            at, error = _place(message), message.error()
            if error is not None:
                if error.code() == PARTITION_EOF:
                    ended.add(at)
                else:
                    check(message, error)
                    if at in self.open:
                        self._obstacles.note(at, self._sources[at].next_offset, error)
                index += 1
            elif at not in self.open or at in ended:
                # After the end, or fetched before the end was reached.
                index += 1
            else:
                index += self._take(messages, index, self._sources[at], local_ms)
        # Records after the end belong to no requested chain.
        ended = {at for at in self.open if at in ended or self._is_past(at)}
        self.open -= ended
        for at in ended:
            self._sources[at].reach_end(self._sources[at].next_offset, local_ms=local_ms)
        self._unreported |= ended
        return ended

    def pass_over(self, *, local_ms: int) -> list[TopicPartition]:
        """Skip the records known to be unreadable, as ingest does, and return where to continue."""
        passed: list[TopicPartition] = []
        for each in self._obstacles.step():
            source = self._sources[each.source]
            if each.source in self.open and source.next_offset == each.from_offset:
                if each.to_offset > each.from_offset:
                    source.skip(each.to_offset, local_ms=local_ms)
                    self.read.lost.append(each)
                passed.append(TopicPartition(*each.source, each.to_offset))
        return passed

    def waiting_count(self) -> int:
        """Return the number of traces in the section builders."""
        return sum(len(source.builder.touches) for source in self._sources.values())

    def sections(self, count: int) -> list[list[Section]]:
        """Return for each of `count` processes what was read since the last call, without inputs that had nothing.

        The watermark of an input that has ended is the time up to which the input as a whole is complete.
        """
        sections: list[list[Section]] = [[] for _ in range(count)]
        for at, source in self._sources.items():
            if at not in self._unreported and source.builder.to_offset == source.builder.from_offset:
                continue
            watermark_ms = source.time.watermark_ms
            if at not in self.open:
                watermark_ms = max(watermark_ms or 0, self._plan.clock_ms)
            for to, section in enumerate(source.take_builder().sections(count, watermark_ms)):
                sections[to].append(section)
        self._unreported -= self._sources.keys() - self.open
        self.read.behind = sum(source.time.behind_count for source in self._sources.values())
        self.read.names = self._watch.seen
        self.read.out_of_bounds = sum(source.time.out_of_bounds_count for source in self._sources.values())
        return sections

    def _is_past(self, at: Source) -> bool:
        source = self._sources[at]
        watermark_ms = source.time.watermark_ms
        is_past = watermark_ms is not None and watermark_ms >= self._plan.until_ms
        return is_past or source.next_offset >= self._ends[at]

    def _take(self, messages: list[Message], index: int, source: SourcePartition, local_ms: int) -> int:
        """Process the record at an index, or a batch of them, and return their number."""
        is_near_end = self._ends[source.topic, source.partition] - source.next_offset < len(messages) - index
        start = None if is_near_end else source.batch_context(local_ms=local_ms, has_logs=_holds_logs(source.topic))
        if self._read_batch is not None and start is not None:
            result = self._read_batch(messages, index, start, source.builder.touches)
            if result.record_count:
                source.add_batch(result, local_ms=local_ms)
                batch = messages[index : index + result.record_count]
                for hits in result.hits:
                    self._watch.note(hits.spans)
                for record in batch_facts(batch, result, self._projector, self._budget):
                    if record.refusal is not None:
                        self.read.unreadable += 1
                        self._note_hour(record.message, 1)
                    add_to_builder(source.builder, record)
                highest_ms = result.highest_ms if result.has_broker_time else None
                self._count(batch, result.first_ms, highest_ms, result.span_count)
                self._note_hours(batch, result.first_ms, highest_ms)
                return result.record_count
        self._take_record(messages[index], source, local_ms)
        return 1

    def _count(self, messages: list[Message], first_ms: int, highest_ms: int | None, span_count: int) -> None:
        """Count records of one input, mostly all of one minute; `highest_ms` is None if unknown."""
        self.read.records = (self.read.records or 0) + len(messages)
        self.read.spans += span_count
        minute = first_ms // MINUTE_MS
        if highest_ms is not None and minute == highest_ms // MINUTE_MS and self._plan.period.holds(first_ms):
            self.read.minutes.add(minute)
            return
        times_ms = {message.timestamp()[1] for message in messages}
        self.read.minutes |= {time_ms // MINUTE_MS for time_ms in times_ms if self._plan.period.holds(time_ms)}

    def _note_hours(self, messages: list[Message], first_ms: int, highest_ms: int | None) -> None:
        """Note records of one input, in the order of their offsets; `highest_ms` as in `_count`."""
        is_one = highest_ms is not None and first_ms // HOUR_MS == highest_ms // HOUR_MS
        batch = messages[-1:] if is_one else messages
        for message in batch:
            self._note_hour(message, 0)

    def _note_hour(self, message: Message, unreadable: int) -> None:
        at = (_place(message), message.timestamp()[1] // HOUR_MS * HOUR_MS)
        read = HourRead((message.offset() or 0) + 1, unreadable)
        self.hours[at] = self.hours.get(at, HourRead(0, 0)).plus(read)

    def _take_record(self, message: Message, source: SourcePartition, local_ms: int) -> None:
        offset, (stamp, time_ms) = message.offset() or 0, message.timestamp()
        if not source.next_offset <= offset < self._ends[source.topic, source.partition]:
            # Fetched again after a pause, or written after the replay began.
            source.next_offset = max(source.next_offset, min(offset, self._ends[source.topic, source.partition]))
            return
        value, projected, span_count, unreadable = message.value(), Projected(offset, []), 0, 0
        kind = RecordKind.LOGS if _holds_logs(source.topic) else RecordKind.SPANS
        try:
            decoded = self._decoder.decode(value, kind)
        except RecordError:
            unreadable = 1
            self.read.unreadable += 1
        else:
            for trace in decoded.traces.values():
                self._watch.note(trace.spans)
            room_bytes = self._budget.facts_bytes(len(value or b""))
            projected.traces, refusal, _ = project(decoded, self._projector, room_bytes)
            unreadable = int(refusal is not None)
            self.read.unreadable += unreadable
            span_count = decoded.span_count
        self._count([message], time_ms, time_ms, span_count)
        self._note_hour(message, unreadable)
        source.add_record(time_ms, projected, local_ms=local_ms, is_broker_time=stamp == TIMESTAMP_LOG_APPEND_TIME)


def _holds_logs(topic: str) -> bool:
    return "log" in topic


def _place(message: Message) -> Source:
    topic, partition = message.topic(), message.partition()
    if topic is None or partition is None:
        raise StateError("Kafka returned a message without an offset", action="report this as a bug")
    return topic, partition


def _source(settings: Settings, each: Input) -> SourcePartition:
    place, begin = TopicPartition(*each.source), StartPosition(offset=each.begin, epoch=EPOCH)
    source = SourcePartition.starting_at(place, begin, "", each.partition_count, PartitionTime.of(settings), now_ms=0)
    # The plan knows better than the first record up to when earlier records are missing.
    source.misses_beginning = False
    return source
