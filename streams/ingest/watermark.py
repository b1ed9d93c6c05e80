"""The record time of one source partition in ingest.

In: record times in partition order, whether broker or producer set them, and the two readings of an idle tick. Out: for
each record the time at which it counts, and the watermark, below which no more records are expected. Times are Kafka
record timestamps in Unix ms.

Timestamps set by a broker (LogAppendTime) are trusted. Yet one that is more than `broker_skew` ahead of its neighbours
must not drag the partition's time along. A quiet night looks the same until the next record arrives, so such a record
is held back until its successor, or an idle tick, tells the two cases apart.

Timestamps set by a producer (CreateTime) may have any value. None is trusted beyond the local clock + `max_clock_skew`
or below the watermark: a record outside these bounds counts at the bound. The watermark follows only timestamps that
enough records confirm (`streams.ingest.followers`); at the end of the partition the existing records suffice, up to the
local clock. A replay passes no ends and no idle ticks, so its bounds differ: both give the same results where neither
live processing nor the replay finds a record out of bounds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, Self, TypeVar

from streams.config.settings import Settings
from streams.ingest.followers import Followers

RecordT = TypeVar("RecordT")

BROKER_BEHIND_MS = 10_000
BROKER_SKEW_MS = 3_600_000
"""How far the clocks of brokers may be ahead of each other and of this machine's."""


