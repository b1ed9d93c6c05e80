"""The lowest facts offset that anything still needs.

In: offsets, each added when something needs it and removed when it no longer does. Out: the lowest that remains.
"""

from __future__ import annotations

from heapq import heappop, heappush


class Needs:
    """A multiset of facts offsets; `lowest` costs nothing while the lowest stays.

    >>> needs = Needs()
    >>> needs.add(7), needs.add(5), needs.add(7), needs.remove(5), needs.lowest()
    (None, None, None, None, 7)
    """

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self._heap: list[int] = []

    def add(self, offset: int) -> None:
        """One more needs it."""
        count = self._counts.get(offset, 0)
        if not count:
            heappush(self._heap, offset)
        self._counts[offset] = count + 1

    def remove(self, offset: int) -> None:
        """One of those that needed it no longer does."""
        count = self._counts[offset] - 1
        if count:
            self._counts[offset] = count
        else:
            del self._counts[offset]

    def lowest(self) -> int | None:
        """The lowest offset that is needed; None when none is."""
        heap = self._heap
        while heap and heap[0] not in self._counts:
            heappop(heap)
        return heap[0] if heap else None
