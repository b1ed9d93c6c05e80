"""At which tick each trace is to be looked at next.

In: ticks of trace ids. Out: the trace ids, tick by tick, as time goes on. Only ticks at which something is due are
visited, so that a first time that is decades above zero costs nothing.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush

SPARE_TICKS = 64


class Wheel:
    """Trace ids by the tick at which they are due.

    >>> wheel = Wheel()
    >>> wheel.note(9, b"b"), wheel.note(7, b"c"), wheel.note(7, b"a"), wheel.note(8, b"d"), wheel.forget(8, b"d")
    (None, None, None, None, None)
    >>> wheel.lowest(), wheel.take(7), wheel.lowest(), wheel.take(8)
    (7, [b'a', b'c'], 9, [])
    """

    def __init__(self) -> None:
        self._trace_ids: dict[int, set[bytes]] = {}
        self._ticks: list[int] = []

    def __len__(self) -> int:
        """How many ticks have something due."""
        return len(self._trace_ids)

    def note(self, tick: int, trace_id: bytes) -> None:
        """The trace is due at this tick."""
        noted = self._trace_ids.get(tick)
        if noted is None:
            noted = self._trace_ids[tick] = set()
            self._push(tick)
        noted.add(trace_id)

    def forget(self, tick: int, trace_id: bytes) -> None:
        """The trace is not due at this tick any more, if it ever was."""
        noted = self._trace_ids.get(tick)
        if noted is not None:
            noted.discard(trace_id)
            if not noted:
                del self._trace_ids[tick]

    def lowest(self) -> int | None:
        """The first tick at which something is due; None when nothing is."""
        while self._ticks and self._ticks[0] not in self._trace_ids:
            heappop(self._ticks)
        return self._ticks[0] if self._ticks else None

    def take(self, tick: int) -> list[bytes]:
        """Removes and returns what is due at a tick, in order."""
        return sorted(self._trace_ids.pop(tick, ()))

    def clear(self) -> None:
        """Nothing is due any more."""
        self._trace_ids.clear()
        self._ticks.clear()

    def _push(self, tick: int) -> None:
        if len(self._ticks) > 2 * len(self._trace_ids) + SPARE_TICKS:
            # Of ticks that were forgotten and noted again the heap has each one several times.
            self._ticks = list(self._trace_ids)
            heapify(self._ticks)
        else:
            heappush(self._ticks, tick)
