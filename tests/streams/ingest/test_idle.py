"""Idle ticks: the order of the two readings, and what they advance."""

from __future__ import annotations

from dataclasses import dataclass, field

from confluent_kafka import TopicPartition

from streams.ingest.group import Source
from streams.ingest.idle import Ends, query_ends, tick
from streams.ingest.source import Projected, SourcePartition, StartPosition
from streams.ingest.watermark import PartitionTime
from tests.support.builders import TOPIC

SOURCE = (TOPIC, 0)
NOW_MS = 1_000_000
STOP_MS = 6_000


def at_the_end() -> SourcePartition:
    """Create a partition of which one record was read at `NOW_MS`, up to its end."""
    time = PartitionTime[Projected](out_of_order_ms=200, idle_lag_ms=100, max_clock_skew_ms=5_000, broker_skew_ms=5_000)
    source = SourcePartition.starting_at(
        TopicPartition(*SOURCE), StartPosition(offset=0, epoch=1), "id", 1, time, now_ms=NOW_MS
    )
    source.add_record(NOW_MS, Projected(0, []), local_ms=NOW_MS)
    source.reach_end(1, local_ms=NOW_MS)
    return source


@dataclass(slots=True)
class World:
    """A clock, and a log with a record every second; this program is suspended after each query."""

    now_ms: int = NOW_MS
    asked: list[str] = field(default_factory=list)

    def clock_ms(self) -> int:
        """Return the local clock."""
        self.asked.append("clock")
        return self._stand_still(self.now_ms)

    def ends(self) -> dict[Source, int]:
        """Return the log's end."""
        self.asked.append("ends")
        return {SOURCE: self._stand_still(1 + (self.now_ms - NOW_MS) // 1000)}

    def _stand_still(self, answer: int) -> int:
        self.now_ms += STOP_MS
        return answer


def test_clock_is_read_before_the_ends_are_queried() -> None:
    """If the program is suspended between the two, no tick passes a record that is not read yet."""
    source, world = at_the_end(), World()

    ends = query_ends(world.clock_ms, world.ends)
    tick([source], ends)

    first_unread_ms = NOW_MS + 1000
    watermark_ms = source.time.watermark_ms
    assert watermark_ms is not None
    assert watermark_ms <= first_unread_ms
    assert (["clock", "ends"], NOW_MS) == (world.asked, ends.local_ms)


def test_tick_moves_a_partition_at_its_end() -> None:
    """What is read up to the returned end is complete up to the time before the query."""
    source = at_the_end()

    tick([source], Ends(NOW_MS + STOP_MS, {SOURCE: 1}))

    assert NOW_MS + STOP_MS - 300 == source.time.watermark_ms


def test_tick_waits_for_unread_records() -> None:
    """A partition whose log has grown since is not at its end, whatever the consumer reported."""
    source = at_the_end()

    tick([source], Ends(NOW_MS + STOP_MS, {SOURCE: 2}))

    assert NOW_MS - 200 == source.time.watermark_ms


def test_tick_of_a_partition_that_reads_on() -> None:
    """A record came after the query: the partition has a time of its own, and perhaps a record held back."""
    source = at_the_end()
    source.add_record(NOW_MS + 90_000, Projected(1, []), local_ms=NOW_MS)

    tick([source], Ends(NOW_MS + STOP_MS, {SOURCE: 1}))

    assert NOW_MS - 200 == source.time.watermark_ms


def test_tick_of_a_partition_that_was_not_queried() -> None:
    """A partition that reached its end after the query has no answer, and waits for the next."""
    source = at_the_end()

    tick([source], Ends(NOW_MS + STOP_MS, {}))

    assert NOW_MS - 200 == source.time.watermark_ms
