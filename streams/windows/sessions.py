"""Session windows of traces: sort, then fold.

In: entries and touches in any order, and the clock as values. Out: closed windows, in an order that depends on the
records alone. Nothing here reads a clock or does I/O.

Entries and touches stay in the reorder buffer until the clock has passed their tick. Then they are applied tick by
tick; windows that are due at a tick close before anything that arrived in that tick is applied. So windows are built in
order of record time, whatever the order of reading. Within one tick the order does not matter: facts are a semilattice,
closes come first, and a touch that precedes the entry that opens its window would have extended the window only to the
same tick.

All times are ticks of 100 ms (`topics.records.facts.TICK_MS`) of Kafka record time:

    a window       opens at a hit and, once its trace has a chain, at any record of the trace; a record of the trace at
                   most `gap` after the last one belongs to it
    it closes      at last + gap + 1 tick (quiet) or at first + max_duration (incomplete), whichever comes first
    a chain        windows of one trace that start at most gap + lateness after its last arrival share their facts, so
                   from a rule's first hit on they depend on the trace alone and not on what other rules hit
    a chain ends   at first + max_duration + lateness at the latest; what follows is another chain, marked headless

A window opens at a hit, so it cannot know whether its trace existed before its hits could be seen. At such times (set
by `track_presence`, and during a loss of input until gap + lateness after it) `streams.windows.presence` knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from streams.windows.chain import Bounds, Chain, EndedChain, Window
from streams.windows.chains import chains
from streams.windows.close import INCOMPLETE, Close, CloseReason
from streams.windows.facts import AtomFacts
from streams.windows.presence import LongPresence, Presences
from streams.windows.reorder import Arrival, ReorderBuffer, TickBatch
from streams.windows.required_offsets import RefCounts
from streams.windows.window_store import WindowStore
from topics.records.facts import NO_SPAN, TICK_MS, unpack_span_counts

FILTER_SHARE = 16
"""The filters for the ids of cold chains and of cold presences each take this fraction of the memory for windows."""


class LostTime(msgspec.Struct, array_like=True, frozen=True):
    """A span of record time in which input of a source partition was lost; `to_ms` is None while it lasts."""

    topic: str
    partition: int
    from_ms: int
    to_ms: int | None

    def overlaps(self, from_ms: int, to_ms: int) -> bool:
        """Return whether input in `[from_ms, to_ms)` could have been lost."""
        return self.from_ms < to_ms and (self.to_ms is None or self.to_ms >= from_ms)

    def is_near(self, tick: int, reach: int) -> bool:
        """Return whether a trace that arrives in this tick could have lost a record at most `reach` ticks earlier."""
        return self.overlaps((tick - reach) * TICK_MS, (tick + 1) * TICK_MS)


class Sessions:
    """The chains of one facts partition.

    `counted` is how many identities the facts of an atom keep; `ended` has, by trace, the ended chains that a worker
    that rebuilds must know of. Without a store everything stays in memory.
    """

    def __init__(
        self,
        bounds: Bounds,
        counted: dict[bytes, int],
        store: WindowStore | None = None,
        *,
        memory_bytes: int = 0,
    ) -> None:
        """Start with no chains; those of `store` may be restored. `memory_bytes` is the memory it may use."""
        filter_bytes = memory_bytes // FILTER_SHARE
        self.bounds = bounds
        self.counted = counted
        self.chains = chains(store.chain_table if store else None, filter_bytes)
        self.buffer = ReorderBuffer(store.spill_store if store else None)
        self.ended: dict[bytes, EndedChain] = {}
        self.presences = Presences(bounds, store.presence_table if store else None, filter_bytes)
        self.applied_tick: int | None = None
        self.lost: list[LostTime] = []
        self.open_windows = 0
        self._required_offsets = RefCounts()
        self._window_firsts = RefCounts()
        self._chain_firsts = RefCounts()
        """The first ticks of the open windows, and of all chains."""
        self._tracked_until: int | None = None

    def restore(self, store: WindowStore) -> None:
        """Add all chains and presences of the store."""
        for trace_id, chain, size_bytes in store.chain_table.stored():
            self.chains.restore(trace_id, chain, size_bytes)
            if chain.window is not None:
                self.open_windows += 1
                self._window_firsts.add(chain.window.first)
            self._required_offsets.add(chain.required_offset)
            self._chain_firsts.add(chain.first)
        for trace_id, presence, size_bytes in store.presence_table.stored():
            self.presences.restore(trace_id, presence, size_bytes)

    def restore_position(self, ended: Iterable[EndedChain], long: Iterable[LongPresence], *, has_store: bool) -> None:
        """Take over the ended chains and long presences of a position; a store has the ongoing presences."""
        self.ended = {each.trace_id: each for each in ended}
        if has_store:
            self.presences.ended = [each for each in long if each.last_offset is not None]
        else:
            self.presences.restore_long(long)

    def track_presence(self, until_ms: int | None) -> None:
        """Remember every arrival up to and including this record time as a presence; None ends the tracking."""
        self._tracked_until = None if until_ms is None else until_ms // TICK_MS

    def cool(self, memory_bytes: int) -> None:
        """Move values to disk that do not fit in this much memory, less room for the buffer and the filters."""
        self.presences.tiers.cool(memory_bytes // 8)
        self.chains.cool(memory_bytes * 5 // 8 - self.presences.tiers.held_bytes)

    @property
    def stored_bytes(self) -> int:
        """The size of chains and presences in the store, as of the last step."""
        return self.chains.stored_bytes + self.presences.tiers.stored_bytes

    @property
    def is_empty(self) -> bool:
        """Whether nothing is buffered and no window is open."""
        return not self.buffer and not self.open_windows

    def lowest_required_offset(self) -> int | None:
        """Return the lowest facts offset that the buffer, a chain or a presence requires; None if there is none."""
        offsets = (
            self.buffer.lowest_offset(),
            self._required_offsets.lowest(),
            self.presences.lowest_required_offset(),
        )
        return min((offset for offset in offsets if offset is not None), default=None)

    def settled_tick(self) -> int | None:
        """Return the tick before which every window that began has closed and been judged."""
        first, applied = self._window_firsts.lowest(), self.applied_tick
        return applied if first is None or applied is None else min(first, applied)

    def final_tick(self) -> int | None:
        """Return the tick before which every chain that began has been removed: no verdict before it can be amended."""
        first, settled = self._chain_firsts.lowest(), self.settled_tick()
        return settled if first is None or settled is None else min(first, settled)

    def advance(self, clock_ms: int, facts_offset: int = 0) -> Iterator[Close]:
        """Apply every tick that the clock has passed, and yield the windows that close.

        `facts_offset` is that of the message that advanced the clock. The caller must judge a yielded chain before it
        asks for the next one: afterwards the chain may grow again.
        """
        until = clock_ms // TICK_MS
        for tick, arrived in self.buffer.take(until):
            yield from self._close_until(tick, facts_offset)
            self._apply(tick, arrived)
        yield from self._close_until(until, facts_offset)
        self.applied_tick = until if self.applied_tick is None else max(self.applied_tick, until)

    def end(self, before: int | None = None) -> Iterator[Close]:
        """Apply what is buffered and close every window, because the input ends; nothing at or after `before` is used.

        `before` is the tick from which everything is read once more; windows that this closes are not whole.
        """
        for tick, arrived in self.buffer.take(before):
            yield from self._close_until(tick, 0)
            self._apply(tick, arrived)
        for trace_id in self.chains:
            # Chains are discarded after this, so a cold one need not be read into memory.
            chain = self.chains.peek(trace_id)
            if chain is not None and chain.window is not None and (before is None or chain.first < before):
                chain.input_lost |= before is not None
                close = self._close(trace_id, chain, chain.window, CloseReason.END_OF_INPUT, chain.window.last)
                yield close if before is None else msgspec.structs.replace(close, read_again_from=before)

    def evict(self) -> Iterator[Close]:
        """Close every window as incomplete and forget every chain and presence, because they exceed the disk limit.

        The buffer stays. No rule may judge a trace that could have existed by now: see `Partition.evict`.
        """
        for trace_id in self.chains:
            chain = self.chains.peek(trace_id)
            if chain is not None and chain.window is not None:
                closed = chain.last if self.applied_tick is None else self.applied_tick
                yield self._close(trace_id, chain, chain.window, CloseReason.DISK_LIMIT, closed)
        self._clear_chains()

    def reset(self) -> None:
        """Forget all chains and the contents of the buffer."""
        self._clear_chains()
        self.applied_tick = None
        self.buffer.clear()

    def _clear_chains(self) -> None:
        self.chains.clear()
        self.ended.clear()
        self.presences.clear()
        self.open_windows = 0
        self._required_offsets, self._window_firsts, self._chain_firsts = RefCounts(), RefCounts(), RefCounts()

    def _apply(self, tick: int, arrived: TickBatch) -> None:
        for arrival in arrived.arrivals:
            self._apply_entry(tick, arrival, arrived.facts_offset)
        chain_of = self.chains.get
        for trace_id, span_count in unpack_span_counts(arrived.touches):
            chain = chain_of(trace_id)
            if chain is not None:
                chain.input_lost |= span_count == NO_SPAN
                window = self._window(trace_id, chain, tick)
                self._extend(trace_id, chain, window, tick, span_count, arrived.facts_offset)
        tracks_presence = self._tracks_presence(tick)
        if tracks_presence or self.presences:
            self._note_presence(tick, arrived, tracks_presence=tracks_presence)

    def _tracks_presence(self, tick: int) -> bool:
        if self._tracked_until is not None and tick <= self._tracked_until:
            return True
        reach = self.bounds.gap + self.bounds.lateness
        return any(lost.is_near(tick, reach) for lost in self.lost)

    def _note_presence(self, tick: int, arrived: TickBatch, *, tracks_presence: bool) -> None:
        observe, offset = self.presences.observe, arrived.facts_offset
        for arrival in arrived.arrivals:
            observe(arrival.entry.trace_id, tick, offset, tracks_presence=tracks_presence)
        for trace_id, _ in unpack_span_counts(arrived.touches):
            observe(trace_id, tick, offset, tracks_presence=tracks_presence)

    def _apply_entry(self, tick: int, arrival: Arrival, facts_offset: int) -> None:
        entry = arrival.entry
        chain = self.chains.get(entry.trace_id)
        if chain is None:
            ended = self.ended.get(entry.trace_id)
            if ended is not None and tick < ended.until:
                return
            chain = self._new_chain(entry.trace_id, tick, facts_offset, ended)
            self._required_offsets.add(chain.required_offset)
            self._chain_firsts.add(tick)
        window = self._window(entry.trace_id, chain, tick)
        self._extend(entry.trace_id, chain, window, tick, entry.span_count, facts_offset)
        window.root_seen |= entry.root_seen
        chain.input_lost |= entry.is_incomplete
        chain.add_source(arrival.topic, arrival.partition, entry.first_offset, entry.offset)
        facts, counted = chain.facts, self.counted
        for fact in entry.facts:
            atom = fact.atom
            remembered = facts.get(atom)
            if remembered is None:
                remembered = facts[atom] = AtomFacts()
            remembered.add(fact, counted.get(atom, 0), tick)

    def _new_chain(self, trace_id: bytes, tick: int, facts_offset: int, ended: EndedChain | None) -> Chain:
        chain = Chain(tick, tick, facts_offset, tick, headless=ended is not None and tick < ended.headless_until)
        presence = self.presences.tiers.get(trace_id)
        if presence is not None:
            chain.present_since = presence.since
            if not presence.is_old:
                chain.required_offset = min(facts_offset, presence.first_offset)
        if ended is not None and chain.headless and ended.known_from is not None:
            chain.present_since = min(chain.known_from, ended.known_from)
        return chain

    def _window(self, trace_id: bytes, chain: Chain, tick: int) -> Window:
        """Return the chain's open window; open one at `tick` when there is none."""
        if chain.window is None:
            chain.window = Window(tick, tick)
            self.open_windows += 1
            self._window_firsts.add(tick)
            self.chains.schedule(trace_id, chain, chain.next_due(self.bounds))
        return chain.window

    def _extend(
        self, trace_id: bytes, chain: Chain, window: Window, tick: int, span_count: int, facts_offset: int
    ) -> None:
        chain.last = window.last = tick
        window.span_count += span_count
        if facts_offset < chain.required_offset:
            self._required_offsets.remove(chain.required_offset)
            self._required_offsets.add(facts_offset)
            chain.required_offset = facts_offset
        self.chains.put(trace_id, chain)

    def _close_until(self, tick: int, facts_offset: int) -> Iterator[Close]:
        for due, trace_id, chain in self.chains.due(tick):
            # Arrivals only postpone timers, so a chain is looked at when it was due before they came.
            if chain.next_due(self.bounds) == due:
                window = chain.window
                if window is None:
                    self._forget(trace_id, chain, due, facts_offset)
                    continue
                yield self._close_due(trace_id, chain, window, due)
            self.chains.schedule(trace_id, chain, chain.next_due(self.bounds))
        self.presences.expire(tick, facts_offset)

    def _close_due(self, trace_id: bytes, chain: Chain, window: Window, due: int) -> Close:
        is_quiet = due == window.last + self.bounds.gap + 1
        chain.hit_max_duration |= not is_quiet
        reason = CloseReason.QUIET if is_quiet else CloseReason.MAX_DURATION
        return self._close(trace_id, chain, window, reason, due - is_quiet)

    def _forget(self, trace_id: bytes, chain: Chain, due: int, facts_offset: int) -> None:
        expiry = chain.expires_at(self.bounds)
        if chain.hit_max_duration or due < expiry:
            ended = EndedChain(trace_id, due, expiry, chain.required_offset, facts_offset, chain.known_from)
            self.ended[trace_id] = ended.merged_with(self.ended.get(trace_id))
        self._required_offsets.remove(chain.required_offset)
        self._chain_firsts.remove(chain.first)
        self.chains.remove(trace_id)

    def _close(self, trace_id: bytes, chain: Chain, window: Window, reason: CloseReason, closed: int) -> Close:
        chain.window = None
        self.open_windows -= 1
        self._window_firsts.remove(window.first)
        if self.lost:
            chain.input_lost |= self._has_lost_input(chain.known_from, chain.last)
        whole = reason not in INCOMPLETE and not chain.headless and not chain.input_lost
        return Close(
            trace_id=trace_id, chain=chain, window=window, reason=reason, closed_ms=closed * TICK_MS, whole=whole
        )

    def _has_lost_input(self, first: int, last: int) -> bool:
        """Return whether input was lost during the chain, or up to gap + lateness before, where it may have begun."""
        from_ms = (first - self.bounds.gap - self.bounds.lateness) * TICK_MS
        to_ms = (last + self.bounds.gap + 1) * TICK_MS
        return any(lost.overlaps(from_ms, to_ms) for lost in self.lost)


def counted_atoms(atoms: Iterable[tuple[bytes, int]]) -> dict[bytes, int]:
    """Return the number of identities to keep, by atom fingerprint, without the atoms that no rule counts."""
    return {fingerprint: counted for fingerprint, counted in atoms if counted}
