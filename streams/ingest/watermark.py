"""The record time of one source partition, as ingest sees it.

In: record times in partition order, who stamped them, and the two readings of an idle tick. Out: for each record the
time it counts at, and the watermark: below it no more records are expected. Times are Kafka record timestamps in Unix
ms.

A broker's stamps (LogAppendTime) are believed. Still, one more than `broker_skew` ahead of its neighbours must not drag
the partition's time with it, but a quiet night looks the same until the next record comes. So such a record is kept
back until its successor, or an idle tick, says which of the two it was.

A producer's stamps (CreateTime) are whatever it wrote. None is believed beyond the local clock + `max_clock_skew`, nor
below the watermark: a record beyond these bounds counts at the bound. The watermark follows those stamps that enough
records confirm (`streams.ingest.followers`); at the partition's end the records there are suffice, up to the local
clock. A replay has no ends and no idle ticks on its way, so its bounds are others: where neither live processing nor
the replay counts a record out of bounds, both say the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, Self, TypeVar

from streams.config.settings import Settings
from streams.ingest.followers import Followers

RecordT = TypeVar("RecordT")

BROKER_BEHIND_MS = 10_000
BROKER_SKEW_MS = 3_600_000
"""How far the brokers' clocks may be ahead of each other and of this machine's."""


@dataclass(slots=True)
class PartitionTime(Generic[RecordT]):
    """Time of one source partition.

    `highest_ms` is the time that it has reached: the highest accepted stamp of a broker, or what producers' stamps
    confirm; `read_at_ms` is the local clock when it did. `skewed_count` counts records that were ahead of both
    neighbours and count at `highest_ms` instead, `held_back_count` those that were kept back, `behind_count` those more
    than `out_of_order` behind, `out_of_bounds_count` those of producers that count at a bound; the owner sets them to
    0. `has_broker_time`: the last record was stamped by the broker that took it in. No record counted later than
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
    """The stamp of the last record, a producer's that nothing followed yet."""

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The record time of a source partition before its first record."""
        return cls(settings.out_of_order_ms, settings.idle_lag_ms, settings.max_clock_skew_ms)

    @property
    def has_held_back(self) -> bool:
        """A record is kept back."""
        return self._held_back is not None

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
        """The time that the partition has reached, or that has passed since without a record; None before the first."""
        if self.highest_ms is None or self._idle_ms is None:
            return self._idle_ms if self.highest_ms is None else self.highest_ms
        return max(self.highest_ms, self._idle_ms)

    def bounds_ms(self, *, local_ms: int) -> tuple[int, int]:
        """Between which times a producer's stamp is believed now."""
        least_ms = max(0, self.watermark_ms or 0)
        return least_ms, max(least_ms, local_ms + self.max_clock_skew_ms)

    def observe(
        self, record_ms: int, record: RecordT, *, local_ms: int, is_broker_time: bool = True
    ) -> list[tuple[int, RecordT]]:
        """Takes in the next record; returns the records that are now certain, in order, with the time they count at."""
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
        """Takes in a producer's stamp that is within the bounds; returns the lower bound for the next record."""
        self.has_broker_time = False
        self._last_ms = record_ms
        self.latest_ms = max(self.latest_ms, record_ms)
        confirmed_ms = self._followers.push(record_ms)
        if confirmed_ms is not None:
            self._reach(confirmed_ms, local_ms)
        return max(0, self.watermark_ms or 0)

    def observe_batch(self, highest_ms: int, behind_count: int, *, read_at_ms: int | None) -> None:
        """Takes in brokers' stamps of which none is kept back; `read_at_ms`: None when none was as high as the highest.

        Those of producers were told to `follow` one by one.
        """
        self.has_broker_time = True
        self._stop_confirming()
        self.behind_count += behind_count
        if read_at_ms is not None:
            self._reach(highest_ms, read_at_ms)

    def settle(self, *, local_ms: int) -> list[tuple[int, RecordT]]:
        """At the partition's end: a record kept back is believed unless it lies in the local future.

        A producer's stamp that nothing follows is confirmed by that, as far as it is not ahead of the local clock.
        """
        if self._last_ms is not None:
            self._reach(min(self._last_ms, local_ms), local_ms)
            self._last_ms = None
        return [] if self._held_back is None else self._release(self._held_back[0], local_ms)

    def tick_idle(self, *, local_ms: int) -> None:
        """The partition is at its end, asked for after `local_ms` was read: time passes here as it does locally."""
        idle_ms = local_ms - self._age_ms() - self.idle_lag_ms
        self._idle_ms = idle_ms if self._idle_ms is None else max(self._idle_ms, idle_ms)

    def _age_ms(self) -> int:
        """How far record time is behind the local clock: as far as it was when the highest record was read.

        A broker's stamps come from its clock: whatever is still to come is stamped later than now, however old the last
        record was when it was read. Only a small age is believed then: so far may the broker's clock be behind. Of a
        producer's clock it is the same: one that is further off than `max_clock_skew` says nothing of the others, and
        none takes this partition's time ahead of the local clock.
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
        """Brokers stamp the records now: what they say needs no confirmation."""
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
        """The record that is kept back, if there is one, when the next one is stamped `next_ms`."""
        if self._held_back is None:
            return []
        held_ms, held = self._held_back
        self._held_back = None
        # Two skewed records in a row confirm each other, so the local future is refused as well.
        if self._is_ahead(held_ms, min(next_ms, local_ms)):
            self.skewed_count += 1
            counts_at_ms = min(next_ms, local_ms) if self.highest_ms is None else self.highest_ms
            return [(counts_at_ms, held)]
        self._accept(held_ms, local_ms)
        return [(held_ms, held)]
