"""Watermark alignment: pauses source partitions that are far ahead, so that sessions' reorder buffer stays small.

In: how far each partition is in record time. Out: the partitions that must wait for the slowest. Sessions buffers facts
until the slowest partition has passed them; without alignment, an hour between two partitions is an hour of facts on
its disk.
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
    """The record times at which a source partition started and that it has reached (None: no record yet)."""

    start_record_ms: int | None
    reached_ms: int | None
    at_end: bool = False


def partition_progress(sources: Mapping[Source, SourcePartition]) -> dict[Source, PartitionProgress]:
    """Return the progress of each source partition."""
    return {
        at: PartitionProgress(each.start_record_ms, each.time.reached_ms, each.at_end) for at, each in sources.items()
    }


def too_far_ahead(
    progress: Mapping[Source, PartitionProgress], paused: Collection[Source] = frozenset()
) -> frozenset[Source]:
    """Return the partitions more than a minute ahead of the slowest; a paused one resumes at half of that.

    A partition at its end is not slow: there is nothing to wait for. The slowest one is never ahead, so at least one
    always continues.

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
    """Return the time of the slowest; one without a record is assumed to be where the others started."""
    levels_ms = [each.start_record_ms if each.reached_ms is None else each.reached_ms for each in reading]
    known_ms = [level for level in levels_ms if level is not None]
    if len(known_ms) < len(levels_ms):
        known_ms += [each.start_record_ms for each in reading if each.start_record_ms is not None]
    return min(known_ms, default=None)


class PausedPartitions:
    """The partitions that are paused in a consumer."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self.paused: frozenset[Source] = frozenset()

    def pause(self, paused: frozenset[Source], reason: str) -> None:
        """Pause exactly these; `reason` is one of `REASONS`."""
        if resumed := self.paused - paused:
            self._consumer.resume(_topic_partitions(resumed))
        if added := paused - self.paused:
            self._consumer.pause(_topic_partitions(added))
        self.paused = paused
        for each in REASONS:
            metrics.PARTITIONS_PAUSED.labels(each).set(len(paused) if each == reason else 0)

    def reset(self, sources: Iterable[Source]) -> None:
        """Resume all partitions, which have just been assigned anew."""
        self._consumer.resume(_topic_partitions(sources))
        self.forget(self.paused)

    def forget(self, sources: Iterable[Source]) -> None:
        """Forget partitions that moved to another worker."""
        self.paused -= {*sources}


def _topic_partitions(sources: Iterable[Source]) -> list[TopicPartition]:
    return [TopicPartition(*source) for source in sources]
