"""Values by trace id, in two tiers: those in use are in memory (hot), the rest only on disk (cold).

In: values by trace id, each with the tick at which it is due, and a table that has what was written of them. Out: the
same values, whichever tier they are in, and those that are due in order of their ticks.

A cold value takes no memory of its own: an `IdFilter` answers most lookups of ids that are not cold, the table's index
has the ids that are due at a tick, and a count by tick says for which ticks to consult the index. So memory is that of
the hot values, which `cool` limits, and of what changed since the last step.

The index does not survive the program. It may have an id at a tick at which the value is no longer due; the tick in the
value decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from heapq import merge
from typing import Generic, Protocol, TypeVar

from streams.windows.idfilter import IdFilter
from streams.windows.required_offsets import RefCounts
from streams.windows.store_faults import DamagedError
from streams.windows.wheel import TimerWheel

INDEXED_AT_ONCE = 10_000
KEYS_BYTES = 42
"""The size of the keys of a value and of its index entry."""


class Due(Protocol):
    """Anything that must be handled at a tick."""

    due: int


T = TypeVar("T", bound=Due)
T_co = TypeVar("T_co", bound=Due, covariant=True)


class Table(Protocol[T_co]):
    """The values in a store as of the last step, and an index of the cold ones."""

    def get(self, trace_id: bytes) -> tuple[T_co, int] | None:
        """Return a value and the size of its stored form in bytes, None when there is none."""

    def stored(self) -> Iterator[tuple[bytes, T_co, int]]:
        """Yield all values by trace id, with the sizes of their stored forms in bytes."""

    def trace_ids(self) -> Iterator[bytes]:
        """Yield the ids of all values, in order."""

    def index_due(self, dues: Sequence[tuple[int, bytes]]) -> None:
        """Add ids to the index, each at a tick."""

    def due(self, tick: int) -> Iterator[bytes]:
        """Yield the ids that the index has at a tick, in order."""

    def drop_index(self, until: int) -> None:
        """Remove the index entries up to and including a tick."""


class Tiers(Generic[T]):
    """Values by trace id.

    `changed` has the trace ids that the store does not know yet: changed values, which stay in memory, and removed ones
    that the store still has. If `is_cleared`, the store must first delete everything.
    """

    def __init__(
        self,
        table: Table[T] | None,
        *,
        memory_per_stored_byte: int,
        filter_bytes: int,
        is_pinned: Callable[[T], bool] | None = None,
    ) -> None:
        """Create the tiers; pinned values are never moved to disk, and without a table none is."""
        self.changed: set[bytes] = set()
        self.is_cleared = False
        self._table = table
        self._memory_per_stored_byte = memory_per_stored_byte
        self._is_pinned_value = is_pinned
        self._hot: dict[bytes, T] = {}
        self._stored_bytes: dict[bytes, int] = {}
        """Sizes of the hot values that the store has."""
        self._removed: set[bytes] = set()
        """Values removed since the last step that the store still has."""
        self._hot_bytes = 0
        self._cold_bytes = 0
        self._wheel = TimerWheel()
        """Timers of the hot values."""
        self._cold_count = 0
        self._cold_ids = IdFilter(filter_bytes)
        self._cold_dues = RefCounts()
        """The ticks at which cold values are due."""
        self._to_index: list[tuple[int, bytes]] = []
        self._index_done_until: int | None = None
        """The last tick at which cold values were due; index entries up to it are obsolete."""

    def __len__(self) -> int:
        """Return the number of values in both tiers."""
        return len(self._hot) + self._cold_count

    def __contains__(self, trace_id: bytes) -> bool:
        """Return whether the trace has a value; a cold one is read into memory."""
        return self.get(trace_id) is not None

    def __iter__(self) -> Iterator[bytes]:
        """Iterate over the trace ids, in order."""
        hot = sorted(self._hot)
        return merge(hot, self._cold_trace_ids()) if self._cold_count else iter(hot)

    @property
    def hot_count(self) -> int:
        """The number of values in memory."""
        return len(self._hot)

    @property
    def stored_bytes(self) -> int:
        """The size of the values in the store as of the last step, with their keys and the index."""
        keys_bytes = KEYS_BYTES * (len(self._stored_bytes) + self._cold_count)
        return self._hot_bytes + self._cold_bytes + keys_bytes

    @property
    def held_bytes(self) -> int:
        """The approximate memory of the hot values that the store has."""
        return self._hot_bytes * self._memory_per_stored_byte

    def get(self, trace_id: bytes) -> T | None:
        """Return the value of a trace, read into memory if it is cold; None when there is none."""
        value = self._hot.get(trace_id)
        if value is None and self._cold_count and self._cold_ids.may_have(trace_id):
            return self._warm(trace_id)
        return value

    def peek(self, trace_id: bytes) -> T | None:
        """Return the value of a trace; a cold one stays cold, and changes to it are not kept."""
        value = self._hot.get(trace_id)
        if value is None and self._cold_count and self._cold_ids.may_have(trace_id):
            stored = self._stored(trace_id)
            return None if stored is None else stored[0]
        return value

    def put(self, trace_id: bytes, value: T) -> None:
        """Add a value, or record that a hot one changed."""
        self._hot[trace_id] = value
        self.changed.add(trace_id)

    def schedule(self, trace_id: bytes, value: T, due: int) -> None:
        """Move the timer of a value that `put` knows to this tick."""
        if value.due != due:
            if trace_id in self._hot:
                self._wheel.cancel(value.due, trace_id)
            value.due = due
        self._wheel.schedule(due, trace_id)
        self._hot[trace_id] = value
        self.changed.add(trace_id)

    def due(self, until: int) -> Iterator[tuple[int, bytes, T]]:
        """Yield what is due up to and including a tick, by tick and then by id, including what is scheduled meanwhile.

        The caller must reschedule or remove each value.

        Raises:
            DamagedError: the store lacks a value.
        """
        hot = self._hot
        while (tick := self._next_due()) is not None and tick <= until:
            trace_ids: Iterable[bytes] = self._wheel.pop(tick)
            has_cold = self._cold_dues.count(tick) > 0
            if has_cold:
                trace_ids = merge(trace_ids, self._cold_due(tick))
            for trace_id in trace_ids:
                value = hot.get(trace_id) or self.get(trace_id)
                if value is not None and value.due == tick:
                    yield tick, trace_id, value
            if has_cold:
                self._index_done_until = tick
                if self._cold_dues.count(tick):
                    raise DamagedError(f"the store lacks values that are due at tick {tick}")

    def restore(self, trace_id: bytes, value: T, size_bytes: int) -> None:
        """Add a value that the store has, as a cold one, with the size of its stored form."""
        self._add_cold(trace_id, value.due, size_bytes)
        if len(self._to_index) >= INDEXED_AT_ONCE:
            self._index()

    def remove(self, trace_id: bytes) -> None:
        """Remove a value."""
        value = self._hot.pop(trace_id, None) or self.get(trace_id)
        if value is None:
            return
        self._hot.pop(trace_id, None)
        self._wheel.cancel(value.due, trace_id)
        size_bytes = self._stored_bytes.pop(trace_id, None)
        if size_bytes is not None:
            self._hot_bytes -= size_bytes
            self._removed.add(trace_id)
        if trace_id in self._removed:
            self.changed.add(trace_id)
        else:
            self.changed.discard(trace_id)

    def clear(self) -> None:
        """Remove all values."""
        self.is_cleared = True
        self.changed.clear()
        self._hot.clear()
        self._stored_bytes.clear()
        self._removed.clear()
        self._hot_bytes = self._cold_bytes = self._cold_count = 0
        self._wheel.clear()
        self._cold_ids.clear()
        self._cold_dues = RefCounts()
        self._to_index.clear()

    def changes(self) -> Iterator[tuple[bytes, T | None]]:
        """Yield what the store does not know yet; None stands for a removed value."""
        hot = self._hot
        for trace_id in self.changed:
            yield trace_id, hot.get(trace_id)

    def mark_written(self, sizes_bytes: Mapping[bytes, int]) -> None:
        """Record that all changes are on disk, with these sizes."""
        for trace_id, size_bytes in sizes_bytes.items():
            self._note_size(trace_id, size_bytes)
        self.changed.clear()
        self._removed.clear()
        self.is_cleared = False

    def cool(self, limit_bytes: int) -> None:
        """Move the values that changed longest ago to disk, until the others fit in `limit_bytes`."""
        table = self._table
        if table is None:
            return
        if self._index_done_until is not None:
            table.drop_index(self._index_done_until)
            self._index_done_until = None
        if self.held_bytes > limit_bytes:
            for trace_id in list(self._stored_bytes):
                if trace_id not in self.changed and not self._is_pinned(self._hot[trace_id]):
                    self._cool_one(trace_id)
                    if self.held_bytes <= limit_bytes:
                        break
            self._index()

    def _is_pinned(self, value: T) -> bool:
        return self._is_pinned_value is not None and self._is_pinned_value(value)

    def _cool_one(self, trace_id: bytes) -> None:
        value = self._hot.pop(trace_id)
        size_bytes = self._stored_bytes.pop(trace_id)
        self._hot_bytes -= size_bytes
        self._wheel.cancel(value.due, trace_id)
        self._add_cold(trace_id, value.due, size_bytes)

    def _add_cold(self, trace_id: bytes, due: int, size_bytes: int) -> None:
        self._cold_ids.add(trace_id)
        self._cold_dues.add(due)
        self._cold_count += 1
        self._cold_bytes += size_bytes
        self._to_index.append((due, trace_id))

    def _index(self) -> None:
        if self._to_index and self._table is not None:
            for at in range(0, len(self._to_index), INDEXED_AT_ONCE):
                self._table.index_due(self._to_index[at : at + INDEXED_AT_ONCE])
            self._to_index.clear()

    def _stored(self, trace_id: bytes) -> tuple[T, int] | None:
        """Return what the table has of a trace that is not hot."""
        return None if self._table is None or trace_id in self._removed else self._table.get(trace_id)

    def _warm(self, trace_id: bytes) -> T | None:
        stored = self._stored(trace_id)
        if stored is None:
            return None
        value, size_bytes = stored
        self._cold_count -= 1
        self._cold_bytes -= size_bytes
        self._cold_ids.remove(trace_id)
        self._cold_dues.remove(value.due)
        self._hot[trace_id] = value
        self._wheel.schedule(value.due, trace_id)
        self._note_size(trace_id, size_bytes)
        return value

    def _note_size(self, trace_id: bytes, size_bytes: int) -> None:
        self._hot_bytes += size_bytes - self._stored_bytes.pop(trace_id, 0)
        self._stored_bytes[trace_id] = size_bytes

    def _next_due(self) -> int | None:
        hot, cold = self._wheel.lowest(), self._cold_dues.lowest()
        if hot is None or cold is None:
            return cold if hot is None else hot
        return min(hot, cold)

    def _cold_due(self, tick: int) -> Iterator[bytes]:
        self._index()
        if self._table is not None:
            for trace_id in self._table.due(tick):
                if trace_id not in self._hot and trace_id not in self._removed:
                    yield trace_id

    def _cold_trace_ids(self) -> Iterator[bytes]:
        if self._table is not None:
            for trace_id in self._table.trace_ids():
                if trace_id not in self._hot and trace_id not in self._removed:
                    yield trace_id
