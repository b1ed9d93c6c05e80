"""Tracks since when a trace has existed, with or without hits, while windows cannot tell.

A window opens at a hit. A rule that was just pushed, or that lost part of its input, cannot know whether a trace whose
first hit arrives now had one before. Therefore, while presences are tracked (`Sessions.track_presence`), every arrival
of a trace is remembered, whether it hits an atom or not, and a chain that begins while its trace is present counts as
having begun no later than the presence. Nothing else depends on presences; windows are the same without them.

In: arrivals in order of record time. Out: since when a trace has been present. While presences are tracked, any arrival
begins one. Afterwards, any arrival within gap + lateness continues it, a hit or not, as it would continue a chain,
because the trace may have a chain that was never seen. So whatever links an arrival to one before the tracked time also
links it to the presence. All times are ticks. A presence lasts as long as its trace; their number is not limited, and
none is forgotten for lack of memory. Presences that are not in use are only on disk, as chains are
(`streams.windows.tiers`); the long ones, which are part of every checkpoint, stay in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from streams.windows.chain import Bounds
from streams.windows.required_offsets import RefCounts
from streams.windows.tiers import Table, Tiers

MEMORY_PER_STORED_BYTE = 35
"""Bytes of memory per byte of a presence's stored form, as measured by tests/bench/bench_windows.py."""


class Presence(msgspec.Struct, array_like=True, gc=False, kw_only=True):
    """A trace that has been present since tick `since`; its last arrival was at `last`, its first in `first_offset`.

    Until a presence is old, the facts log is kept from `first_offset` on so that it can be rebuilt. The position has
    the old ones (`LongPresence`), so that no trace makes the log grow without end. `due` is the tick of its next timer.
    """

    since: int
    last: int
    first_offset: int
    is_old: bool = False
    due: int = 0


class LongPresence(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """A presence that is older than the part of the facts log that is kept.

    `last_offset` is that of the facts message that ended it, None while it lasts.
    """

    trace_id: bytes
    since: int
    last: int
    first_offset: int
    last_offset: int | None


class Presences:
    """The presences of a facts partition; `tiers` holds them, in memory or on disk."""

    def __init__(self, bounds: Bounds, table: Table[Presence] | None = None, filter_bytes: int = 0) -> None:
        """Start with no presences; those of `table` may be restored."""
        self.ended: list[LongPresence] = []
        """Long presences that have ended, and whose tail may still be in the kept log."""
        self.tiers = Tiers[Presence](
            table, memory_per_stored_byte=MEMORY_PER_STORED_BYTE, filter_bytes=filter_bytes, is_pinned=_is_old
        )
        self._reach = bounds.gap + bounds.lateness
        self._longest = bounds.max_duration + bounds.lateness
        self._old: dict[bytes, Presence] = {}
        self._required_offsets = RefCounts()
        self._since_ticks = RefCounts()

    def __len__(self) -> int:
        """Return the number of presences."""
        return len(self.tiers)

    def __iter__(self) -> Iterator[bytes]:
        """Iterate over the trace ids, in order."""
        return iter(self.tiers)

    def get(self, trace_id: bytes) -> Presence | None:
        """Return the presence of a trace as of the last expired tick, None when there is none."""
        return self.tiers.get(trace_id)

    def restore(self, trace_id: bytes, presence: Presence, size_bytes: int) -> None:
        """Add a presence that the store has, with the size of its stored form."""
        self.tiers.restore(trace_id, presence, size_bytes)
        hot = self.tiers.get(trace_id) if presence.is_old else None
        self._count(trace_id, presence if hot is None else hot)

    def restore_long(self, long: Iterable[LongPresence]) -> None:
        """Start without a store: the log from here on has only the tail of these presences.

        Each counts as present up to its end already, so every arrival until then continues it, in whichever order they
        are read.
        """
        for each in long:
            self._start(
                each.trace_id, Presence(since=each.since, last=each.last, first_offset=each.first_offset, is_old=True)
            )

    def observe(self, trace_id: bytes, tick: int, facts_offset: int, *, tracks_presence: bool) -> None:
        """Record an arrival of a trace; `tracks_presence` says whether it may begin a presence."""
        presence = self.tiers.get(trace_id)
        if presence is None:
            if tracks_presence:
                self._start(trace_id, Presence(since=tick, last=tick, first_offset=facts_offset))
        else:
            presence.last = max(presence.last, tick)
            self._lower(presence, facts_offset)
            self.tiers.put(trace_id, presence)

    def expire(self, tick: int, facts_offset: int) -> None:
        """Remove the presences that end at a tick, before anything of that tick arrives."""
        for due, trace_id, presence in self.tiers.due(tick):
            if self._due(presence) <= due:
                self._expire_one(trace_id, presence, due, facts_offset)
            else:
                self.tiers.schedule(trace_id, presence, self._due(presence))

    def lowest_required_offset(self) -> int | None:
        """Return the lowest facts offset from which a presence must be rebuilt, None when none must be."""
        return self._required_offsets.lowest()

    def oldest(self) -> int | None:
        """Return the tick at which the oldest presence began, None when there is none."""
        return self._since_ticks.lowest()

    def long_presences(self) -> list[LongPresence]:
        """Return the presences that a position must contain because the log is not kept for them."""
        ongoing = [
            LongPresence(
                trace_id=trace_id, since=each.since, last=each.last, first_offset=each.first_offset, last_offset=None
            )
            for trace_id, each in self._old.items()
        ]
        return [*self.ended, *ongoing]

    def drop_ended(self, first_offset: int) -> None:
        """Drop ended presences that a reader starting at `first_offset` or above cannot see."""
        self.ended = [each for each in self.ended if each.last_offset is not None and each.last_offset >= first_offset]

    def clear(self) -> None:
        """Remove everything."""
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
                ended = LongPresence(
                    trace_id=trace_id,
                    since=presence.since,
                    last=presence.last,
                    first_offset=presence.first_offset,
                    last_offset=facts_offset,
                )
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
