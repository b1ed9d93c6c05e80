"""Which traces were seen in which tick: what ingest keeps of every span, and says of those that hit nothing.

In: a trace, a tick and a span count at a time. Out: touches as they are on `betrace.facts`. It is the one thing that is
done for each trace of each record, so there is a compiled form (`streams.decode._touches`), which does the same.
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

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: dict[tuple[bytes, int], tuple[int, bool]] = {}

    def __len__(self) -> int:
        """How many there are."""
        return len(self._seen)

    def add(self, trace_id: bytes, tick: int, span_count: int, root_seen: bool) -> None:  # noqa: FBT001, as compiled
        """Counts spans of a trace in a tick."""
        seen = self._seen.get((trace_id, tick))
        if seen is not None:
            span_count, root_seen = span_count + seen[0], root_seen or seen[1]
        self._seen[trace_id, tick] = span_count, root_seen

    def take(self, trace_id: bytes, tick: int) -> tuple[int, bool]:
        """Span count and root of a trace in a tick, which is forgotten; raises `KeyError` when it was not seen."""
        return self._seen.pop((trace_id, tick))

    @staticmethod
    def partition_of(trace_id: bytes, partitions: int) -> int:
        """The facts partition of a trace, of so many."""
        return partition.of_trace(trace_id, partitions)

    def sample(self) -> list[tuple[bytes, bool]]:
        """One trace of 256 and whether its root was seen, by tick."""
        return [(trace_id, root_seen) for (trace_id, _), (_, root_seen) in self._seen.items() if not trace_id[-1]]

    def pack(self, partitions: int) -> list[bytes]:
        """The touches of each facts partition, in the order in which they came."""
        touches: list[list[Touch]] = [[] for _ in range(partitions)]
        for (trace_id, tick), (span_count, _) in self._seen.items():
            touches[partition.of_trace(trace_id, partitions)].append(Touch(trace_id, tick, span_count))
        return [pack_touches(each) for each in touches]


def none_yet() -> Touches:
    """Touches to be added to: the compiled form, where the scanner is what decodes."""
    if backend.chosen() is backend.Choice.PURE:
        return PureTouches()
    from streams.decode._touches import Touches as Compiled  # noqa: PLC0415, it may be missing

    return Compiled()
