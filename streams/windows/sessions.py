"""Sessions of traces: sort, then fold.

In: entries and touches in any order, and the clock as values. Out: closed windows, in an order that depends on the
records alone. Nothing here reads a clock or does I/O.

Entries and touches wait in a buffer until the clock has passed their tick. Then they are applied tick by tick; what
falls due at a tick closes before anything that arrived in that tick is applied. So windows are built in record-time
order whatever the order of reading. Inside one tick the order does not matter: facts are a semilattice, a touch that
comes before the entry that opens its window would only have extended it to the same tick, and closes come first.

All times are ticks of 100 ms (`topics.records.facts.TICK_MS`) of Kafka record time:

    a window       opens at a hit; a record of its trace at most `gap` after the last one belongs to it
    closes         at last + gap + 1 tick (quiet), or at first + max_duration (cut), whichever comes first
    a chain        windows of one trace that start at most gap + lateness after its last arrival share their facts
    a chain ends   at first + max_duration + lateness at the latest; what follows is another chain, known to be headless
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import heappop, heappush

import msgspec

from streams.windows.chain import Bounds, Chain, Ended, Window
from streams.windows.chains import Chains
from streams.windows.close import Close, CloseReason
from streams.windows.facts import AtomFacts
from streams.windows.reorder import Arrival, Tick, Waiting
from streams.windows.required_offsets import Needs
from topics.records.facts import TICK_MS, touched


class LostTime(msgspec.Struct, array_like=True, frozen=True):
    """A span of record time in which input of one source partition was lost; `to_ms` is None while it is not over."""

    topic: str
    partition: int
    from_ms: int
    to_ms: int | None

    def overlaps(self, from_ms: int, to_ms: int) -> bool:
        """Something could have been lost in `[from_ms, to_ms)`."""
        return self.from_ms < to_ms and (self.to_ms is None or self.to_ms >= from_ms)


class Sessions:
    """The chains of one facts partition.

    `counted` says how many identities an atom's facts keep; `ended` are chains that a rebuild must know of, by trace.
    """

    def __init__(
        self,
        bounds: Bounds,
        counted: dict[bytes, int],
        chains: Chains | None = None,
        waiting: Waiting | None = None,
    ) -> None:
        self.bounds = bounds
        self.counted = counted
        self.chains = Chains() if chains is None else chains
        self.waiting = Waiting() if waiting is None else waiting
        self.ended: dict[bytes, Ended] = {}
        self.applied_tick: int | None = None
        self.lost: list[LostTime] = []
        self.open_windows = 0
        self._needs = Needs()
        self._window_firsts = Needs()
        self._chain_firsts = Needs()
        """The first ticks of the open windows, and of all chains."""
        self._due: dict[int, list[bytes]] = {}
        self._due_ticks: list[int] = []

    def restore(self, trace_id: bytes, chain: Chain) -> None:
        """Learns of a chain that the store has."""
        self.chains.restore(trace_id)
        if chain.window is not None:
            self.open_windows += 1
            self._window_firsts.add(chain.window.first)
        self._needs.add(chain.needs)
        self._chain_firsts.add(chain.first)
        self._note_due(trace_id, chain.due)

    @property
    def is_empty(self) -> bool:
        """Nothing waits and no window is open."""
        return not self.waiting and not self.open_windows

    def lowest_needed(self) -> int | None:
        """The lowest facts offset that something waiting or a chain came from; None when there is neither."""
        lowest = [offset for offset in (self.waiting.lowest_offset(), self._needs.lowest()) if offset is not None]
        return min(lowest, default=None)

    def settled_tick(self) -> int | None:
        """The tick before which no window that is still open began: those that did were closed and judged."""
        first, applied = self._window_firsts.lowest(), self.applied_tick
        return applied if first is None or applied is None else min(first, applied)

    def final_tick(self) -> int | None:
        """The tick before which no chain began that is still remembered: nothing amends what was said of those."""
        first, settled = self._chain_firsts.lowest(), self.settled_tick()
        return settled if first is None or settled is None else min(first, settled)

    def advance(self, clock_ms: int, facts_offset: int = 0) -> Iterator[Close]:
        """Applies every tick that the clock has passed and yields the windows that close on the way.

        `facts_offset` is that of the message that moved the clock. A yielded chain must be judged before the next one
        is asked for: afterwards it may grow again.
        """
        until = clock_ms // TICK_MS
        for tick, arrived in self.waiting.take(until):
            yield from self._close_until(tick, facts_offset)
            self._apply(tick, arrived)
        yield from self._close_until(until, facts_offset)
        self.applied_tick = until if self.applied_tick is None else max(self.applied_tick, until)

    def end(self, before: int | None = None) -> Iterator[Close]:
        """Applies what waits and closes every window: there is no more input; of what is later than `before` nothing.

        `before` is the tick from which all is read once more; windows that it cuts are not whole.
        """
        for tick, arrived in self.waiting.take(before):
            yield from self._close_until(tick, 0)
            self._apply(tick, arrived)
        for trace_id in sorted(self.chains):
            chain = self.chains.get(trace_id)
            if chain is not None and chain.window is not None and (before is None or chain.first < before):
                chain.is_cut |= before is not None
                yield self._close(trace_id, chain, chain.window, CloseReason.END_OF_INPUT, chain.window.last)

    def forget_all(self) -> None:
        """Everything begins anew; no chain, and nothing that waits, is kept."""
        for trace_id in list(self.chains):
            self.chains.remove(trace_id)
        self.ended.clear()
        self.applied_tick, self.open_windows = None, 0
        self._needs, self._window_firsts, self._chain_firsts = Needs(), Needs(), Needs()
        self.waiting.clear()
        self._due.clear()
        self._due_ticks.clear()

    def _apply(self, tick: int, arrived: Tick) -> None:
        for arrival in arrived.arrivals:
            self._apply_entry(tick, arrival, arrived.facts_offset)
        chains = self.chains
        for trace_id, span_count in touched(arrived.touches):
            if trace_id in chains:
                self._apply_touch(tick, trace_id, span_count, arrived.facts_offset)

    def _apply_entry(self, tick: int, arrival: Arrival, facts_offset: int) -> None:
        entry = arrival.entry
        chain = self.chains.get(entry.trace_id)
        if chain is None:
            ended = self.ended.get(entry.trace_id)
            if ended is not None and tick < ended.until:
                return
            chain = Chain(tick, tick, facts_offset, tick, headless=ended is not None and tick < ended.headless_until)
            self._needs.add(facts_offset)
            self._chain_firsts.add(tick)
        if chain.window is None:
            chain.window = Window(tick, tick)
            self.open_windows += 1
            self._window_firsts.add(tick)
            self._schedule(entry.trace_id, chain)
        self._extend(entry.trace_id, chain, chain.window, tick, entry.span_count, facts_offset)
        chain.window.root_seen |= entry.root_seen
        chain.add_source(arrival.topic, arrival.partition, entry.first_offset, entry.offset)
        facts, counted = chain.facts, self.counted
        for fact in entry.facts:
            atom = fact.atom
            remembered = facts.get(atom)
            if remembered is None:
                remembered = facts[atom] = AtomFacts()
            remembered.add(fact, counted.get(atom, 0))

    def _apply_touch(self, tick: int, trace_id: bytes, span_count: int, facts_offset: int) -> None:
        chain = self.chains.get(trace_id)
        if chain is not None and chain.window is not None:
            self._extend(trace_id, chain, chain.window, tick, span_count, facts_offset)

    def _extend(
        self, trace_id: bytes, chain: Chain, window: Window, tick: int, span_count: int, facts_offset: int
    ) -> None:
        chain.last = window.last = tick
        window.span_count += span_count
        if facts_offset < chain.needs:
            self._needs.remove(chain.needs)
            self._needs.add(facts_offset)
            chain.needs = facts_offset
        self.chains.put(trace_id, chain)

    def _close_until(self, tick: int, facts_offset: int) -> Iterator[Close]:
        while self._due_ticks and self._due_ticks[0] <= tick:
            due = heappop(self._due_ticks)
            for trace_id in sorted(self._due.pop(due)):
                chain = self.chains.get(trace_id)
                # A chain whose window opened again was to be looked at later, and is still noted there.
                if chain is None or chain.due != due:
                    continue
                # Arrivals only move what is due forward, so it is looked at when it was due before they came.
                if chain.next_due(self.bounds) == due:
                    yield from self._fall_due(trace_id, chain, due, facts_offset)
                if trace_id in self.chains:
                    self._schedule(trace_id, chain)

    def _schedule(self, trace_id: bytes, chain: Chain) -> None:
        """Has the chain looked at when it is due."""
        chain.due = chain.next_due(self.bounds)
        self.chains.put(trace_id, chain)
        self._note_due(trace_id, chain.due)

    def _note_due(self, trace_id: bytes, due: int) -> None:
        noted = self._due.get(due)
        if noted is None:
            noted = self._due[due] = []
            heappush(self._due_ticks, due)
        noted.append(trace_id)

    def _fall_due(self, trace_id: bytes, chain: Chain, due: int, facts_offset: int) -> Iterator[Close]:
        window = chain.window
        if window is not None:
            is_quiet = due == window.last + self.bounds.gap + 1
            chain.was_cut |= not is_quiet
            reason = CloseReason.QUIET if is_quiet else CloseReason.MAX_DURATION
            yield self._close(trace_id, chain, window, reason, due - is_quiet)
            return
        forgotten = chain.forgotten(self.bounds)
        if chain.was_cut or due < forgotten:
            ended = Ended(trace_id, due, forgotten, chain.needs, facts_offset)
            self.ended[trace_id] = ended.after(self.ended.get(trace_id))
        self._needs.remove(chain.needs)
        self._chain_firsts.remove(chain.first)
        self.chains.remove(trace_id)

    def _close(self, trace_id: bytes, chain: Chain, window: Window, reason: CloseReason, closed: int) -> Close:
        chain.window = None
        self.open_windows -= 1
        self._window_firsts.remove(window.first)
        self.chains.put(trace_id, chain)
        if self.lost:
            chain.is_cut |= self._has_lost_input(chain.first, chain.last)
        whole = reason is not CloseReason.MAX_DURATION and not chain.headless and not chain.is_cut
        return Close(trace_id, chain, window, reason, closed * TICK_MS, whole)

    def _has_lost_input(self, first: int, last: int) -> bool:
        """What was lost up to gap + lateness before the chain could have been its beginning."""
        from_ms = (first - self.bounds.gap - self.bounds.lateness) * TICK_MS
        to_ms = (last + self.bounds.gap + 1) * TICK_MS
        return any(lost.overlaps(from_ms, to_ms) for lost in self.lost)


def counted_atoms(atoms: Iterable[tuple[bytes, int]]) -> dict[bytes, int]:
    """Atom fingerprint to the identities kept of it, without the atoms that nobody counts."""
    return {fingerprint: counted for fingerprint, counted in atoms if counted}
