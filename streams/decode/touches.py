"""The traces of each tick: what ingest keeps of every span, and all it sends of a trace without a hit.

In: a trace, a tick and a span count at a time. Out: touches as they are on `betrace.facts`. This is the only work that
is done for each trace of each record, so there is a compiled form (`streams.decode._touches`) that does the same.
"""

from __future__ import annotations

from streams.decode import backend
from streams.decode.batches import Touches
from topics import partition
from topics.records.facts import Touch, pack_touches


class PureTouches:
    """Touches in Python.

    >>> touches = PureTouches()
    >>> touches.add(b"a trace's id: 16", 7, 2, True), touches.add(b"a trace's id: 16", 7, 1, False), len(touches)
    (None, None, 1)
    >>> touches.take(b"a trace's id: 16", 7), touches.pack(1)
    ((3, True), [b''])
    """

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: dict[tuple[bytes, int], tuple[int, bool]] = {}

    def __len__(self) -> int:
        """Return the number of touches."""
        return len(self._counts)

    def add(self, trace_id: bytes, tick: int, span_count: int, root_seen: bool) -> None:  # noqa: FBT001, as compiled
        """Count spans of a trace in a tick."""
        counted = self._counts.get((trace_id, tick))
        if counted is not None:
            span_count, root_seen = span_count + counted[0], root_seen or counted[1]
        self._counts[trace_id, tick] = span_count, root_seen

    def take(self, trace_id: bytes, tick: int) -> tuple[int, bool]:
        """Remove a trace in a tick, and return its span count and root; raises `KeyError` when it is absent."""
        return self._counts.pop((trace_id, tick))

    @staticmethod
    def partition_of(trace_id: bytes, partitions: int) -> int:
        """Return the facts partition of a trace."""
        return partition.of_trace(trace_id, partitions)

    def sample(self) -> list[tuple[bytes, bool]]:
        """Return one trace in 256, with whether its root was seen, by tick."""
        return [(trace_id, root_seen) for (trace_id, _), (_, root_seen) in self._counts.items() if not trace_id[-1]]

    def pack(self, partitions: int) -> list[bytes]:
        """Return the touches of each facts partition, in order of arrival."""
        touches: list[list[Touch]] = [[] for _ in range(partitions)]
        for (trace_id, tick), (span_count, _) in self._counts.items():
            touches[partition.of_trace(trace_id, partitions)].append(Touch(trace_id, tick, span_count))
        return [pack_touches(each) for each in touches]


def new_touches() -> Touches:
    """Create an empty collection: the compiled form where the scanner decodes, else `PureTouches`."""
    if backend.selected_backend() is backend.Backend.PURE:
        return PureTouches()
    from streams.decode._touches import Touches as Compiled  # noqa: PLC0415, it may be missing

    return Compiled()
