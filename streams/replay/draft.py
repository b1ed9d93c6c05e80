"""What was read of one input since the last flush, as sections of facts.

In: what records say of their traces, each with the tick at which it counts. Out: a touch or an entry per trace and
tick, for the process whose trace it is. It is what `streams.ingest.flush` makes, with less work: here nobody needs a
message per flush, nor a bound on its size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from zlib import crc32

from streams.project import Projector
from streams.traces import TraceSpans
from topics.facts import Entry, Fact, pack_touch


@dataclass(slots=True)
class Hits:
    """The facts of one trace in one tick, and the first and last offset that brought some."""

    first_offset: int
    offset: int
    facts: list[Fact]


class TickDraft:
    """One tick: the spans of each trace, which of the traces had their root, and the facts of those with a hit."""

    __slots__ = ("hits", "rooted", "spans")

    def __init__(self) -> None:
        self.spans: dict[bytes, int] = {}
        self.rooted: set[bytes] = set()
        self.hits: dict[bytes, Hits] = {}

    def add(self, offset: int, traces: Mapping[bytes, TraceSpans], projector: Projector) -> None:
        """Adds what the record at `offset` says."""
        spans = self.spans
        for trace_id, trace in traces.items():
            spans[trace_id] = spans.get(trace_id, 0) + trace.span_count
            if trace.root_seen:
                self.rooted.add(trace_id)
            if trace.spans and (facts := projector.facts(trace)):
                self._hit(trace_id, offset, facts)

    def entry(self, trace_id: bytes, tick: int, hits: Hits) -> Entry:
        """What is said of a trace with a hit."""
        is_rooted = trace_id in self.rooted
        return Entry(trace_id, hits.first_offset, hits.offset, tick, self.spans[trace_id], is_rooted, hits.facts)

    def _hit(self, trace_id: bytes, offset: int, facts: list[Fact]) -> None:
        before = self.hits.get(trace_id)
        if before is None:
            self.hits[trace_id] = Hits(offset, offset, facts)
        else:
            before.offset = offset
            before.facts += facts


@dataclass(slots=True)
class Share:
    """What is said to one process: packed touches, and entries."""

    touches: bytearray = field(default_factory=bytearray)
    entries: list[Entry] = field(default_factory=list)


def shares(ticks: Mapping[int, TickDraft], count: int) -> list[Share]:
    """What is said to each of `count` processes; all of a trace is said to the same one.

    >>> at = TickDraft()
    >>> at.spans[b"a trace's id: 16"] = 2
    >>> [len(share.touches) for share in shares({7: at}, 2)]
    [28, 0]
    """
    found = [Share() for _ in range(count)]
    for tick, at in ticks.items():
        hits = at.hits
        for trace_id, span_count in at.spans.items():
            share = found[crc32(trace_id) % count]
            of_trace = hits.get(trace_id)
            if of_trace is None:
                share.touches += pack_touch(trace_id, tick, span_count)
            else:
                share.entries.append(at.entry(trace_id, tick, of_trace))
    return found
