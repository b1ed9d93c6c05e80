"""Buffers what has arrived until the clock has passed its tick.

In: entries and touches in any order. Out: the same, tick by tick. Most of them stay for some seconds, in memory. When
one source partition lags far behind, the buffer may grow large; then the latest ticks are spilled to disk.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import msgspec

from topics.records.facts import Entry

ARRIVAL_BYTES, FACT_BYTES = 400, 700
"""Memory of an arrival and of each of its facts; measured by tests/bench/bench_windows.py."""


class Arrival(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An entry and the source partition it came from."""

    topic: str
    partition: int
    entry: Entry


class SpillStore(Protocol):
    """Where the buffer puts ticks for which there is no memory; its contents do not survive the program."""

    def put(self, tick: int, values: bytes) -> None:
        """Add to the contents of a tick."""

    def take(self, tick: int) -> list[bytes]:
        """Remove and return the contents of a tick."""


class TickBatch:
    """What arrived in one tick: arrivals, packed touches, and the lowest facts offset that any of it came from."""

    __slots__ = ("arrivals", "facts_offset", "held_bytes", "is_spilled", "touches")

    def __init__(self, facts_offset: int) -> None:
        self.arrivals: list[Arrival] = []
        self.touches = bytearray()
        self.facts_offset = facts_offset
        self.held_bytes = 0
        self.is_spilled = False


class ReorderBuffer:
    """The buffered ticks; `held_bytes` approximates their memory.

    >>> buffer = ReorderBuffer()
    >>> buffer.add_touches(7, b"touch" * 2, facts_offset=40)
    >>> buffer.lowest_offset(), [(tick, bytes(batch.touches)) for tick, batch in buffer.take(until=8)], len(buffer)
    (40, [(7, b'touchtouch')], 0)
    """

    def __init__(self, spill_store: SpillStore | None = None) -> None:
        self.held_bytes = 0
        self._spill_store = spill_store
        self._ticks: dict[int, TickBatch] = {}

    def __len__(self) -> int:
        """Return the number of buffered ticks."""
        return len(self._ticks)

    def add(self, tick: int, arrival: Arrival, facts_offset: int) -> None:
        """Add an arrival from the facts message at `facts_offset`."""
        batch = self._batch(tick, facts_offset)
        batch.arrivals.append(arrival)
        self._grow(batch, ARRIVAL_BYTES + FACT_BYTES * len(arrival.entry.facts))

    def add_touches(self, tick: int, packed: bytes, facts_offset: int) -> None:
        """Add packed touches from the facts message at `facts_offset`."""
        batch = self._batch(tick, facts_offset)
        batch.touches += packed
        self._grow(batch, len(packed))

    def lowest_offset(self) -> int | None:
        """Return the lowest facts offset that anything buffered came from, None when the buffer is empty."""
        return min((batch.facts_offset for batch in self._ticks.values()), default=None)

    def take(self, until: int | None = None) -> Iterator[tuple[int, TickBatch]]:
        """Remove and yield the ticks below `until`, or all when it is None, in order."""
        for tick in sorted(tick for tick in self._ticks if until is None or tick < until):
            batch = self._ticks.pop(tick)
            self.held_bytes -= batch.held_bytes
            yield tick, self._with_spilled(tick, batch)

    def clear(self) -> None:
        """Remove everything."""
        for _ in self.take():
            continue

    def spill(self, limit_bytes: int) -> None:
        """Spill the latest ticks until at most half of `limit_bytes` remains in memory, if the limit is exceeded."""
        if self._spill_store is None or self.held_bytes <= limit_bytes:
            return
        for tick in sorted(self._ticks, reverse=True):
            self._spill_tick(self._spill_store, tick, self._ticks[tick])
            if self.held_bytes <= limit_bytes // 2:
                return

    def _batch(self, tick: int, facts_offset: int) -> TickBatch:
        batch = self._ticks.get(tick)
        if batch is None:
            batch = self._ticks[tick] = TickBatch(facts_offset)
        return batch

    def _grow(self, batch: TickBatch, size_bytes: int) -> None:
        batch.held_bytes += size_bytes
        self.held_bytes += size_bytes

    def _spill_tick(self, spill_store: SpillStore, tick: int, batch: TickBatch) -> None:
        if batch.held_bytes:
            spill_store.put(tick, _encode((batch.arrivals, bytes(batch.touches))))
            self.held_bytes -= batch.held_bytes
            batch.arrivals, batch.touches, batch.held_bytes, batch.is_spilled = [], bytearray(), 0, True

    def _with_spilled(self, tick: int, batch: TickBatch) -> TickBatch:
        if batch.is_spilled and self._spill_store is not None:
            for values in self._spill_store.take(tick):
                arrivals, touches = _decoder.decode(values)
                batch.arrivals += arrivals
                batch.touches += touches
        return batch


_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(tuple[list[Arrival], bytes])
