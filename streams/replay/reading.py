"""A reader's inputs as sections of facts.

In: records. Out: drafts, cut into one section per process and input. Decoding, projection and record time are ingest's.
What must hold: an input's sections follow one another, and after its last one the clock need not wait for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from confluent_kafka import TopicPartition

from streams.decode import Decoder
from streams.errors import RecordError
from streams.ingest.source import Begin, Projected, SourcePartition
from streams.project import Projector, project
from streams.replay.feed import End, Record
from streams.replay.plan import Input, Plan
from streams.settings import Settings
from streams.window.clock import Source
from topics.facts import Section
from topics.otlp import RecordKind

EPOCH = 1
MINUTE_MS = 60_000


@dataclass(slots=True)
class Read:
    """What was read.

    `behind` counts records that were stamped more than out_of_order below one before them, `minutes` are those of
    record time, in the time that is asked for, in which there was a record.
    """

    records: int = 0
    spans: int = 0
    unreadable: int = 0
    behind: int = 0
    minutes: set[int] = field(default_factory=set)

    def add(self, other: Read) -> None:
        """Adds what another reader read."""
        self.records += other.records
        self.spans += other.spans
        self.unreadable += other.unreadable
        self.behind += other.behind
        self.minutes |= other.minutes


class Reading:
    """Takes in records of `inputs`; `open` are those that have not ended."""

    def __init__(self, settings: Settings, projector: Projector, plan: Plan, inputs: Iterable[Input]) -> None:
        self.read = Read()
        self._plan = plan
        self._projector = projector
        self._decoder = Decoder(projector.interest, settings.format)
        self._ends = {each.source: each.end for each in inputs}
        self.sources = {each.source: _source(settings, each) for each in inputs}
        self.open = {each.source for each in inputs if each.begin < each.end}
        # Every input says at least that it has ended.
        self._unsaid = set(self.sources)

    def take(self, taken: Iterable[Record | End], *, local_ms: int) -> set[Source]:
        """Takes in what a feed gave; returns the inputs that have ended by it."""
        sources, is_open, ends = self.sources, self.open, self._ends
        ended: set[Source] = set()
        for each in taken:
            source = each[0]
            if source not in is_open:
                continue
            if type(each) is Record:
                self._take_record(each, sources[source], local_ms)
                if each.offset + 1 < ends[source]:
                    continue
            is_open.discard(source)
            ended.add(source)
        # Once for all of them: what is read beyond the end is of no chain that is asked for.
        ended |= {source for source in is_open if self._is_past(source)}
        is_open -= ended
        for source in ended:
            sources[source].reach_end(sources[source].next_offset, local_ms=local_ms)
        self._unsaid |= ended
        return ended

    def waiting_count(self) -> int:
        """How many traces the drafts hold."""
        return sum(len(source.draft.touches) for source in self.sources.values())

    def sections(self, count: int) -> list[list[Section]]:
        """For each of `count` processes what was read since the last call; an input of which nothing was is left out.

        The watermark of an input that has ended is the time up to which the input as a whole is complete.
        """
        sections: list[list[Section]] = [[] for _ in range(count)]
        for at, source in self.sources.items():
            if at not in self._unsaid and source.draft.to_offset == source.draft.from_offset:
                continue
            watermark_ms = source.time.watermark_ms
            if at not in self.open:
                watermark_ms = max(watermark_ms or 0, self._plan.clock_ms)
            for to, section in enumerate(source.renew_draft().sections(count, watermark_ms)):
                sections[to].append(section)
        self._unsaid -= self.sources.keys() - self.open
        self.read.behind = sum(source.time.behind_count for source in self.sources.values())
        return sections

    def _is_past(self, at: Source) -> bool:
        watermark_ms = self.sources[at].time.watermark_ms
        return watermark_ms is not None and watermark_ms >= self._plan.until_ms

    def _take_record(self, record: Record, source: SourcePartition, local_ms: int) -> None:
        _, offset, time_ms, value = record
        if offset < source.next_offset:
            # Fetched again after a pause.
            return
        read = self.read
        read.records += 1
        minute = time_ms // MINUTE_MS
        if minute not in read.minutes and self._plan.period.holds(time_ms):
            read.minutes.add(minute)
        projected = Projected(offset, [])
        try:
            decoded = self._decoder.decode(value, RecordKind.LOGS if "log" in source.topic else RecordKind.SPANS)
        except RecordError:
            read.unreadable += 1
        else:
            projected.traces = project(decoded, self._projector)
            read.spans += decoded.span_count
        source.take(time_ms, projected, local_ms=local_ms)


def _source(settings: Settings, each: Input) -> SourcePartition:
    place, begin = TopicPartition(*each.source), Begin(each.begin, EPOCH)
    return SourcePartition.at(place, begin, "", each.partition_count, settings.new_time(), now_ms=0)
