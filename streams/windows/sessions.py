"""Sessions of traces: sort, then fold.

In: entries and touches in any order, and the clock as values. Out: closed windows, in an order that depends on the
records alone. Nothing here reads a clock or does I/O.

Entries and touches wait in a buffer until the clock has passed their tick. Then they are applied tick by tick; what
falls due at a tick closes before anything that arrived in that tick is applied. So windows are built in record-time
order whatever the order of reading. Inside one tick the order does not matter: facts are a semilattice, a touch that
comes before the entry that opens its window would only have extended it to the same tick, and closes come first.

All times are ticks of 100 ms (`topics.records.facts.TICK_MS`) of Kafka record time:

    a window       opens at a hit, and, once its trace has a chain, at any record of the trace; a record of the trace at
                   most `gap` after the last one belongs to it
    closes         at last + gap + 1 tick (quiet), or at first + max_duration (cut), whichever comes first
    a chain        windows of one trace that start at most gap + lateness after its last arrival share their facts
                   so from a rule's first hit on they depend on the trace alone, not on what other rules hit
    a chain ends   at first + max_duration + lateness at the latest; what follows is another chain, known to be headless

A window opens at a hit, so it cannot tell whether its trace had been there before somebody was able to see its hits.
In a time of watch (`watch`, and while input is lost and until gap + lateness after) `streams.windows.presence` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from streams.windows.chain import Bounds, Chain, Ended, Window
from streams.windows.chains import chains
from streams.windows.close import CUT, Close, CloseReason
from streams.windows.facts import AtomFacts
from streams.windows.presence import LongPresence, Presences
from streams.windows.reorder import Arrival, Tick, Waiting
from streams.windows.required_offsets import Needs
from streams.windows.window_store import WindowStore
from topics.records.facts import NO_SPAN, TICK_MS, unpack_span_counts

FILTER_SHARE = 16
"""Of the memory for windows this part each for the ids of the chains and of the presences that are on disk."""


class LostTime(msgspec.Struct, array_like=True, frozen=True):
    """A span of record time in which input of one source partition was lost; `to_ms` is None while it is not over."""

    topic: str
    partition: int
    from_ms: int
    to_ms: int | None

    def overlaps(self, from_ms: int, to_ms: int) -> bool:
        """Something could have been lost in `[from_ms, to_ms)`."""
        return self.from_ms < to_ms and (self.to_ms is None or self.to_ms >= from_ms)

    def is_near(self, tick: int, reach: int) -> bool:
        """A trace that arrives in this tick could have lost a record that is at most `reach` ticks older."""
        return self.overlaps((tick - reach) * TICK_MS, (tick + 1) * TICK_MS)


class Sessions:
    """The chains of one facts partition.

    `counted` says how many identities an atom's facts keep; `ended` are chains that a rebuild must know of, by trace.
    Without a store everything stays in memory.
    """

    def __init__(
        self,
        bounds: Bounds,
        counted: dict[bytes, int],
        store: WindowStore | None = None,
        *,
        memory_bytes: int = 0,
    ) -> None:
        """Has no chains yet, but those of `store` that are to be restored; `memory_bytes` is what it may take."""
        filter_bytes = memory_bytes // FILTER_SHARE
        self.bounds = bounds
        self.counted = counted
        self.chains = chains(store.chain_table if store else None, filter_bytes)
        self.waiting = Waiting(store.shelf if store else None)
        self.ended: dict[bytes, Ended] = {}
        self.presences = Presences(bounds, store.presence_table if store else None, filter_bytes)
        self.applied_tick: int | None = None
        self.lost: list[LostTime] = []
        self.open_windows = 0
        self._needs = Needs()
        self._window_firsts = Needs()
        self._chain_firsts = Needs()
        """The first ticks of the open windows, and of all chains."""
        self._watched_until: int | None = None

    def restore(self, store: WindowStore) -> None:
        """Learns of all chains and presences that the store has."""
        for trace_id, chain, size_bytes in store.chain_table.stored():
            self.chains.restore(trace_id, chain, size_bytes)
            if chain.window is not None:
                self.open_windows += 1
                self._window_firsts.add(chain.window.first)
            self._needs.add(chain.needs)
            self._chain_firsts.add(chain.first)
        for trace_id, presence, size_bytes in store.presence_table.stored():
            self.presences.restore(trace_id, presence, size_bytes)

    def remember(self, ended: Iterable[Ended], long: Iterable[LongPresence], *, has_store: bool) -> None:
        """Learns what a position tells of traces; with a store, it has the presences that are not over."""
        self.ended = {each.trace_id: each for each in ended}
        if has_store:
            self.presences.over = [each for each in long if each.last_offset is not None]
        else:
            self.presences.rebuild(long)

    def watch(self, until_ms: int | None) -> None:
        """Until this record time, and at it, every arrival shows that its trace is present; None: no longer."""
        self._watched_until = None if until_ms is None else until_ms // TICK_MS

    def cool(self, memory_bytes: int) -> None:
        """Puts on disk what was written and does not fit in so much memory, beside what waits and the filters."""
        self.presences.kept.cool(memory_bytes // 8)
        self.chains.cool(memory_bytes * 5 // 8 - self.presences.kept.held_bytes)

    @property
    def stored_bytes(self) -> int:
        """What the store has of chains and presences, as of the last step."""
        return self.chains.stored_bytes + self.presences.kept.stored_bytes

    @property
    def is_empty(self) -> bool:
        """Nothing waits and no window is open."""
        return not self.waiting and not self.open_windows

    def lowest_needed(self) -> int | None:
        """The lowest facts offset that something waiting or a chain came from; None when there is neither."""
        offsets = (self.waiting.lowest_offset(), self._needs.lowest(), self.presences.lowest_needed())
        return min((offset for offset in offsets if offset is not None), default=None)

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
        for trace_id in self.chains:
            # Nothing is kept of a chain after this, so a cold one need not come to memory.
            chain = self.chains.look(trace_id)
            if chain is not None and chain.window is not None and (before is None or chain.first < before):
                chain.is_cut |= before is not None
                close = self._close(trace_id, chain, chain.window, CloseReason.END_OF_INPUT, chain.window.last)
                yield close if before is None else msgspec.structs.replace(close, read_again_from=before)

    def evict(self) -> Iterator[Close]:
        """Closes every window as cut and forgets every chain and presence: there is no room for them.

        What waits stays. No rule may judge what could have been there by now: see `Partition.evict`.
        """
        for trace_id in self.chains:
            chain = self.chains.look(trace_id)
            if chain is not None and chain.window is not None:
                closed = chain.last if self.applied_tick is None else self.applied_tick
                yield self._close(trace_id, chain, chain.window, CloseReason.DISK_LIMIT, closed)
        self._forget_chains()

    def forget_all(self) -> None:
        """Everything begins anew; no chain, and nothing that waits, is kept."""
        self._forget_chains()
        self.applied_tick = None
        self.waiting.clear()

    def _forget_chains(self) -> None:
        self.chains.clear()
        self.ended.clear()
        self.presences.clear()
        self.open_windows = 0
        self._needs, self._window_firsts, self._chain_firsts = Needs(), Needs(), Needs()

    def _apply(self, tick: int, arrived: Tick) -> None:
        for arrival in arrived.arrivals:
            self._apply_entry(tick, arrival, arrived.facts_offset)
        chain_of = self.chains.get
        for trace_id, span_count in unpack_span_counts(arrived.touches):
            chain = chain_of(trace_id)
            if chain is not None:
                chain.is_cut |= span_count == NO_SPAN
                window = self._window(trace_id, chain, tick)
                self._extend(trace_id, chain, window, tick, span_count, arrived.facts_offset)
        is_watched = self._is_watched(tick)
        if is_watched or self.presences:
            self._note_present(tick, arrived, is_watched=is_watched)

    def _is_watched(self, tick: int) -> bool:
        if self._watched_until is not None and tick <= self._watched_until:
            return True
        reach = self.bounds.gap + self.bounds.lateness
        return any(lost.is_near(tick, reach) for lost in self.lost)

    def _note_present(self, tick: int, arrived: Tick, *, is_watched: bool) -> None:
        arrive, offset = self.presences.arrive, arrived.facts_offset
        for arrival in arrived.arrivals:
            arrive(arrival.entry.trace_id, tick, offset, is_watched=is_watched)
        for trace_id, _ in unpack_span_counts(arrived.touches):
            arrive(trace_id, tick, offset, is_watched=is_watched)

    def _apply_entry(self, tick: int, arrival: Arrival, facts_offset: int) -> None:
        entry = arrival.entry
        chain = self.chains.get(entry.trace_id)
        if chain is None:
            ended = self.ended.get(entry.trace_id)
            if ended is not None and tick < ended.until:
                return
            chain = self._begun(entry.trace_id, tick, facts_offset, ended)
            self._needs.add(chain.needs)
            self._chain_firsts.add(tick)
        window = self._window(entry.trace_id, chain, tick)
        self._extend(entry.trace_id, chain, window, tick, entry.span_count, facts_offset)
        window.root_seen |= entry.root_seen
        chain.is_cut |= entry.is_incomplete
        chain.add_source(arrival.topic, arrival.partition, entry.first_offset, entry.offset)
        facts, counted = chain.facts, self.counted
        for fact in entry.facts:
            atom = fact.atom
            remembered = facts.get(atom)
            if remembered is None:
                remembered = facts[atom] = AtomFacts()
            remembered.add(fact, counted.get(atom, 0), tick)

    def _begun(self, trace_id: bytes, tick: int, facts_offset: int, ended: Ended | None) -> Chain:
        chain = Chain(tick, tick, facts_offset, tick, headless=ended is not None and tick < ended.headless_until)
        presence = self.presences.kept.get(trace_id)
        if presence is not None:
            chain.present_since = presence.since
            if not presence.is_old:
                chain.needs = min(facts_offset, presence.first_offset)
        if ended is not None and chain.headless and ended.seen_from is not None:
            chain.present_since = min(chain.seen_from, ended.seen_from)
        return chain

    def _window(self, trace_id: bytes, chain: Chain, tick: int) -> Window:
        """The chain's open window; one is opened at `tick` when there is none."""
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
        if facts_offset < chain.needs:
            self._needs.remove(chain.needs)
            self._needs.add(facts_offset)
            chain.needs = facts_offset
        self.chains.put(trace_id, chain)

    def _close_until(self, tick: int, facts_offset: int) -> Iterator[Close]:
        for due, trace_id, chain in self.chains.due(tick):
            # Arrivals only move what is due forward, so it is looked at when it was due before they came.
            if chain.next_due(self.bounds) == due:
                window = chain.window
                if window is None:
                    self._forget(trace_id, chain, due, facts_offset)
                    continue
                yield self._fall_due(trace_id, chain, window, due)
            self.chains.schedule(trace_id, chain, chain.next_due(self.bounds))
        self.presences.expire(tick, facts_offset)

    def _fall_due(self, trace_id: bytes, chain: Chain, window: Window, due: int) -> Close:
        is_quiet = due == window.last + self.bounds.gap + 1
        chain.was_cut |= not is_quiet
        reason = CloseReason.QUIET if is_quiet else CloseReason.MAX_DURATION
        return self._close(trace_id, chain, window, reason, due - is_quiet)

    def _forget(self, trace_id: bytes, chain: Chain, due: int, facts_offset: int) -> None:
        forgotten = chain.forgotten(self.bounds)
        if chain.was_cut or due < forgotten:
            ended = Ended(trace_id, due, forgotten, chain.needs, facts_offset, chain.seen_from)
            self.ended[trace_id] = ended.after(self.ended.get(trace_id))
        self._needs.remove(chain.needs)
        self._chain_firsts.remove(chain.first)
        self.chains.remove(trace_id)

    def _close(self, trace_id: bytes, chain: Chain, window: Window, reason: CloseReason, closed: int) -> Close:
        chain.window = None
        self.open_windows -= 1
        self._window_firsts.remove(window.first)
        if self.lost:
            chain.is_cut |= self._has_lost_input(chain.seen_from, chain.last)
        whole = reason not in CUT and not chain.headless and not chain.is_cut
        return Close(trace_id, chain, window, reason, closed * TICK_MS, whole)

    def _has_lost_input(self, first: int, last: int) -> bool:
        """What was lost up to gap + lateness before the chain could have been its beginning."""
        from_ms = (first - self.bounds.gap - self.bounds.lateness) * TICK_MS
        to_ms = (last + self.bounds.gap + 1) * TICK_MS
        return any(lost.overlaps(from_ms, to_ms) for lost in self.lost)


def counted_atoms(atoms: Iterable[tuple[bytes, int]]) -> dict[bytes, int]:
    """Atom fingerprint to the identities kept of it, without the atoms that nobody counts."""
    return {fingerprint: counted for fingerprint, counted in atoms if counted}
