"""A counting filter over trace ids, so that a lookup of an id that is not stored costs no I/O.

In: trace ids, each added once and removed once. Out: whether an id may be present; an id that is present is never
denied. Memory is fixed: with more ids than counters, false positives become more frequent.
"""

from __future__ import annotations

MAX_COUNTERS = 64 << 20
MIN_COUNTERS = 8
_FULL = 255


class IdFilter:
    """One-byte counters by hash, allocated with the first id; a counter that ever saturated stays saturated.

    >>> ids = IdFilter(1000)
    >>> ids.add(b"a")
    >>> ids.may_have(b"a")
    True
    >>> ids.remove(b"a")
    >>> ids.may_have(b"a")
    False
    """

    def __init__(self, size_bytes: int) -> None:
        """Use at most `size_bytes`, rounded down to a power of two within the bounds."""
        self._mask = (1 << (min(max(size_bytes, MIN_COUNTERS), MAX_COUNTERS).bit_length() - 1)) - 1
        self._counters = bytearray()

    def may_have(self, trace_id: bytes) -> bool:
        """Return False only for an id that is not present."""
        counters = self._counters
        return bool(counters) and counters[hash(trace_id) & self._mask] > 0

    def add(self, trace_id: bytes) -> None:
        """Add an id."""
        if not self._counters:
            self._counters = bytearray(self._mask + 1)
        at = hash(trace_id) & self._mask
        if self._counters[at] < _FULL:
            self._counters[at] += 1

    def remove(self, trace_id: bytes) -> None:
        """Remove an id that was added."""
        at = hash(trace_id) & self._mask
        if self._counters[at] < _FULL:
            self._counters[at] -= 1

    def clear(self) -> None:
        """Remove all ids."""
        self._counters = bytearray()
