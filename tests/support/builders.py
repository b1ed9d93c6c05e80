"""Facts, sections and closes to test windows with: everything that does not matter in a test has a default."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import msgspec

from streams.windows.chain import Bounds
from streams.windows.close import Close, CloseReason
from streams.windows.facts import AtomFacts
from streams.windows.reorder import Arrival
from streams.windows.sessions import Sessions
from topics.records.facts import NO_SPAN, TICK_MS, VERSION, Entry, Fact, Facts, Section, Touch, Witness, pack_touches

TOPIC = "otlp_spans"
ATOM = b"atom"
BOUNDS = Bounds(gap=10, lateness=50, max_duration=100)


def trace_id(name: str) -> bytes:
    """A trace id that is told by its last characters."""
    return name.encode().rjust(16, b"-")


TRACE = trace_id("a")


def fact(span: int = 1, start_ns: int | None = 1, *, atom: bytes = ATOM, name: str = "login") -> Fact:
    """A hit of a span."""
    return Fact(atom, span.to_bytes(8, "big"), start_ns, Witness(name, "shop", 5, {}))


def entry(tick: int, *facts: Fact, trace: bytes = TRACE, offset: int = 0, root_seen: bool = False) -> Entry:
    """An entry of one record; one fact when none is given."""
    return Entry(trace, offset, offset, tick, 1, root_seen, list(facts) or [fact()])


def section(
    from_offset: int = 0,
    to_offset: int = 0,
    watermark_ms: int | None = None,
    entries: Iterable[Entry] = (),
    touches: Iterable[Touch] = (),
    *,
    topic: str = TOPIC,
    partition: int = 0,
    epoch: int = 1,
    replay: int = 0,
    start_ms: int | None = None,
    partition_count: int = 1,
    lost: Iterable[tuple[int, int]] = (),
) -> Section:
    """What a flush says of one source partition; nothing by default."""
    return Section(
        topic=topic,
        partition=partition,
        epoch=epoch,
        replay=replay,
        start_ms=start_ms,
        partition_count=partition_count,
        from_offset=from_offset,
        to_offset=to_offset,
        watermark_ms=watermark_ms,
        lost=list(lost),
        touches=pack_touches(touches),
        entries=list(entries),
    )


def message(*sections: Section, rules: str = "rules") -> Facts:
    """A facts message."""
    return Facts(version=VERSION, rules=rules, sections=list(sections))


@dataclass(frozen=True, slots=True)
class Closed:
    """What a close was when it was yielded; `facts` are bytes, since a chain's may grow later."""

    trace: bytes
    chain_first: int
    first: int
    last: int
    reason: CloseReason
    whole: bool
    closed_ms: int
    facts: bytes


def remembered(facts: dict[bytes, AtomFacts]) -> bytes:
    """A chain's facts as bytes, the same for the same facts."""
    return msgspec.msgpack.encode(sorted(facts.items()))


def closed(close: Close) -> Closed:
    """The close as it is now."""
    return Closed(
        close.trace_id,
        close.chain.first,
        close.window.first,
        close.window.last,
        close.reason,
        close.whole,
        close.closed_ms,
        remembered(close.chain.facts),
    )


@dataclass(slots=True)
class Story:
    """What happens to the traces of one facts partition, told in ticks."""

    bounds: Bounds = BOUNDS
    counted: dict[bytes, int] = field(default_factory=dict)
    sessions: Sessions = field(init=False)

    def __post_init__(self) -> None:
        """Begins with nothing."""
        self.sessions = Sessions(self.bounds, self.counted)

    def hit(self, *ticks: int, trace: bytes = TRACE) -> Story:
        """A record of the trace with a hit arrives at each tick."""
        for tick in ticks:
            self.sessions.buffer.add(tick, Arrival(TOPIC, 0, entry(tick, trace=trace)), 0)
        return self

    def touch(self, *ticks: int, trace: bytes = TRACE) -> Story:
        """A record of the trace without a hit arrives at each tick."""
        for tick in ticks:
            self.sessions.buffer.add_touches(tick, pack_touches([Touch(trace, tick, 1)]), 0)
        return self

    def mark(self, *ticks: int, trace: bytes = TRACE) -> Story:
        """A record of the trace counts at each tick whose time is not believed."""
        for tick in ticks:
            self.sessions.buffer.add_touches(tick, pack_touches([Touch(trace, tick, NO_SPAN)]), 0)
        return self

    def until(self, tick: int) -> list[Closed]:
        """The clock reaches the tick; what closes by that."""
        return [closed(close) for close in self.sessions.advance(tick * TICK_MS)]

    def windows(self, tick: int) -> list[tuple[int, int, CloseReason, bool]]:
        """The clock reaches the tick; first and last tick, reason and `whole` of the windows that close by that."""
        return [(close.first, close.last, close.reason, close.whole) for close in self.until(tick)]

    def end(self) -> Iterator[Closed]:
        """The input ends; what closes by that."""
        return map(closed, self.sessions.end())


def shown_of(fact: Fact) -> Witness:
    """The witness of a fact that has one."""
    assert fact.witness is not None
    return fact.witness
