"""The record time of one source partition, as ingest sees it.

In: record times in partition order, and the two readings of an idle tick. Out: for each record the time it counts at,
and the watermark: below it no more records are expected. Times are Kafka record timestamps in Unix ms.

A record more than `max_clock_skew` ahead of its neighbours must not drag the partition's time with it, but a quiet
night looks the same until the next record comes. So such a record is kept back until its successor, or an idle tick,
says which of the two it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

RecordT = TypeVar("RecordT")


@dataclass(slots=True)
class PartitionTime(Generic[RecordT]):
    """Time of one source partition.

    `highest_ms` is the highest accepted record time, `read_at_ms` the local clock when it was read. `skewed_count`
    counts records that were ahead of both neighbours and count at `highest_ms` instead, since it was last set to 0.
    """

    out_of_order_ms: int
    idle_lag_ms: int
    max_clock_skew_ms: int
    highest_ms: int | None = None
    read_at_ms: int = 0
    skewed_count: int = 0
    _idle_ms: int | None = None
    _kept: tuple[int, RecordT] | None = None

    @property
    def has_kept(self) -> bool:
        """A record is kept back."""
        return self._kept is not None

    @property
    def watermark_ms(self) -> int | None:
        """No record below this time is expected any more; None before the first one."""
        marks_ms = [mark for mark in (self._record_mark_ms(), self._idle_ms) if mark is not None]
        return max(marks_ms, default=None)

    def observe(self, record_ms: int, record: RecordT, *, local_ms: int) -> list[tuple[int, RecordT]]:
        """Takes in the next record; returns the records that are now certain, in order, with the time they count at."""
        if self._kept is None and not self._is_ahead(
            record_ms, local_ms if self.highest_ms is None else self.highest_ms
        ):
            self._accept(record_ms, local_ms)
            return [(record_ms, record)]
        if self._kept is None:
            self._kept = (record_ms, record)
            return []
        kept_ms, kept = self._kept
        self._kept = None
        counts_at_ms = self._settle(kept_ms, record_ms, local_ms)
        return [(counts_at_ms, kept), *self.observe(record_ms, record, local_ms=local_ms)]

    def settle(self, *, local_ms: int) -> list[tuple[int, RecordT]]:
        """At the partition's end: a record kept back is believed unless it lies in the local future."""
        if self._kept is None:
            return []
        kept_ms, kept = self._kept
        self._kept = None
        return [(self._settle(kept_ms, kept_ms, local_ms), kept)]

    def tick_idle(self, *, local_ms: int) -> None:
        """The partition is at its end, asked for after `local_ms` was read: time passes here as it does locally."""
        since_ms = 0 if self.highest_ms is None else self.highest_ms - self.read_at_ms
        idle_ms = local_ms + since_ms - self.out_of_order_ms - self.idle_lag_ms
        self._idle_ms = idle_ms if self._idle_ms is None else max(self._idle_ms, idle_ms)

    def _is_ahead(self, record_ms: int, neighbour_ms: int) -> bool:
        return record_ms - neighbour_ms > self.max_clock_skew_ms

    def _accept(self, record_ms: int, local_ms: int) -> None:
        if self.highest_ms is None or record_ms >= self.highest_ms:
            self.highest_ms, self.read_at_ms = record_ms, local_ms

    def _settle(self, kept_ms: int, next_ms: int, local_ms: int) -> int:
        # Two skewed records in a row confirm each other, so the local future is refused as well.
        if self._is_ahead(kept_ms, min(next_ms, local_ms)):
            self.skewed_count += 1
            return min(next_ms, local_ms) if self.highest_ms is None else self.highest_ms
        self._accept(kept_ms, local_ms)
        return kept_ms

    def _record_mark_ms(self) -> int | None:
        return None if self.highest_ms is None else self.highest_ms - self.out_of_order_ms
