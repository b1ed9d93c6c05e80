"""Sessions of traces: sort, then fold.

In: entries and touches in any order, and the clock as values. Out: closed windows, in an order that depends on the
records alone. Nothing here reads a clock or does I/O.

Entries and touches wait in a buffer until the clock has passed their tick. Then they are applied tick by tick; what
falls due at a tick closes before anything that arrived in that tick is applied. So windows are built in record-time
order whatever the order of reading. Inside one tick the order does not matter: facts are a semilattice, a touch that
comes before the entry that opens its window would only have extended it to the same tick, and closes come first.

All times are ticks of 100 ms (`topics.facts.TICK_MS`) of Kafka record time:

    a window       opens at a hit; a record of its trace at most `gap` after the last one belongs to it
    closes         at last + gap + 1 tick (quiet), or at first + max_duration (cut), whichever comes first
    a chain        windows of one trace that start at most gap + lateness after its last arrival share their facts
    a chain ends   at first + max_duration + lateness at the latest; what follows is another chain, known to be headless
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

import msgspec

from streams.window.close import Close, CloseReason
from streams.window.facts import AtomFacts
from topics.facts import TICK_MS, Entry, Touch


@dataclass(frozen=True, slots=True)
class Bounds:
    """How sessions are cut, in ticks; see the module docstring."""

    gap: int
    lateness: int
    max_duration: int

    @classmethod
    def of_ms(cls, *, gap_ms: int, lateness_ms: int, max_duration_ms: int) -> Bounds:
        """Bounds from milliseconds, rounded down to ticks."""
        return cls(gap_ms // TICK_MS, lateness_ms // TICK_MS, max_duration_ms // TICK_MS)


class Window(msgspec.Struct, array_like=True):
    """One session: first and last arrival in ticks; span count and root are informative."""

    first: int
    last: int
    span_count: int = 0
    root_seen: bool = False


class SourceRange(msgspec.Struct, array_like=True):
    """Which records of one source partition a chain's facts came from; both offsets included."""

    topic: str
    partition: int
    first_offset: int
    last_offset: int


class LostTime(msgspec.Struct, array_like=True, frozen=True):
    """A span of record time in which input of one source partition was lost; `to_ms` is None while it is not over."""

    topic: str
    partition: int
    from_ms: int
    to_ms: int | None

    def overlaps(self, from_ms: int, to_ms: int) -> bool:
        """Something could have been lost in `[from_ms, to_ms)`."""
        return self.from_ms < to_ms and (self.to_ms is None or self.to_ms >= from_ms)


class Judged(msgspec.Struct, array_like=True, frozen=True):
    """A rule's last verdict on a chain; `revision` is that of its last signal, None before the first one.

    `excepted`: it is not applicable, but only because of an exception.
    """

    verdict: str
    revision: int | None
    created_ms: int | None
    excepted: bool = False


class Chain(msgspec.Struct, array_like=True):
    """All that is remembered of one trace: its facts, its open window if there is one, what was last said about it.

    `headless`: the trace was already longer than a chain may be when this chain began. `is_cut`: input was lost in its
    time. `has_ended`: kept only to know that a chain of the same trace that begins now is headless. `judged` is by rule
    id and fingerprint.
    """

    first: int
    last: int
    headless: bool = False
    is_cut: bool = False
    has_ended: bool = False
    window: Window | None = None
    facts: dict[bytes, AtomFacts] = msgspec.field(default_factory=dict)
    judged: dict[str, Judged] = msgspec.field(default_factory=dict)
    sources: list[SourceRange] = msgspec.field(default_factory=list)

    def add_source(self, topic: str, partition: int, first_offset: int, last_offset: int) -> None:
        """Widens the range of this source partition."""
        for source in self.sources:
            if source.topic == topic and source.partition == partition:
                source.first_offset = min(source.first_offset, first_offset)
                source.last_offset = max(source.last_offset, last_offset)
                return
        self.sources.append(SourceRange(topic, partition, first_offset, last_offset))
        self.sources.sort(key=lambda source: (source.topic, source.partition))


@dataclass(frozen=True, slots=True)
class Arrival:
    """An entry and the source partition it came from."""

    topic: str
    partition: int
    entry: Entry


@dataclass(slots=True)
class Waiting:
    """What arrived in one tick and was not applied yet."""

    arrivals: list[Arrival] = field(default_factory=list)
    touches: list[Touch] = field(default_factory=list)
    facts_offset: int = 0