@dataclass(slots=True, kw_only=True)
class PartitionTime(Generic[RecordT]):
    """The time of one source partition.

    `highest_ms` is the time it has reached: the highest accepted timestamp of a broker, or what the timestamps of
    producers confirm; `read_at_ms` is the local clock at that moment. `skewed_count` counts records that were ahead of
    both neighbours and count at `highest_ms` instead, `held_back_count` those that were held back, `behind_count` those
    more than `out_of_order` behind, `out_of_bounds_count` those of producers that count at a bound; the owner resets
    them to 0. `has_broker_time`: a broker set the timestamp of the last record. No record counted later than
    `latest_ms`, confirmed or not.
    """

    out_of_order_ms: int
    idle_lag_ms: int
    max_clock_skew_ms: int
    broker_skew_ms: int = BROKER_SKEW_MS
    highest_ms: int | None = None
    read_at_ms: int = 0
    has_broker_time: bool = False
    skewed_count: int = 0
    held_back_count: int = 0
    behind_count: int = 0
    out_of_bounds_count: int = 0
    latest_ms: int = 0
    _idle_ms: int | None = None
    _held_back: tuple[int, RecordT] | None = None
    _followers: Followers = field(default_factory=Followers)
    _last_ms: int | None = None
    """The timestamp of the last record, set by a producer, while no record follows it."""

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Create the record time of a source partition before its first record."""
        return cls(
            out_of_order_ms=settings.out_of_order_ms,
            idle_lag_ms=settings.idle_lag_ms,
            max_clock_skew_ms=settings.max_clock_skew_ms,
        )

    @property
    def has_held_back(self) -> bool:
        """Whether a record is held back."""
        return self._held_back is not None

    @property
    def idle_ms(self) -> int | None:
        """The time that has passed without a record, as of the last idle tick; None before the first one."""
        return self._idle_ms

    @property
    def watermark_ms(self) -> int | None:
        """The time below which no record is expected any more; None before the first one."""
        reached_ms = self.reached_ms
        return None if reached_ms is None else reached_ms - self.out_of_order_ms

    @property
    def reached_ms(self) -> int | None:
        """The time that the partition has reached, by a record or an idle tick; None before the first one."""
        if self.highest_ms is None or self._idle_ms is None:
            return self._idle_ms if self.highest_ms is None else self.highest_ms
        return max(self.highest_ms, self._idle_ms)

    def bounds_ms(self, *, local_ms: int) -> tuple[int, int]:
        """Return the bounds between which a producer's timestamp is trusted now."""
        least_ms = max(0, self.watermark_ms or 0)
        return least_ms, max(least_ms, local_ms + self.max_clock_skew_ms)

    def observe(
        self, record_ms: int, record: RecordT, *, local_ms: int, is_broker_time: bool = True
    ) -> list[tuple[int, RecordT]]:
        """Add the next record; return the records that are now certain, in order, with the times they count at."""
        self.has_broker_time = is_broker_time
        if not is_broker_time:
            return [*self._release(record_ms, local_ms), (self._observe_producers(record_ms, local_ms), record)]
        self._stop_confirming()
        if self._held_back is None and not self._is_ahead(
            record_ms, local_ms if self.highest_ms is None else self.highest_ms
        ):
            self._accept(record_ms, local_ms)
            return [(record_ms, record)]
        if self._held_back is None:
            self._held_back = (record_ms, record)
            self.held_back_count += 1
            return []
        return [*self._release(record_ms, local_ms), *self.observe(record_ms, record, local_ms=local_ms)]

    def follow(self, record_ms: int, *, local_ms: int) -> int:
        """Add a producer's timestamp that is within the bounds; return the lower bound for the next record."""
        self.has_broker_time = False
        self._last_ms = record_ms
        self.latest_ms = max(self.latest_ms, record_ms)
        confirmed_ms = self._followers.push(record_ms)
        if confirmed_ms is not None:
            self._reach(confirmed_ms, local_ms)
        return max(0, self.watermark_ms or 0)

    def observe_batch(self, highest_ms: int, behind_count: int, *, read_at_ms: int | None) -> None:
        """Add brokers' timestamps, none held back; `read_at_ms` is None when none reached the highest.

        Timestamps of producers went to `follow` one by one instead.
        """
        self.has_broker_time = True
        self._stop_confirming()
        self.behind_count += behind_count
        if read_at_ms is not None:
            self._reach(highest_ms, read_at_ms)

    def settle(self, *, local_ms: int) -> list[tuple[int, RecordT]]:
        """Release the record held back at the end of the partition, trusted unless it lies in the local future.

        A producer's timestamp that no record follows is confirmed by the end, up to the local clock.
        """
        if self._last_ms is not None:
            self._reach(min(self._last_ms, local_ms), local_ms)
            self._last_ms = None
        return [] if self._held_back is None else self._release(self._held_back[0], local_ms)

    def tick_idle(self, *, local_ms: int) -> None:
        """Advance the time of a partition that is at its end, as queried after the local clock was read."""
        idle_ms = local_ms - self._age_ms() - self.idle_lag_ms
        self._idle_ms = idle_ms if self._idle_ms is None else max(self._idle_ms, idle_ms)

    def _age_ms(self) -> int:
        """Return how far record time is behind the local clock: as far as when the highest record was read.

        A broker's timestamps come from its clock: the next one will be later than now, however old the last record was
        when it was read. So only a small age is trusted, by which the broker's clock may be behind. The same holds for
        a producer's clock: one that is off by more than `max_clock_skew` tells nothing about the others, and none takes
        this partition's time ahead of the local clock.
        """
        age_ms = 0 if self.highest_ms is None else self.read_at_ms - self.highest_ms
        if self.has_broker_time:
            return age_ms if age_ms <= BROKER_BEHIND_MS else 0
        return age_ms if 0 <= age_ms <= self.max_clock_skew_ms else 0

    def _observe_producers(self, record_ms: int, local_ms: int) -> int:
        least_ms, most_ms = self.bounds_ms(local_ms=local_ms)
        counts_at_ms = min(max(record_ms, least_ms), most_ms)
        self.out_of_bounds_count += counts_at_ms != record_ms
        self.follow(counts_at_ms, local_ms=local_ms)
        return counts_at_ms

    def _stop_confirming(self) -> None:
        """Stop the confirmation of producers' timestamps: brokers set them now, and theirs need none."""
        if self._followers.count:
            self._followers.clear()
            self._last_ms = None

    def _reach(self, reached_ms: int, local_ms: int) -> None:
        if self.highest_ms is None or reached_ms >= self.highest_ms:
            self.highest_ms, self.read_at_ms = reached_ms, local_ms
            self.latest_ms = max(self.latest_ms, reached_ms)

    def _is_ahead(self, record_ms: int, neighbour_ms: int) -> bool:
        return record_ms - neighbour_ms > self.broker_skew_ms

    def _accept(self, record_ms: int, local_ms: int) -> None:
        if self.highest_ms is not None and record_ms < self.highest_ms - self.out_of_order_ms:
            self.behind_count += 1
        self._reach(record_ms, local_ms)

    def _release(self, next_ms: int, local_ms: int) -> list[tuple[int, RecordT]]:
        """Return the record that is held back, if there is one, when the next one has timestamp `next_ms`."""
        if self._held_back is None:
            return []
        held_ms, held = self._held_back
        self._held_back = None
        # Two skewed records in a row confirm each other, so timestamps in the local future are refused as well.
        if self._is_ahead(held_ms, min(next_ms, local_ms)):
            self.skewed_count += 1
            counts_at_ms = min(next_ms, local_ms) if self.highest_ms is None else self.highest_ms
            return [(counts_at_ms, held)]
        self._accept(held_ms, local_ms)
        return [(held_ms, held)]
