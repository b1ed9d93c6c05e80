"""Which source partitions are paused, so that one that is far ahead of the others does not fill sessions' buffer.

In: how far each partition is in record time. Out: those that wait for the slowest. Sessions keeps what it is told until
the slowest partition has passed it, so without this an hour between two partitions is an hour of facts on its disk.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from confluent_kafka import Consumer, TopicPartition

from streams.ingest.group import Source
from streams.ingest.source import SourcePartition
from streams.observe import metrics

MAX_DRIFT_MS = 60_000
REASONS = ("ahead", "unconfirmed")


@dataclass(frozen=True, slots=True)
class PartitionProgress:
    """Where a source partition stands: the record times at which it began and that it has reached (None: no record)."""

    start_record_ms: int | None
    reached_ms: int | None
    at_end: bool = False


def partition_progress(sources: Mapping[Source, SourcePartition]) -> dict[Source, PartitionProgress]:
    """Where each source partition stands."""
    return {
        at: PartitionProgress(each.start_record_ms, each.time.reached_ms, each.at_end) for at, each in sources.items()
    }


def too_far_ahead(
    progress: Mapping[Source, PartitionProgress], paused: Collection[Source] = frozenset()
) -> frozenset[Source]:
    """Those more than a minute ahead of the slowest; one that is paused goes on when it is half as far ahead.

    A partition at its end is not slow: there is nothing to wait for. The slowest one is never ahead, so one always
    goes on.

    >>> slow, fast = PartitionProgress(0, 5_000), PartitionProgress(0, 66_000)
    >>> too_far_ahead({("spans", 0): slow, ("spans", 1): fast})
    frozenset({('spans', 1)})
    """
    reading = {source: each for source, each in progress.items() if not each.at_end}
    slowest_ms = _slowest_ms(reading.values())
    if slowest_ms is None:
        return frozenset()
    return frozenset(
        source
        for source, each in reading.items()
        if each.reached_ms is not None
        and each.reached_ms - slowest_ms > (MAX_DRIFT_MS // 2 if source in paused else MAX_DRIFT_MS)
    )


def _slowest_ms(reading: Iterable[PartitionProgress]) -> int | None:
    """How far the slowest is; one without a record yet is taken to be where the others began."""
    levels_ms = [each.start_record_ms if each.reached_ms is None else each.reached_ms for each in reading]
    known_ms = [level for level in levels_ms if level is not None]
    if len(known_ms) < len(levels_ms):
        known_ms += [each.start_record_ms for each in reading if each.start_record_ms is not None]
    return min(known_ms, default=None)


class PausedPartitions:
    """What is paused in a consumer."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self.paused: frozenset[Source] = frozenset()

    def pause(self, paused: frozenset[Source], reason: str) -> None:
        """PausedPartitions just these; `reason` is one of `REASONS`."""
        if resumed := self.paused - paused:
            self._consumer.resume(_topic_partitions(resumed))
        if added := paused - self.paused:
            self._consumer.pause(_topic_partitions(added))
        self.paused = paused
        for each in REASONS:
            metrics.PARTITIONS_PAUSED.labels(each).set(len(paused) if each == reason else 0)

    def reset(self, sources: Iterable[Source]) -> None:
        """These are assigned anew; nothing is paused."""
        self._consumer.resume(_topic_partitions(sources))
        self.forget(self.paused)

    def forget(self, sources: Iterable[Source]) -> None:
        """These are another worker's."""
        self.paused -= {*sources}


def _topic_partitions(sources: Iterable[Source]) -> list[TopicPartition]:
    return [TopicPartition(*source) for source in sources]
