"""The time that a source partition has surely reached, by stamps that anybody may have written.

In: the stamps of records, in partition order. Out: the highest of the minima over each record and its next `FOLLOWERS`.
A stamp that is too high moves nothing unless so many in a row are. For honest records, which run back a little, the
result is only ever too low.
"""

from __future__ import annotations

from collections import deque

FOLLOWERS = 64
"""So many records must follow one whose stamp is to move the time, none of them with a lower stamp."""


class Followers:
    """The last records, as far as they can still be a minimum; `count` is how many there were since the last `clear`.

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
        """Takes in the next record; returns the minimum over it and those before it, None while they are too few."""
        least = self._least
        while least and least[-1][1] >= stamp_ms:
            least.pop()
        least.append((self.count, stamp_ms))
        self.count += 1
        if least[0][0] < self.count - FOLLOWERS - 1:
            least.popleft()
        return least[0][1] if self.count > FOLLOWERS else None

    def clear(self) -> None:
        """What comes next follows nothing that was pushed."""
        self._least.clear()
        self.count = 0
