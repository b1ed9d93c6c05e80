"""The record time of one source partition, as ingest sees it.

In: record times in partition order, and the two readings of an idle tick. Out: for each record the time it counts at,
and the watermark: below it no more records are expected. Times are Kafka record timestamps in Unix ms.

A record more than `max_clock_skew` ahead of its neighbours must not drag the partition's time with it, but a quiet
night looks the same until the next record comes. So such a record is kept back until its successor, or an idle tick,
says which of the two it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Self, TypeVar

from streams.config.settings import Settings

RecordT = TypeVar("RecordT")

BROKER_BEHIND_MS = 10_000


@dataclass(slots=True)
class PartitionTime(Generic[RecordT]):
    """Time of one source partition.

    `highest_ms` is the highest accepted record time, `read_at_ms` the local clock when it was read. `skewed_count`
    counts records that were ahead of both neighbours and count at `highest_ms` instead, `kept_count` those that were
    kept back, `behind_count` those more than `out_of_order` behind; the owner sets them to 0. `has_broker_time`: the
    last record was stamped by the broker that took it in.
    """

    out_of_order_ms: int
    idle_lag_ms: int
    max_clock_skew_ms: int
    highest_ms: int | None = None
    read_at_ms: int = 0
    has_broker_time: bool = False
    skewed_count: int = 0
    kept_count: int = 0
    behind_count: int = 0
    _idle_ms: int | None = None
    _kept: tuple[int, RecordT] | None = None

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The record time of a source partition before its first record."""
        return cls(settings.out_of_order_ms, settings.idle_lag_ms, settings.max_clock_skew_ms)

    @property
    def has_kept(self) -> bool:
        """A record is kept back."""
        return self._kept is not None

    @property
    def idle_ms(self) -> int | None:
        """The time that has passed without a record, as of the last idle tick; None before the first one."""
        return self._idle_ms

    @property
    def watermark_ms(self) -> int | None:
        """No record below this time is expected any more; None before the first one."""
        reached_ms = self.reached_ms
        return None if reached_ms is None else reached_ms - self.out_of_order_ms

    @property
    def reached_ms(self) -> int | None:
        """The highest record time so far, or the time that has passed since without one; None before the first."""
        if self.highest_ms is None or self._idle_ms is None:
            return self._idle_ms if self.highest_ms is None else self.highest_ms
        return max(self.highest_ms, self._idle_ms)

    def observe(self, record_ms: int, record: RecordT, *, local_ms: int) -> list[tuple[int, RecordT]]:
        """Takes in the next record; returns the records that are now certain, in order, with the time they count at."""
        if self._kept is None and not self._is_ahead(
            record_ms, local_ms if self.highest_ms is None else self.highest_ms
        ):
            self._accept(record_ms, local_ms)
            return [(record_ms, record)]
        if self._kept is None:
            self._kept = (record_ms, record)
            self.kept_count += 1
            return []
        kept_ms, kept = self._kept
        self._kept = None
        counts_at_ms = self._settle(kept_ms, record_ms, local_ms)
        return [(counts_at_ms, kept), *self.observe(record_ms, record, local_ms=local_ms)]

    def observe_run(self, highest_ms: int, behind_count: int, *, read_at_ms: int | None) -> None:
        """Takes in records none of which is kept back; `read_at_ms` is None when none was as high as the highest."""
        self.behind_count += behind_count
        if read_at_ms is not None:
            self.highest_ms, self.read_at_ms = highest_ms, read_at_ms

    def settle(self, *, local_ms: int) -> list[tuple[int, RecordT]]:
        """At the partition's end: a record kept back is believed unless it lies in the local future."""
        if self._kept is None:
            return []
        kept_ms, kept = self._kept
        self._kept = None
        return [(self._settle(kept_ms, kept_ms, local_ms), kept)]

    def tick_idle(self, *, local_ms: int) -> None:
        """The partition is at its end, asked for after `local_ms` was read: time passes here as it does locally."""
        idle_ms = local_ms - self._age_ms() - self.idle_lag_ms
        self._idle_ms = idle_ms if self._idle_ms is None else max(self._idle_ms, idle_ms)

    def _age_ms(self) -> int:
        """How far record time is behind the local clock: as far as it was when the highest record was read.

        A broker's stamps come from its clock: whatever is still to come is stamped later than now, however old the last
        record was when it was read. Only a small age is believed then: so far may the broker's clock be behind.
        """
        age_ms = 0 if self.highest_ms is None else self.read_at_ms - self.highest_ms
        return 0 if self.has_broker_time and age_ms > BROKER_BEHIND_MS else age_ms

    def _is_ahead(self, record_ms: int, neighbour_ms: int) -> bool:
        return record_ms - neighbour_ms > self.max_clock_skew_ms

    def _accept(self, record_ms: int, local_ms: int) -> None:
        if self.highest_ms is None or record_ms >= self.highest_ms:
            self.highest_ms, self.read_at_ms = record_ms, local_ms
        elif record_ms < self.highest_ms - self.out_of_order_ms:
            self.behind_count += 1

    def _settle(self, kept_ms: int, next_ms: int, local_ms: int) -> int:
        # Two skewed records in a row confirm each other, so the local future is refused as well.
        if self._is_ahead(kept_ms, min(next_ms, local_ms)):
            self.skewed_count += 1
            return min(next_ms, local_ms) if self.highest_ms is None else self.highest_ms
        self._accept(kept_ms, local_ms)
        return kept_ms
