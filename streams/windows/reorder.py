"""What has arrived and is not applied yet, by tick: the clock has not passed it.

In: entries and touches in any order. Out: the same, tick by tick. Most of it waits for some seconds and in memory;
while one source partition is far behind the others it can be a lot, and then the ticks that come last wait on disk.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import msgspec

from topics.records.facts import Entry

ARRIVAL_BYTES, FACT_BYTES = 400, 700
"""Memory that an arrival takes, and each of its facts; measured by tests/bench/bench_windows.py."""


class Arrival(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An entry and the source partition it came from."""

    topic: str
    partition: int
    entry: Entry


class Shelf(Protocol):
    """Where what waits is put when there is no room in memory; nothing on it outlives the program."""

    def put(self, tick: int, values: bytes) -> None:
        """Adds to what is there of a tick."""

    def take(self, tick: int) -> list[bytes]:
        """All that is there of a tick; it is not there afterwards."""


class Tick:
    """What arrived in one tick: arrivals, packed touches, and the lowest facts offset that any of it came in."""

    __slots__ = ("arrivals", "facts_offset", "held_bytes", "is_shelved", "touches")

    def __init__(self, facts_offset: int) -> None:
        self.arrivals: list[Arrival] = []
        self.touches = bytearray()
        self.facts_offset = facts_offset
        self.held_bytes = 0
        self.is_shelved = False


class Waiting:
    """The ticks that wait; `held_bytes` is about what they take of memory.

    >>> waiting = Waiting()
    >>> waiting.add_touches(7, b"touch" * 2, facts_offset=40)
    >>> waiting.lowest_offset(), [(tick, bytes(at.touches)) for tick, at in waiting.take(until=8)], len(waiting)
    (40, [(7, b'touchtouch')], 0)
    """

    def __init__(self, shelf: Shelf | None = None) -> None:
        self.held_bytes = 0
        self._shelf = shelf
        self._ticks: dict[int, Tick] = {}

    def __len__(self) -> int:
        """How many ticks wait."""
        return len(self._ticks)

    def add(self, tick: int, arrival: Arrival, facts_offset: int) -> None:
        """An arrival, from the facts message at `facts_offset`."""
        at = self._at(tick, facts_offset)
        at.arrivals.append(arrival)
        self._grow(at, ARRIVAL_BYTES + FACT_BYTES * len(arrival.entry.facts))

    def add_touches(self, tick: int, packed: bytes, facts_offset: int) -> None:
        """Touches as they are in the facts message at `facts_offset`."""
        at = self._at(tick, facts_offset)
        at.touches += packed
        self._grow(at, len(packed))

    def lowest_offset(self) -> int | None:
        """The lowest facts offset of which something still waits; None when nothing does."""
        return min((at.facts_offset for at in self._ticks.values()), default=None)

    def take(self, until: int | None = None) -> Iterator[tuple[int, Tick]]:
        """Removes and yields the ticks below `until`, all when it is None, in order."""
        for tick in sorted(tick for tick in self._ticks if until is None or tick < until):
            at = self._ticks.pop(tick)
            self.held_bytes -= at.held_bytes
            yield tick, self._whole(tick, at)

    def clear(self) -> None:
        """Nothing waits any more."""
        for _ in self.take():
            continue

    def shrink(self, limit_bytes: int) -> None:
        """Puts the last ticks on the shelf, until half of `limit_bytes` are left in memory."""
        if self._shelf is None or self.held_bytes <= limit_bytes:
            return
        for tick in sorted(self._ticks, reverse=True):
            self._put_away(self._shelf, tick, self._ticks[tick])
            if self.held_bytes <= limit_bytes // 2:
                return

    def _at(self, tick: int, facts_offset: int) -> Tick:
        at = self._ticks.get(tick)
        if at is None:
            at = self._ticks[tick] = Tick(facts_offset)
        return at

    def _grow(self, at: Tick, size_bytes: int) -> None:
        at.held_bytes += size_bytes
        self.held_bytes += size_bytes

    def _put_away(self, shelf: Shelf, tick: int, at: Tick) -> None:
        if at.held_bytes:
            shelf.put(tick, _encode((at.arrivals, bytes(at.touches))))
            self.held_bytes -= at.held_bytes
            at.arrivals, at.touches, at.held_bytes, at.is_shelved = [], bytearray(), 0, True

    def _whole(self, tick: int, at: Tick) -> Tick:
        if at.is_shelved and self._shelf is not None:
            for values in self._shelf.take(tick):
                arrivals, touches = _decoder.decode(values)
                at.arrivals += arrivals
                at.touches += touches
        return at


_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(tuple[list[Arrival], bytes])
