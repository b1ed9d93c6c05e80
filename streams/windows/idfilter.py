"""Which trace ids may be among many: what asks for none of them costs no I/O.

In: trace ids, each added once and removed once. Out: whether an id may be among those that remain: never no for one
that is. Memory is fixed: with more ids than counters more answers are yes, and none is wrong.
"""

from __future__ import annotations

MAX_COUNTERS = 64 << 20
MIN_COUNTERS = 8
_FULL = 255


class IdFilter:
    """Counters by hash, a byte each, from the first id on; one that was ever full stays so.

    >>> ids = IdFilter(1000)
    >>> ids.add(b"a")
    >>> ids.may_have(b"a")
    True
    >>> ids.remove(b"a")
    >>> ids.may_have(b"a")
    False
    """

    def __init__(self, size_bytes: int) -> None:
        """Takes at most `size_bytes`, within bounds: the power of two at or below it."""
        self._mask = (1 << (min(max(size_bytes, MIN_COUNTERS), MAX_COUNTERS).bit_length() - 1)) - 1
        self._counters = bytearray()

    def may_have(self, trace_id: bytes) -> bool:
        """False only for an id that is not there."""
        counters = self._counters
        return bool(counters) and counters[hash(trace_id) & self._mask] > 0

    def add(self, trace_id: bytes) -> None:
        """The id is there from now on."""
        if not self._counters:
            self._counters = bytearray(self._mask + 1)
        at = hash(trace_id) & self._mask
        if self._counters[at] < _FULL:
            self._counters[at] += 1

    def remove(self, trace_id: bytes) -> None:
        """The id, which was added, is not there any more."""
        at = hash(trace_id) & self._mask
        if self._counters[at] < _FULL:
            self._counters[at] -= 1

    def clear(self) -> None:
        """No id is there any more."""
        self._counters = bytearray()
