"""Logs of facts messages as ingest would write them, whatever happens to it: the real stages, without Kafka.

Source records are read by `SourcePartition` and flushed by `streams.ingest.flush`. An ingest may flush after any
record, for some source partitions and not for others, stop in the middle of a split flush, and begin again at any
commit.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from confluent_kafka import TopicPartition
from hypothesis import strategies as st

from streams.ingest.flush import messages
from streams.ingest.source import Log, Projected, SourcePartition, read_metadata, start_position
from streams.ingest.watermark import PartitionTime
from streams.projection.budget import TraceFacts
from tests.properties.reference import Record
from tests.support.builders import TOPIC, fact, trace_id
from topics.records.facts import TICK_MS, Fact, Facts, decode

OUT_OF_ORDER_MS = 250
MAX_CLOCK_SKEW_MS = 2_000
IDLE_LAG_MS = 100
LOCAL_MS = 10_000_000
FIRST_MS = 1_000
NIGHT_MS = 3_000
MOST_RECORDS = 20
MOST_DEEDS = 24
LAST_TICK = (FIRST_MS + MOST_RECORDS * NIGHT_MS) // TICK_MS
SMALL_BYTES = 400
LARGE_BYTES = 1_000_000

TRACES = tuple(map(trace_id, "abc"))
ATOMS = (b"access", b"audit")


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """A record of a source partition: per trace it says something of, its facts; and who stamped it."""

    offset: int
    record_ms: int
    traces: tuple[tuple[bytes, tuple[Fact, ...]], ...]
    is_broker_time: bool = True


@dataclass(frozen=True, slots=True)
class Flush:
    """So many records of each source are read; what was read of `sources` is flushed in parts of `limit_bytes`."""

    counts: tuple[int, ...]
    sources: tuple[int, ...]
    limit_bytes: int


@dataclass(frozen=True, slots=True)
class Stop:
    """Ingest stops while it flushes `sources`, `sent` of the parts being written, and goes on `back` commits ago.

    With `rules` it comes back with that rule set; the first `lost` records that it would read are gone then.
    """

    sources: tuple[int, ...]
    sent: int
    back: int
    rules: str | None = None
    lost: int = 0


@dataclass(frozen=True, slots=True)
class Grow:
    """The source topic is seen to have all its partitions; before, there was only the first."""


@dataclass(frozen=True, slots=True)
class Reset:
    """The group's offsets are reset while ingest is stopped, of each source to so many records before it stood."""

    back: tuple[int, ...]


Deed = Flush | Stop | Grow | Reset


@dataclass(slots=True)
class _Source:
    """A source partition, its ingest, and all it ever committed: offset and metadata."""

    number: int
    records: list[SourceRecord]
    rules: str = "one"
    reader: SourcePartition = field(init=False)
    commits: list[tuple[int, str]] = field(init=False)
    low: int = 0
    replay: int = 0

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """The first start."""
        self.begin(None, None, partition_count=1)
        self.commits = [(self.reader.next_offset, self.reader.metadata())]

    def begin(self, offset: int | None, metadata: str | None, *, partition_count: int) -> None:
        """The partition is assigned to an ingest."""
        log = Log("id", self.low, self.records[-1].offset + 1 if self.records else 0)
        now_ms = max(LOCAL_MS, self.replay)
        start = start_position(
            offset, read_metadata(metadata), log, start="earliest", now_ms=now_ms, replay=self.replay
        )
        time = PartitionTime[Projected](
            out_of_order_ms=OUT_OF_ORDER_MS,
            idle_lag_ms=IDLE_LAG_MS,
            max_clock_skew_ms=0,
            broker_skew_ms=MAX_CLOCK_SKEW_MS,
        )
        place = TopicPartition(TOPIC, self.number)
        if start.is_new:
            # Its first commit is made before anything is read.
            said = start.initial_metadata("id", self.rules)
            start = start_position(start.offset, said, log, start="earliest", now_ms=now_ms, replay=self.replay)
        self.reader = SourcePartition.starting_at(
            place, start, "id", partition_count, time, now_ms=LOCAL_MS, rules=self.rules, log_end=log.high
        )

    def again(self, back: int) -> None:
        """Another ingest begins at a commit."""
        offset, metadata = self.commits[max(0, len(self.commits) - 1 - back)]
        self.begin(offset, metadata, partition_count=self.reader.builder.partition_count)

    def reset(self, back: int, replay: int) -> None:
        """An ingest begins where the group's offsets were reset to; older commits are gone with it."""
        self.replay = replay
        read = [record.offset for record in self.records if record.offset < self.reader.next_offset]
        offset = ([0] * back + read)[-back] if back else self.reader.next_offset
        self.begin(offset, None, partition_count=self.reader.builder.partition_count)
        self.commits = [(self.reader.next_offset, self.reader.metadata())]

    def lose(self, count: int) -> None:
        """The next records expire before they are read."""
        gone = [record for record in self.records if record.offset >= self.reader.next_offset][:count]
        if gone:
            self.low = max(self.low, gone[-1].offset + 1)

    def read(self, count: int) -> None:
        """Reads the next records."""
        ahead = [record for record in self.records if record.offset >= self.reader.next_offset]
        for record in ahead[:count]:
            said = [TraceFacts(trace, 1, root_seen=False, facts=list(facts)) for trace, facts in record.traces]
            self.reader.add_record(
                record.record_ms,
                Projected(record.offset, said),
                local_ms=LOCAL_MS,
                is_broker_time=record.is_broker_time,
            )
        if ahead and not ahead[0].is_broker_time:
            # There was no more at this moment: so few records say nothing of the time unless they are the last.
            self.reader.reach_end(self.reader.next_offset, local_ms=LOCAL_MS)


