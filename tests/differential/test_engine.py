"""The engine against a reference that keeps every span: the same signals for every history and every way to read it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

from confluent_kafka import TopicPartition
from hypothesis import event, given, settings
from hypothesis import strategies as st

from dsl import Event, RuleSet, Span, load
from streams.decode.decoder import TraceSpans
from streams.ingest import flush
from streams.ingest.source import Projected, SourcePartition, StartPosition, read_metadata
from streams.ingest.watermark import PartitionTime
from streams.projection.budget import TraceFacts
from streams.projection.project import Projector
from streams.windows.chain import Bounds
from streams.windows.outcomes import evaluate_close
from streams.windows.partition import Partition
from streams.windows.positions import Position
from streams.windows.sessions import Sessions
from tests.support import naive_engine, paths
from topics.records.facts import TICK_MS, Facts, decode
from topics.signals.finding import Finding

RULES = paths.RULES
BOUNDS = Bounds(gap=4, lateness=8, max_duration=7)
REACH_MS = (BOUNDS.gap + BOUNDS.lateness) * TICK_MS
OUT_OF_ORDER_MS = 300
FAR_MS = 1 << 40
SMALL_BYTES, LARGE_BYTES = 900, 1_000_000
SOURCES = (("otlp_spans", 0, 2), ("otlp_spans", 1, 2), ("otlp_logs", 0, 1))
"""Topic, partition, and how many partitions the topic has."""

TRACES = tuple(bytes([number]) * 16 for number in (1, 2, 3))
Said = set[tuple[str, int, str, int, int]]
"""Of each signal its uid, revision, verdict, and the first and last tick of its window."""

PALETTE = (
    Span("pii.access"),
    Span("phi.access", attributes={"audit.log": True}),
    Span("audit.log"),
    Span("auth.mfa_verified"),
    Span("agent.tool", attributes={"role": "legal_research_agent", "name": "hr_database"}),
    Span("agent.tool", attributes={"role": "legal_research_agent"}),
    Span("agent.goal", attributes={"role": "healthcare_info_agent", "deviation_score": 0.7}),
    Span("data.access"),
    Span("auth.check"),
    Span("database.access", attributes={"user.role": "contractor"}),
    Span("GET /health"),
    Span("agent", events=(Event("pii.access"), Event("audit.log"), Event("audit.log"))),
    Span("auth.check", events=(Event("data.access"), Event("auth.check"))),
)
LATE_START_NS = 10 * 3600 * 10**9


@dataclass(frozen=True, slots=True)
class Record:
    """A source record: the time it counts at, and a few spans of some traces."""

    record_ms: int
    spans: list[tuple[bytes, Span]]

    def projected(self, offset: int, projector: Projector) -> Projected:
        """What ingest makes of it."""
        traces = {trace: [span for of_trace, span in self.spans if of_trace == trace] for trace, _ in self.spans}
        decoded = {trace: TraceSpans(len(spans), root_seen=False, spans=spans) for trace, spans in traces.items()}
        return Projected(
            offset,
            [TraceFacts(trace, at.span_count, at.root_seen, projector.facts(at)) for trace, at in decoded.items()],
        )


@dataclass(slots=True)
class Reader:
    """An ingest's view of one source partition; `commits` is what a restart may begin from."""

    place: tuple[str, int, int]
    records: list[Record]
    source: SourcePartition = field(init=False)
    commits: list[tuple[int, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.begin(StartPosition(offset=0, epoch=1))

    def begin(self, start: StartPosition) -> None:
        """An ingest begins here."""
        topic, number, count = self.place
        time = PartitionTime[Projected](
            out_of_order_ms=OUT_OF_ORDER_MS, idle_lag_ms=0, max_clock_skew_ms=0, broker_skew_ms=FAR_MS
        )
        self.source = SourcePartition.starting_at(TopicPartition(topic, number), start, "id", count, time, now_ms=0)

    def restart(self, back: int) -> None:
        """The ingest dies; the next one begins at one of the last commits, or at the beginning."""
        if len(self.commits) <= back:
            self.begin(StartPosition(offset=0, epoch=1))
            return
        offset, metadata = self.commits[-1 - back]
        self.begin(StartPosition(offset=offset, epoch=1, committed=read_metadata(metadata)))

    def read(self, count: int, projector: Projector) -> None:
        """Takes in the next records."""
        for offset, record in list(enumerate(self.records))[self.source.next_offset :][:count]:
            self.source.add_record(record.record_ms, record.projected(offset, projector), local_ms=record.record_ms)


@dataclass(slots=True)
class Engine:
    """The stages between source records and signals, on `partitions` facts partitions."""

    rules: RuleSet
    partitions: list[Partition]
    offsets: list[int] = field(init=False)
    findings: list[Finding] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.offsets = [0] * len(self.partitions)

    def flush(self, readers: list[Reader], limit_bytes: int) -> None:
        """One flush of ingest, and what sessions makes of it."""
        drafts = [(reader.source.take_builder(), reader.source.time.watermark_ms) for reader in readers]
        count = len(self.partitions)
        sections = [draft.sections(count, watermark_ms) for draft, watermark_ms in drafts]
        for number in range(count):
            of_partition = [of_source[number] for of_source in sections]
            for value in flush.messages(self.rules.fingerprint, of_partition, limit_bytes):
                self.findings += self._apply(number, decode(value))
        for reader in readers:
            reader.commits.append((reader.source.builder.from_offset, reader.source.metadata()))

    def _apply(self, number: int, message: Facts) -> Iterator[Finding]:
        partition, offset = self.partitions[number], self.offsets[number]
        self.offsets[number] += 1
        for close in partition.apply(offset, message):
            judging = partition.rules.judging(self._rules_of, chain_first_ms=close.known_from_ms, reach_ms=REACH_MS)
            found = [outcome.finding for outcome in evaluate_close(close, self.rules, judging, reach_ms=REACH_MS)]
            yield from (finding for finding in found if finding is not None)

    def _rules_of(self, _: str) -> frozenset[str]:
        return frozenset(rule.fingerprint for rule in self.rules.rules)


def engine(rules: RuleSet, count: int) -> Engine:
    """An engine with nothing in it."""
    counted = {fingerprint: atom.counted for fingerprint, atom in rules.atoms.items() if atom.counted}
    known = frozenset(rule.fingerprint for rule in rules.rules)
    topics = tuple(dict.fromkeys(topic for topic, _, _ in SOURCES))
    made = [
        Partition(
            topics,
            Sessions(BOUNDS, counted),
            lambda _: known,
            out_of_order_ms=OUT_OF_ORDER_MS,
            position=Position.initial(0),
        )
        for _ in range(count)
    ]
    return Engine(rules, made)


@st.composite
def spans(draw: st.DrawFn) -> tuple[bytes, Span]:
    """A span of a trace; few ids, so that some are the same span sent again."""
    kind = draw(st.integers(0, len(PALETTE) - 1))
    number = draw(st.integers(0, 3))
    seed = PALETTE[kind]
    start_ns = draw(st.none() | st.sampled_from((1, 2, 3, LATE_START_NS)))
    span = Span(seed.name, bytes([0, 0, 0, 0, 0, 0, kind + 1, number]), start_ns=start_ns, attributes=seed.attributes)
    times_ns = st.none() | st.sampled_from((1, 2, 3))
    span.events = tuple(Event(event.name, time_ns=draw(times_ns)) for event in seed.events)
    return draw(st.sampled_from((*TRACES, TRACES[0], TRACES[0]))), span


@st.composite
def histories(draw: st.DrawFn) -> list[Record]:
    """The records of one source partition, with quiet times between them; times run back a little."""
    steps = draw(
        st.lists(
            st.tuples(
                st.sampled_from((0, 0, 0, 50, 120, 300, 400, 500, 600, 1200, 1300, 3000)),
                st.sampled_from((0, 0, 0, 90, OUT_OF_ORDER_MS)),
                st.lists(spans(), max_size=3),
            ),
            max_size=15,
        )
    )
    times_ms = itertools.accumulate((step_ms for step_ms, _, _ in steps), initial=1_000)
    return [Record(time_ms - back_ms, sent) for time_ms, (_, back_ms, sent) in zip(times_ms, steps, strict=False)]


numbers = st.integers(0, len(SOURCES) - 1)
deeds = st.lists(
    st.tuples(st.just("read"), numbers, st.integers(1, 3))
    | st.tuples(st.just("flush"), numbers, st.sampled_from((SMALL_BYTES, LARGE_BYTES)))
    | st.tuples(st.just("flush all"), numbers, st.sampled_from((SMALL_BYTES, LARGE_BYTES)))
    | st.tuples(st.just("restart"), numbers, st.integers(0, 3)),
    max_size=40,
)


def run(judging: Engine, readers: list[Reader], done: list[tuple[str, int, int]]) -> Said:
    """What the engine says when all is read, in the order of the deeds, and time has passed."""
    projector = Projector(judging.rules)
    for deed, number, amount in done:
        if deed == "read":
            readers[number].read(amount, projector)
        elif deed == "restart":
            readers[number].restart(amount)
        else:
            judging.flush([readers[number]] if deed == "flush" else readers, amount)
    for reader in readers:
        reader.read(len(reader.records), projector)
        reader.source.time.tick_idle(local_ms=FAR_MS)
    judging.flush(readers, LARGE_BYTES)
    return {(at.uid, at.revision, at.verdict, at.first_ms // TICK_MS, at.last_ms // TICK_MS) for at in judging.findings}


def arrivals(trace: bytes, history: list[list[Record]]) -> Iterator[tuple[int, Span]]:
    """All spans of a trace with the tick of their record."""
    for record in itertools.chain.from_iterable(history):
        yield from ((record.record_ms // TICK_MS, span) for of_trace, span in record.spans if of_trace == trace)


@settings(deadline=None)
@given(st.lists(histories(), min_size=len(SOURCES), max_size=len(SOURCES)), deeds, st.integers(1, 2))
def test_the_engine_says_what_the_reference_says(
    history: list[list[Record]], done: list[tuple[str, int, int]], count: int
) -> None:
    """Uid, revision, verdict and window of every signal depend on the records and the rules alone."""
    rules, _ = load([RULES / "seed.rules", RULES / "engine.rules"])
    judging = engine(rules, count)
    readers = [Reader(place, records) for place, records in zip(SOURCES, history, strict=True)]

    said = run(judging, readers, done)

    expected = {
        signal
        for trace in TRACES
        for signal in naive_engine.signals(trace, list(arrivals(trace, history)), rules, BOUNDS)
    }
    event(f"highest revision {max((revision for _, revision, *_ in expected), default=0)}")
    assert expected == said
    assert len(said) == len(judging.findings)
    assert sum(partition.late_count for partition in judging.partitions) == 0
