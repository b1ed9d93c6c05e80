"""Each record that could not be read is in the coverage once, however ingest and sessions were stopped on the way."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
from confluent_kafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from streams.ingest.flush import messages
from streams.ingest.source import Projected, SourcePartition, StartPosition, read_metadata
from streams.ingest.watermark import PartitionTime
from streams.projection.budget import TraceFacts
from streams.sessions.coverage import CoverageTally, Covered, Judging
from tests.support.builders import fact, trace_id
from topics.records.facts import decode
from topics.records.verdicts import Counted, Coverage

LIMIT_BYTES = 500
"""So small that most flushes come in parts."""

FAR_MS = 1 << 40


@dataclass(slots=True)
class Site:
    """A source partition whose records are dead letters or not, an ingest, and a facts log with the sessions on it."""

    dead: list[bool]
    commits: list[tuple[int, str]] = field(default_factory=list)
    log: list[bytes] = field(default_factory=list)
    records: list[Coverage] = field(default_factory=list)
    covered: Covered | None = None
    source: SourcePartition = field(init=False)

    def __post_init__(self) -> None:
        self.begin(StartPosition(offset=0, epoch=1))

    def begin(self, start: StartPosition) -> None:
        """An ingest begins."""
        time = PartitionTime[Projected](
            out_of_order_ms=2_000, idle_lag_ms=0, max_clock_skew_ms=0, broker_skew_ms=FAR_MS
        )
        self.source = SourcePartition.starting_at(TopicPartition("spans", 0), start, "id", 1, time, now_ms=0)

    def read(self, count: int) -> None:
        """Ingest reads on."""
        for offset in range(self.source.next_offset, min(self.source.next_offset + count, len(self.dead))):
            traces = [] if self.dead[offset] else [TraceFacts(trace_id(str(offset)), 1, False, [fact()])]  # noqa: FBT003
            self.source.add_record(offset, Projected(offset, traces, is_dead_letter=self.dead[offset]), local_ms=offset)

    def flush(self, kept: int | None = None) -> None:
        """Ingest flushes; of the parts only `kept` arrive when it is killed, and nothing is committed."""
        draft = self.source.take_builder()
        parts = messages("rules", draft.sections(1, self.source.time.watermark_ms), LIMIT_BYTES)
        self.log += parts[:kept]
        if kept is None:
            self.commits.append((self.source.builder.from_offset, self.source.metadata()))

    def restart(self, back: int) -> None:
        """The next ingest begins at one of the last commits, or at the beginning."""
        if back < len(self.commits):
            offset, metadata = self.commits[-1 - back]
            self.begin(StartPosition(offset=offset, epoch=1, committed=read_metadata(metadata)))
        else:
            self.begin(StartPosition(offset=0, epoch=1))

    def cover(self) -> None:
        """A worker that knows only where the last coverage record ends reads the log again, and makes the next one."""
        tally = CoverageTally(0, 0, self.covered)
        for offset, value in enumerate(self.log):
            tally.apply(offset, decode(value), windows_judged=0)
        clock_ms = len(self.records)
        self.records.append(
            tally.take(
                Judging(
                    generation=0, clock_ms=clock_ms, settled_ms=clock_ms, final_ms=clock_ms, rules=(), counted=Counted()
                ),
                len(self.log),
            )
        )
        self.covered = msgspec.msgpack.decode(msgspec.msgpack.encode(tally.current), type=Covered)


steps = st.one_of(
    st.tuples(st.just("read"), st.integers(1, 12)),
    st.tuples(st.just("flush"), st.none()),
    st.tuples(st.just("killed"), st.integers(0, 4)),
    st.tuples(st.just("restart"), st.integers(0, 3)),
    st.tuples(st.just("cover"), st.none()),
)


@given(st.lists(st.booleans(), max_size=40), st.lists(steps, max_size=25))
def test_each_dead_letter_is_covered_once(dead: list[bool], taken: list[tuple[str, int | None]]) -> None:
    """Whatever was killed when, the coverage records together count just the dead letters there are."""
    site = Site(dead)

    for step, number in taken:
        match step, number:
            case "read", int():
                site.read(number)
            case "killed", int():
                site.flush(kept=number)
                site.restart(0)
            case "restart", int():
                site.restart(number)
            case "flush", _:
                site.flush()
            case _:
                site.cover()
    site.read(len(dead))
    site.flush()
    site.cover()

    counts = [source.dead_letters for record in site.records for source in record.sources]
    assert sum(dead) == sum(count for count in counts if count is not None)
    assert None not in counts