class Sessions:
    """The chains of one facts partition.

    `counted` says how many identities an atom's facts keep. `changed` collects the trace ids whose chain was changed or
    removed since it was last cleared, for the store.
    """

    def __init__(self, bounds: Bounds, counted: dict[bytes, int], chains: dict[bytes, Chain] | None = None) -> None:
        self.bounds = bounds
        self.counted = counted
        self.chains: dict[bytes, Chain] = {} if chains is None else chains
        self.changed: set[bytes] = set()
        self.applied_tick: int | None = None
        self.lost: list[LostTime] = []
        self._waiting: dict[int, Waiting] = {}
        self._due_of = {trace_id: self._due_tick(chain) for trace_id, chain in self.chains.items()}
        self._due = [(due, trace_id) for trace_id, due in self._due_of.items()]
        heapify(self._due)

    @property
    def open_windows(self) -> int:
        """How many traces have an open window."""
        return sum(chain.window is not None for chain in self.chains.values())

    @property
    def is_empty(self) -> bool:
        """Nothing waits and no window is open."""
        return not self._waiting and not any(chain.window for chain in self.chains.values())

    def lowest_facts_offset(self) -> int | None:
        """The lowest facts offset of which something still waits; None when nothing does."""
        return min((waiting.facts_offset for waiting in self._waiting.values()), default=None)

    def wait(self, tick: int, facts_offset: int) -> Waiting:
        """Where to put what arrived in `tick`; `facts_offset` is the facts message it came in."""
        waiting = self._waiting.get(tick)
        if waiting is None:
            waiting = self._waiting[tick] = Waiting(facts_offset=facts_offset)
        return waiting

    def advance(self, clock_ms: int) -> Iterator[Close]:
        """Applies every tick that the clock has passed and yields the windows that close on the way.

        A yielded chain must be judged before the next one is asked for: afterwards it may grow again.
        """
        until = clock_ms // TICK_MS
        for tick in sorted(tick for tick in self._waiting if tick < until):
            yield from self._close_until(tick)
            self._apply(tick, self._waiting.pop(tick))
        yield from self._close_until(until)
        self.applied_tick = until if self.applied_tick is None else max(self.applied_tick, until)

    def end(self) -> Iterator[Close]:
        """Applies all that waits and closes every window: there is no more input."""
        for tick in sorted(self._waiting):
            yield from self._close_until(tick)
            self._apply(tick, self._waiting.pop(tick))
        for trace_id, chain in sorted(self.chains.items()):
            if chain.window is not None:
                yield self._close(trace_id, chain, chain.window, CloseReason.END_OF_INPUT, chain.window.last)

    def _apply(self, tick: int, waiting: Waiting) -> None:
        for arrival in waiting.arrivals:
            self._apply_entry(tick, arrival)
        for touch in waiting.touches:
            self._apply_touch(tick, touch)

    def _apply_entry(self, tick: int, arrival: Arrival) -> None:
        entry = arrival.entry
        chain = self.chains.get(entry.trace_id)
        if chain is None or chain.has_ended:
            chain = Chain(tick, tick, headless=chain is not None)
            self.chains[entry.trace_id] = chain
        if chain.window is None:
            chain.window = Window(tick, tick)
            self._schedule(entry.trace_id, chain)
        self._extend(entry.trace_id, chain, chain.window, tick, entry.span_count)
        chain.window.root_seen |= entry.root_seen
        chain.add_source(arrival.topic, arrival.partition, entry.first_offset, entry.offset)
        for fact in entry.facts:
            remembered = chain.facts.get(fact.atom)
            if remembered is None:
                remembered = chain.facts[fact.atom] = AtomFacts()
            remembered.add(fact, self.counted.get(fact.atom, 0))

    def _apply_touch(self, tick: int, touch: Touch) -> None:
        chain = self.chains.get(touch.trace_id)
        if chain is not None and chain.window is not None:
            self._extend(touch.trace_id, chain, chain.window, tick, touch.span_count)

    def _extend(self, trace_id: bytes, chain: Chain, window: Window, tick: int, span_count: int) -> None:
        chain.last = window.last = tick
        window.span_count += span_count
        self.changed.add(trace_id)

    def _due_tick(self, chain: Chain) -> int:
        bounds = self.bounds
        end = chain.first + bounds.max_duration + bounds.lateness
        if chain.window is not None:
            return min(chain.window.last + bounds.gap + 1, chain.window.first + bounds.max_duration, end)
        forget = chain.last + bounds.gap + bounds.lateness + 1
        return forget if chain.has_ended else min(forget, end)

    def _close_until(self, tick: int) -> Iterator[Close]:
        while self._due and self._due[0][0] <= tick:
            due, trace_id = heappop(self._due)
            if self._due_of.get(trace_id) != due:
                continue
            del self._due_of[trace_id]
            chain = self.chains[trace_id]
            # Arrivals only move a chain's due tick forward, so it is looked at when it was due before they came.
            if self._due_tick(chain) == due:
                yield from self._fall_due(trace_id, chain, due)
            if trace_id in self.chains:
                self._schedule(trace_id, chain)

    def _schedule(self, trace_id: bytes, chain: Chain) -> None:
        """Has the chain looked at when it is due; of its entries in the heap only the last one counts."""
        due = self._due_of[trace_id] = self._due_tick(chain)
        heappush(self._due, (due, trace_id))

    def _fall_due(self, trace_id: bytes, chain: Chain, due: int) -> Iterator[Close]:
        window = chain.window
        self.changed.add(trace_id)
        if window is not None:
            is_quiet = due == window.last + self.bounds.gap + 1
            reason = CloseReason.QUIET if is_quiet else CloseReason.MAX_DURATION
            yield self._close(trace_id, chain, window, reason, due - is_quiet)
        elif due == chain.last + self.bounds.gap + self.bounds.lateness + 1:
            del self.chains[trace_id]
        else:
            chain.has_ended = True
            chain.facts.clear()
            chain.judged.clear()
            chain.sources.clear()

    def _close(self, trace_id: bytes, chain: Chain, window: Window, reason: CloseReason, closed: int) -> Close:
        chain.window = None
        chain.is_cut |= self._has_lost_input(chain.first, chain.last)
        whole = reason is not CloseReason.MAX_DURATION and not chain.headless and not chain.is_cut
        return Close(trace_id, chain, window, reason, closed * TICK_MS, whole)

    def _has_lost_input(self, first: int, last: int) -> bool:
        from_ms = (first - self.bounds.gap) * TICK_MS
        to_ms = (last + self.bounds.gap + 1) * TICK_MS
        return any(lost.overlaps(from_ms, to_ms) for lost in self.lost)


def counted_atoms(atoms: Iterable[tuple[bytes, int]]) -> dict[bytes, int]:
    """Atom fingerprint to the identities kept of it, without the atoms that nobody counts."""
    return {fingerprint: counted for fingerprint, counted in atoms if counted}
