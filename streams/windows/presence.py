"""Since when a trace has been there, hits or none: for the times in which a window cannot tell.

A window opens at a hit. A rule that was pushed, or that lost a part of its input, does not know whether a trace whose
first hit comes now had one before. So in a time of *watch* (`Sessions.watch`) every arrival of a trace is remembered,
whether it hits an atom or not, and a chain that begins while its trace is present began no later than the presence.
Nothing else depends on it: windows are where they are without.

In: arrivals, in order of record time. Out: since when the trace is present. In a time of watch any arrival begins a
presence; afterwards any arrival within gap + lateness continues it, a hit or not, as it would continue a chain: the
trace may have one that nobody knows of. So whatever links an arrival to one before the watch links it to the presence
as well. All times are ticks. A presence lasts as long as its trace, and there is no limit to how many there are: none
is ever forgotten for want of room. Those that nobody asks for are only on disk, as chains are
(`streams.windows.tiers`); the long ones, which every checkpoint tells of, stay in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from streams.windows.chain import Bounds
from streams.windows.required_offsets import RefCounts
from streams.windows.tiers import Table, Tiers

MEMORY_PER_STORED_BYTE = 35
"""How much memory a presence takes for each byte of its stored form; measured by tests/bench/bench_windows.py."""


class Presence(msgspec.Struct, array_like=True, gc=False):
    """A trace is there since tick `since`, and was last seen at `last`; its arrivals came from `first_offset` on.

    While it is not old the facts log is kept from there on, so that it can be built again; of an old one the position
    tells (`LongPresence`), so that no trace keeps the log for ever. `due` is the tick at which it is looked at next.
    """

    since: int
    last: int
    first_offset: int
    is_old: bool = False
    due: int = 0


class LongPresence(msgspec.Struct, array_like=True, frozen=True):
    """A presence that is older than what the facts log is kept for.

    `last_offset` is that of the facts message with which it was over, None while it is not.
    """

    trace_id: bytes
    since: int
    last: int
    first_offset: int
    last_offset: int | None


class Presences:
    """The presences of a facts partition; `tiers` are those of which a store has something."""

    def __init__(self, bounds: Bounds, table: Table[Presence] | None = None, filter_bytes: int = 0) -> None:
        """Has no presences yet, but those that `table` has and that are to be restored."""
        self.ended: list[LongPresence] = []
        """Long presences that are over, and of which the log that is kept may hold the tail."""
        self.tiers = Tiers[Presence](
            table, memory_per_stored_byte=MEMORY_PER_STORED_BYTE, filter_bytes=filter_bytes, is_pinned=_is_old
        )
        self._reach = bounds.gap + bounds.lateness
        self._longest = bounds.max_duration + bounds.lateness
        self._old: dict[bytes, Presence] = {}
        self._required_offsets = RefCounts()
        self._since_ticks = RefCounts()

    def __len__(self) -> int:
        """How many there are."""
        return len(self.tiers)

    def __iter__(self) -> Iterator[bytes]:
        """The trace ids, in order."""
        return iter(self.tiers)

    def get(self, trace_id: bytes) -> Presence | None:
        """The presence of a trace as of the last tick up to which was expired; None when there is none."""
        return self.tiers.get(trace_id)

    def restore(self, trace_id: bytes, presence: Presence, size_bytes: int) -> None:
        """Learns of a presence that the store has, and of the size of its stored form."""
        self.tiers.restore(trace_id, presence, size_bytes)
        hot = self.tiers.get(trace_id) if presence.is_old else None
        self._count(trace_id, presence if hot is None else hot)

    def restore_long(self, long: Iterable[LongPresence]) -> None:
        """Begins without a store: the log from here on holds only the tail of these.

        Each counts as present up to its end already: every arrival until then continues it, whenever it is read.
        """
        for each in long:
            self._start(each.trace_id, Presence(each.since, each.last, each.first_offset, is_old=True))

    def observe(self, trace_id: bytes, tick: int, facts_offset: int, *, tracks_presence: bool) -> None:
        """The trace is seen; `tracks_presence` says whether that begins a presence."""
        presence = self.tiers.get(trace_id)
        if presence is None:
            if tracks_presence:
                self._start(trace_id, Presence(tick, tick, facts_offset))
        else:
            presence.last = max(presence.last, tick)
            self._lower(presence, facts_offset)
            self.tiers.put(trace_id, presence)

    def expire(self, tick: int, facts_offset: int) -> None:
        """Ends what is over at a tick, before anything arrives in it."""
        for due, trace_id, presence in self.tiers.due(tick):
            if self._due(presence) <= due:
                self._expire_one(trace_id, presence, due, facts_offset)
            else:
                self.tiers.schedule(trace_id, presence, self._due(presence))

    def lowest_required_offset(self) -> int | None:
        """The lowest facts offset from which a presence must be built again; None when none must be."""
        return self._required_offsets.lowest()

    def oldest(self) -> int | None:
        """The tick since which any trace is present; None when none is."""
        return self._since_ticks.lowest()

    def long_presences(self) -> list[LongPresence]:
        """What a position must tell of: those that the log is not kept for."""
        ongoing = [
            LongPresence(trace_id, each.since, each.last, each.first_offset, None)
            for trace_id, each in self._old.items()
        ]
        return [*self.ended, *ongoing]

    def drop_ended(self, first_offset: int) -> None:
        """The log is read again from `first_offset` at the lowest: what was over before is of no concern."""
        self.ended = [each for each in self.ended if each.last_offset is not None and each.last_offset >= first_offset]

    def clear(self) -> None:
        """Everything begins anew."""
        self.tiers.clear()
        self.ended = []
        self._old.clear()
        self._required_offsets, self._since_ticks = RefCounts(), RefCounts()

    def _start(self, trace_id: bytes, presence: Presence) -> None:
        self.tiers.schedule(trace_id, presence, self._due(presence))
        self._count(trace_id, presence)

    def _count(self, trace_id: bytes, presence: Presence) -> None:
        self._since_ticks.add(presence.since)
        if presence.is_old:
            self._old[trace_id] = presence
        else:
            self._required_offsets.add(presence.first_offset)

    def _due(self, presence: Presence) -> int:
        over = presence.last + self._reach + 1
        return over if presence.is_old else min(over, presence.since + self._longest)

    def _expire_one(self, trace_id: bytes, presence: Presence, due: int, facts_offset: int) -> None:
        if not presence.is_old:
            self._required_offsets.remove(presence.first_offset)
        if due > presence.last + self._reach:
            self.tiers.remove(trace_id)
            self._since_ticks.remove(presence.since)
            if self._old.pop(trace_id, None) is not None:
                ended = LongPresence(trace_id, presence.since, presence.last, presence.first_offset, facts_offset)
                self.ended.append(ended)
        else:
            presence.is_old = True
            self._old[trace_id] = presence
            self.tiers.schedule(trace_id, presence, self._due(presence))

    def _lower(self, presence: Presence, facts_offset: int) -> None:
        if facts_offset < presence.first_offset:
            if not presence.is_old:
                self._required_offsets.remove(presence.first_offset)
                self._required_offsets.add(facts_offset)
            presence.first_offset = facts_offset


def _is_old(presence: Presence) -> bool:
    return presence.is_old
