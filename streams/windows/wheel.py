"""Timers of traces, by tick.

In: the tick at which each trace is due. Out: the trace ids, tick by tick, as time advances. Only ticks at which
something is due are visited, so a first tick that is decades above zero costs nothing.
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
        """Return the number of ticks at which something is due."""
        return len(self._trace_ids)

    def schedule(self, tick: int, trace_id: bytes) -> None:
        """Set a timer for a trace at a tick."""
        due = self._trace_ids.get(tick)
        if due is None:
            due = self._trace_ids[tick] = set()
            self._push(tick)
        due.add(trace_id)

    def cancel(self, tick: int, trace_id: bytes) -> None:
        """Cancel the timer of a trace at a tick, if there is one."""
        due = self._trace_ids.get(tick)
        if due is not None:
            due.discard(trace_id)
            if not due:
                del self._trace_ids[tick]

    def lowest(self) -> int | None:
        """Return the first tick at which something is due, None when nothing is."""
        while self._ticks and self._ticks[0] not in self._trace_ids:
            heappop(self._ticks)
        return self._ticks[0] if self._ticks else None

    def pop(self, tick: int) -> list[bytes]:
        """Remove and return the traces that are due at a tick, in order."""
        return sorted(self._trace_ids.pop(tick, ()))

    def clear(self) -> None:
        """Cancel all timers."""
        self._trace_ids.clear()
        self._ticks.clear()

    def _push(self, tick: int) -> None:
        if len(self._ticks) > 2 * len(self._trace_ids) + SPARE_TICKS:
            # A tick that is cancelled and scheduled again is in the heap more than once.
            self._ticks = list(self._trace_ids)
            heapify(self._ticks)
        else:
            heappush(self._ticks, tick)
