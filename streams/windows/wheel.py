"""At which tick each trace is to be looked at next.

In: ticks of trace ids. Out: the trace ids, tick by tick, as time goes on. Only ticks at which something is due are
visited, so that a first time that is decades above zero costs nothing.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush

SPARE_TICKS = 64


class TimerWheel:
    """Trace ids by the tick at which they are due.

    >>> wheel = TimerWheel()
    >>> for tick, trace_id in (9, b"b"), (7, b"c"), (7, b"a"), (8, b"d"):
    ...     wheel.schedule(tick, trace_id)
    >>> wheel.cancel(8, b"d")
    >>> wheel.lowest(), wheel.pop(7), wheel.lowest(), wheel.pop(8)
    (7, [b'a', b'c'], 9, [])
    """

    def __init__(self) -> None:
        self._trace_ids: dict[int, set[bytes]] = {}
        self._ticks: list[int] = []

    def __len__(self) -> int:
        """How many ticks have something due."""
        return len(self._trace_ids)

    def schedule(self, tick: int, trace_id: bytes) -> None:
        """The trace is due at this tick."""
        due = self._trace_ids.get(tick)
        if due is None:
            due = self._trace_ids[tick] = set()
            self._push(tick)
        due.add(trace_id)

    def cancel(self, tick: int, trace_id: bytes) -> None:
        """The trace is not due at this tick any more, if it ever was."""
        due = self._trace_ids.get(tick)
        if due is not None:
            due.discard(trace_id)
            if not due:
                del self._trace_ids[tick]

    def lowest(self) -> int | None:
        """The first tick at which something is due; None when nothing is."""
        while self._ticks and self._ticks[0] not in self._trace_ids:
            heappop(self._ticks)
        return self._ticks[0] if self._ticks else None

    def pop(self, tick: int) -> list[bytes]:
        """Removes and returns what is due at a tick, in order."""
        return sorted(self._trace_ids.pop(tick, ()))

    def clear(self) -> None:
        """Nothing is due any more."""
        self._trace_ids.clear()
        self._ticks.clear()

    def _push(self, tick: int) -> None:
        if len(self._ticks) > 2 * len(self._trace_ids) + SPARE_TICKS:
            # Of ticks that were forgotten and due again the heap has each one several times.
            self._ticks = list(self._trace_ids)
            heapify(self._ticks)
        else:
            heappush(self._ticks, tick)
