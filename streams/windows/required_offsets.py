"""Tracks the lowest facts offset that something still requires.

In: offsets, each added when something requires it and removed when it no longer does. Out: the lowest that remains.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush

SPARE_OFFSETS = 64


class RefCounts:
    """A multiset of facts offsets, also used for ticks; `lowest` is free while the minimum does not change.

    >>> counts = RefCounts()
    >>> counts.add(7), counts.add(5), counts.add(7), counts.remove(5), counts.lowest(), counts.count(7)
    (None, None, None, None, 7, 2)
    """

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self._heap: list[int] = []

    def add(self, offset: int) -> None:
        """Add a reference to an offset."""
        count = self._counts.get(offset, 0)
        self._counts[offset] = count + 1
        if not count:
            self._push(offset)

    def remove(self, offset: int) -> None:
        """Remove a reference to an offset."""
        count = self._counts[offset] - 1
        if count:
            self._counts[offset] = count
        else:
            del self._counts[offset]

    def count(self, offset: int) -> int:
        """Return the number of references to an offset."""
        return self._counts.get(offset, 0)

    def lowest(self) -> int | None:
        """Return the lowest referenced offset, None when there is none."""
        heap = self._heap
        while heap and heap[0] not in self._counts:
            heappop(heap)
        return heap[0] if heap else None

    def _push(self, offset: int) -> None:
        if len(self._heap) > 2 * len(self._counts) + SPARE_OFFSETS:
            # An offset that is released and required again is in the heap more than once.
            self._heap = list(self._counts)
            heapify(self._heap)
        else:
            heappush(self._heap, offset)
