"""The time that a source partition has certainly reached, judged by timestamps that producers may have forged.

In: the timestamps of records, in partition order. Out: the highest of the minima over each record and its next
`FOLLOWERS` records. A timestamp that is too high has no effect unless that many in a row are. For honest records, which
are slightly out of order, the result errs only towards too low.
"""

from __future__ import annotations

from collections import deque

FOLLOWERS = 64
"""The number of later records, none with a lower timestamp, that a timestamp needs to advance the time."""


class Followers:
    """The last records, as far as they may still be a minimum; `count` is the number of records since `clear`.

    >>> followers = Followers()
    >>> [followers.push(stamp_ms) for stamp_ms in [900_000, *range(FOLLOWERS)]][-1]
    0
    >>> followers.push(900_000)
    0
    >>> followers.push(900_000)
    1
    """

    __slots__ = ("_least", "count")

    def __init__(self) -> None:
        self._least: deque[tuple[int, int]] = deque()
        self.count = 0

    def push(self, stamp_ms: int) -> int | None:
        """Add the next record; return the minimum over it and those before it, None while they are too few."""
        least = self._least
        while least and least[-1][1] >= stamp_ms:
            least.pop()
        least.append((self.count, stamp_ms))
        self.count += 1
        if least[0][0] < self.count - FOLLOWERS - 1:
            least.popleft()
        return least[0][1] if self.count > FOLLOWERS else None

    def clear(self) -> None:
        """Start over: the next record confirms nothing that was pushed before."""
        self._least.clear()
        self.count = 0