@dataclass(slots=True)
class Ingests:
    """All that reads the source topic; `log` is what it wrote to the facts partition."""

    sources: list[_Source]
    log: list[Facts] = field(default_factory=list)
    rules: str = "one"

    def do(self, deed: Deed) -> None:
        """One deed after the other."""
        match deed:
            case Flush(counts, sources, limit_bytes):
                for source, count in zip(self.sources, counts, strict=True):
                    source.read(count)
                self._write(self._chosen(sources), limit_bytes)
                self._commit(self._chosen(sources))
            case Stop(sources, sent, back, rules, lost):
                chosen = self._chosen(sources)
                self._write(chosen, SMALL_BYTES, sent)
                self._use(rules or self.rules, stopped=chosen)
                for source in chosen:
                    source.again(back)
                    source.lose(lost)
                    source.again(back)
            case Grow():
                self.grow()
            case Reset(back):
                replay = max(LOCAL_MS, self.sources[0].replay) + 1
                for source, count in zip(self.sources, back, strict=True):
                    source.reset(count, replay)

    def _use(self, rules: str, stopped: list[_Source]) -> None:
        """All go over to these rules; those that were not stopped do it between two flushes."""
        self.rules = rules
        others = [source for source in self.sources if source not in stopped and source.rules != rules]
        self._write(others, LARGE_BYTES, rules=others[0].rules if others else rules)
        self._commit(others)
        for source in self.sources:
            source.rules = rules
        for source in others:
            source.reader.use_rules(rules)

    def grow(self) -> None:
        """All partitions of the topic are known."""
        for source in self.sources:
            source.reader.builder.partition_count = len(self.sources)

    def finish(self) -> None:
        """Reads and flushes the rest; then time passes until every window has closed."""
        self.grow()
        for source in self.sources:
            source.read(len(source.records))
            source.reader.reach_end(source.reader.next_offset, local_ms=LOCAL_MS)
        self._write(self.sources, LARGE_BYTES)
        for source in self.sources:
            source.reader.time.tick_idle(local_ms=3 * LOCAL_MS)
        self._write(self.sources, LARGE_BYTES)

    def _chosen(self, numbers: Iterable[int]) -> list[_Source]:
        """Of partitions that are not known yet nothing is flushed."""
        known = self.sources[0].reader.builder.partition_count
        return [self.sources[number] for number in sorted(set(numbers)) if number < known]

    def _write(
        self, sources: list[_Source], limit_bytes: int, sent: int | None = None, rules: str | None = None
    ) -> None:
        drafts = [(source.reader.take_builder(), source.reader.time.watermark_ms) for source in sources]
        sections = [draft.sections(1, watermark_ms)[0] for draft, watermark_ms in drafts]
        if sections:
            parts = messages(rules or self.rules, sections, limit_bytes)
            # A flush that was sent whole was not stopped.
            self.log += map(decode, parts if sent is None else parts[: min(sent, len(parts) - 1)])

    def _commit(self, sources: list[_Source]) -> None:
        for source in sources:
            source.commits.append((source.reader.builder.from_offset, source.reader.metadata()))


