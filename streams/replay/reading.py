"""A reader's inputs as sections of facts.

In: records. Out: drafts, cut into one section per process and input. Decoding, projection and record time are ingest's.
What must hold: an input's sections follow one another, and after its last one the clock need not wait for it. The cost
of a record of which no rule names anything is what replay is as fast as.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from streams.decode import Decoder
from streams.errors import RecordError
from streams.ingest.watermark import PartitionTime
from streams.project import Projector
from streams.replay.draft import Share, TickDraft, shares
from streams.replay.feed import Record, Taken
from streams.replay.plan import Input, Plan
from streams.settings import Settings
from streams.traces import TraceSpans
from streams.window.clock import Source
from topics.facts import TICK_MS, Section
from topics.otlp import RecordKind

EPOCH = 1
MINUTE_MS = 60_000


@dataclass(slots=True)
class Read:
    """What was read; `records` is None where they were not counted.

    `behind` counts records that were stamped more than out_of_order below one before them, `minutes` are those of
    record time, in the time that is asked for, in which there was a record.
    """

    records: int | None = None
    spans: int = 0
    unreadable: int = 0
    behind: int = 0
    minutes: set[int] = field(default_factory=set)

    def add(self, other: Read) -> None:
        """Adds what another reader read."""
        if other.records is not None:
            self.records = (self.records or 0) + other.records
        self.spans += other.spans
        self.unreadable += other.unreadable
        self.behind += other.behind
        self.minutes |= other.minutes


_Said: TypeAlias = tuple[int, Mapping[bytes, TraceSpans]]
"""An offset, and what the record there says of its traces."""


@dataclass(slots=True)
class _Reader:
    """Where one input stands.

    `next_offset` is the position; what is below `to_offset` is in `ticks` or was flushed before, from `from_offset` on
    the former. A record whose time is not certain yet is in neither.
    """

    input: Input
    kind: RecordKind
    time: PartitionTime[_Said]
    next_offset: int
    from_offset: int
    to_offset: int
    ticks: dict[int, TickDraft] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Settings, each: Input) -> _Reader:
        """At the beginning of the input."""
        time = PartitionTime[_Said](settings.out_of_order_ms, settings.idle_lag_ms, settings.max_clock_skew_ms)
        kind = RecordKind.LOGS if "log" in each.topic else RecordKind.SPANS
        return cls(each, kind, time, each.begin, each.begin, each.begin)

    def certain(self) -> tuple[int, int]:
        """From when until when a next record would be stamped that counts as it is and moves no time: most are."""
        highest_ms = self.time.highest_ms
        if highest_ms is None or self.time.has_kept:
            return 1, 0
        return max(0, highest_ms - self.time.out_of_order_ms), highest_ms

    def add(self, counts_at_ms: int, said: _Said, projector: Projector) -> None:
        """Adds a record that is certain to count at this time."""
        offset, traces = said
        self.to_offset = offset + 1
        if traces:
            tick = counts_at_ms // TICK_MS
            draft = self.ticks.get(tick)
            if draft is None:
                draft = self.ticks[tick] = TickDraft()
            draft.add(offset, traces, projector)

    def reach_end(self, projector: Projector, local_ms: int) -> None:
        """Nothing more comes: a record that was kept back is certain now."""
        for counts_at_ms, said in self.time.settle(local_ms=local_ms):
            self.add(counts_at_ms, said, projector)
        self.to_offset = max(self.to_offset, self.next_offset)

    def sections(self, count: int, watermark_ms: int | None) -> list[Section]:
        """What waits, for each of `count` processes; afterwards nothing does."""
        said = [self._section(share, watermark_ms) for share in shares(self.ticks, count)]
        self.ticks, self.from_offset = {}, self.to_offset
        return said

    def _section(self, share: Share, watermark_ms: int | None) -> Section:
        return Section(
            self.input.topic,
            self.input.partition,
            EPOCH,
            0,
            None,
            self.input.partition_count,
            self.from_offset,
            self.to_offset,
            watermark_ms,
            [],
            bytes(share.touches),
            share.entries,
        )


class Reading:
    """Takes in records of `inputs`; `open` are those that have not ended."""

    def __init__(self, settings: Settings, projector: Projector, plan: Plan, inputs: Iterable[Input]) -> None:
        self.read = Read()
        self._plan = plan
        self._projector = projector
        self._decoder = Decoder(projector.interest, settings.format)
        self._readers = {each.source: _Reader.of(settings, each) for each in inputs}
        self._begin = sum(reader.next_offset for reader in self._readers.values())
        self.open = {at for at, reader in self._readers.items() if reader.input.begin < reader.input.end}
        # Every input says at least that it has ended.
        self._unsaid = set(self._readers)

    @property
    def offsets(self) -> int:
        """How many offsets of all inputs are read."""
        return sum(reader.next_offset for reader in self._readers.values()) - self._begin

    def take(self, taken: Taken, *, local_ms: int) -> set[Source]:
        """Takes in what a feed gave; returns the inputs that have ended by it."""
        for source in taken.records.keys() & self.open:
            self._take(self._readers[source], taken.records[source], local_ms)
        for source in taken.ends.keys() & self.open:
            reader = self._readers[source]
            reader.next_offset = max(reader.next_offset, taken.ends[source])
        # What is read beyond the end is of no chain that is asked for.
        ended = {source for source in self.open if source in taken.ends or self._is_past(self._readers[source])}
        self.open -= ended
        for source in ended:
            self._readers[source].reach_end(self._projector, local_ms)
        self._unsaid |= ended
        return ended

    def waiting_count(self) -> int:
        """How many traces the drafts hold."""
        return sum(len(at.spans) for reader in self._readers.values() for at in reader.ticks.values())

    def sections(self, count: int) -> list[list[Section]]:
        """For each of `count` processes what was read since the last call; an input of which nothing was is left out.

        The watermark of an input that has ended is the time up to which the input as a whole is complete.
        """
        sections: list[list[Section]] = [[] for _ in range(count)]
        for at, reader in self._readers.items():
            if at not in self._unsaid and reader.to_offset == reader.from_offset:
                continue
            watermark_ms = reader.time.watermark_ms
            if at not in self.open:
                watermark_ms = max(watermark_ms or 0, self._plan.clock_ms)
            for to, section in enumerate(reader.sections(count, watermark_ms)):
                sections[to].append(section)
        self._unsaid -= self._readers.keys() - self.open
        self.read.behind = sum(reader.time.behind_count for reader in self._readers.values())
        return sections

    def _is_past(self, reader: _Reader) -> bool:
        watermark_ms = reader.time.watermark_ms
        is_past = watermark_ms is not None and watermark_ms >= self._plan.until_ms
        return is_past or reader.next_offset >= reader.input.end

    def _take(self, reader: _Reader, records: Iterable[Record], local_ms: int) -> None:
        decode, projector, read, kind = self._decoder.decode, self._projector, self.read, reader.kind
        end, minute, count = reader.input.end, -1, 0
        low_ms, high_ms = reader.certain()
        for offset, time_ms, value in records:
            if offset < reader.next_offset:
                # Fetched again after a pause.
                continue
            reader.next_offset = min(offset + 1, end)
            if offset >= end:
                break
            count += 1
            if time_ms // MINUTE_MS != minute and self._plan.period.holds(time_ms):
                minute = time_ms // MINUTE_MS
                read.minutes.add(minute)
            try:
                decoded = decode(value, kind)
            except RecordError:
                read.unreadable += 1
                said: _Said = offset, {}
            else:
                read.spans += decoded.span_count
                said = offset, decoded.traces
            if low_ms <= time_ms <= high_ms:
                reader.add(time_ms, said, projector)
                continue
            # A record without a time has -1.
            for counts_at_ms, certain in reader.time.observe(max(time_ms, 0), said, local_ms=local_ms):
                reader.add(counts_at_ms, certain, projector)
            low_ms, high_ms = reader.certain()
        read.records = (read.records or 0) + count
