"""At which tick each trace is to be looked at next.

In: ticks of trace ids. Out: the trace ids, tick by tick, as time goes on. Only ticks at which something is due are
visited, so that a first time that is decades above zero costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush


class Wheel:
    """Trace ids by the tick at which they are due. One that is noted again elsewhere stays where it was, too.

    >>> wheel = Wheel()
    >>> wheel.note(9, b"b"), wheel.note(7, b"a"), wheel.note(7, b"c")
    (None, None, None)
    >>> list(wheel.take(8)), list(wheel.take(9))
    ([(7, [b'a', b'c'])], [(9, [b'b'])])
    """

    def __init__(self) -> None:
        self._trace_ids: dict[int, list[bytes]] = {}
        self._ticks: list[int] = []

    def __len__(self) -> int:
        """How many ticks have something due."""
        return len(self._trace_ids)

    def note(self, tick: int, trace_id: bytes) -> None:
        """The trace is due at this tick."""
        noted = self._trace_ids.get(tick)
        if noted is None:
            noted = self._trace_ids[tick] = []
            heappush(self._ticks, tick)
        noted.append(trace_id)

    def take(self, until: int) -> Iterator[tuple[int, list[bytes]]]:
        """Removes and yields what is due up to and at `until`, in order; what is noted meanwhile counts too."""
        while self._ticks and self._ticks[0] <= until:
            tick = heappop(self._ticks)
            yield tick, sorted(self._trace_ids.pop(tick))

    def clear(self) -> None:
        """Nothing is due any more."""
        self._trace_ids.clear()
        self._ticks.clear()