def written(
    sources: list[list[SourceRecord]], deeds: Iterable[Deed], *, grown: bool, gone: Iterable[int] = ()
) -> list[Facts]:
    """The facts log that the deeds leave; `grown`: all partitions are known from the beginning.

    Of each source the first `gone` records have expired before the first start.
    """
    ingests = Ingests([_Source(number, records) for number, records in enumerate(sources)])
    for source, count in zip(ingests.sources, gone, strict=False):
        source.lose(count)
        source.start()
    if grown:
        ingests.grow()
    for deed in deeds:
        ingests.do(deed)
    ingests.finish()
    return ingests.log


def arrivals(sources: list[list[SourceRecord]]) -> list[Record]:
    """The same source records for the reference."""
    return [
        Record(trace, record.record_ms // TICK_MS, facts)
        for records in sources
        for record in records
        for trace, facts in record.traces
    ]


facts = st.builds(
    lambda atom, span, start_ns, name: fact(span, start_ns, atom=atom, name=name),
    st.sampled_from(ATOMS),
    st.integers(0, 9),
    st.none() | st.integers(0, 3),
    st.sampled_from(("login", "read" * 40)),
)
said = st.dictionaries(st.sampled_from(TRACES), st.lists(facts, max_size=3).map(tuple), max_size=3)


ElementT = TypeVar("ElementT")


def lists(elements: st.SearchStrategy[ElementT], most: int) -> st.SearchStrategy[list[ElementT]]:
    """Lists that are mostly long: left to itself Hypothesis draws about five elements, too few for much to happen."""
    return st.sampled_from((0, most // 2, most)).flatmap(
        lambda least: st.lists(elements, min_size=least, max_size=most)
    )


@st.composite
def source_records(draw: st.DrawFn, *, most_back_ms: int) -> list[SourceRecord]:
    """Records of one source partition, whose times run back by at most `most_back_ms`, whoever stamps them."""
    steps_ms = st.integers(0, 900) | st.just(NIGHT_MS)
    drawn = st.tuples(steps_ms, st.integers(0, most_back_ms), st.integers(1, 3), said)
    records: list[SourceRecord] = []
    highest_ms, offset = FIRST_MS, 0
    is_broker_time = draw(st.booleans())
    for step_ms, back_ms, offsets, traces in draw(lists(drawn, MOST_RECORDS)):
        highest_ms += step_ms
        offset += offsets
        record_ms = max(0, highest_ms - back_ms)
        records.append(SourceRecord(offset, record_ms, tuple(traces.items()), is_broker_time))
    return records


def deeds(sources: int, *, everything: bool) -> st.SearchStrategy[list[Deed]]:
    """What ingest does; with `everything` also what no law promises to be without effect."""
    numbers = st.just(tuple(range(sources))) | st.lists(st.integers(0, sources - 1), min_size=1).map(tuple)
    counts = st.tuples(*[st.integers(0, 3)] * sources)
    flushes = st.builds(Flush, counts, numbers, st.sampled_from((SMALL_BYTES, LARGE_BYTES)))
    sent, back = st.integers(0, 3), st.integers(0, 3)
    if not everything:
        return lists(flushes | flushes | st.builds(Stop, numbers, sent, back), MOST_DEEDS)
    rules, lost = st.none() | st.sampled_from(("one", "two")), st.integers(0, 2)
    stops = st.builds(Stop, numbers, sent, back, rules, lost)
    resets = st.builds(Reset, st.tuples(*[st.integers(0, MOST_RECORDS)] * sources))
    return lists(flushes | flushes | flushes | stops | st.builds(Grow) | resets, MOST_DEEDS)
