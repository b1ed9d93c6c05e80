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

AHEAD_MS = 60_000
REASONS = ("ahead", "unconfirmed")


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a source partition stands: the record times at which it began and that it has reached (None: no record)."""

    began_ms: int | None
    reached_ms: int | None
    at_end: bool = False


def standings(sources: Mapping[Source, SourcePartition]) -> dict[Source, Standing]:
    """Where each source partition stands."""
    return {at: Standing(each.began_ms, each.time.reached_ms, each.at_end) for at, each in sources.items()}


def ahead(standings: Mapping[Source, Standing], paused: Collection[Source] = frozenset()) -> frozenset[Source]:
    """Those more than a minute ahead of the slowest; one that is paused goes on when it is half as far ahead.

    A partition at its end is not slow: there is nothing to wait for. The slowest one is never ahead, so one always
    goes on.

    >>> slow, fast = Standing(0, 5_000), Standing(0, 66_000)
    >>> ahead({("spans", 0): slow, ("spans", 1): fast})
    frozenset({('spans', 1)})
    """
    reading = {source: each for source, each in standings.items() if not each.at_end}
    slowest_ms = _slowest_ms(reading.values())
    if slowest_ms is None:
        return frozenset()
    return frozenset(
        source
        for source, each in reading.items()
        if each.reached_ms is not None
        and each.reached_ms - slowest_ms > (AHEAD_MS // 2 if source in paused else AHEAD_MS)
    )


def _slowest_ms(reading: Iterable[Standing]) -> int | None:
    """How far the slowest is; one without a record yet is taken to be where the others began."""
    levels_ms = [each.began_ms if each.reached_ms is None else each.reached_ms for each in reading]
    known_ms = [level for level in levels_ms if level is not None]
    if len(known_ms) < len(levels_ms):
        known_ms += [each.began_ms for each in reading if each.began_ms is not None]
    return min(known_ms, default=None)


class Pauses:
    """What is paused in a consumer."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self.paused: frozenset[Source] = frozenset()

    def pause(self, wanted: frozenset[Source], reason: str) -> None:
        """Pauses just these; `reason` is one of `REASONS`."""
        if resumed := self.paused - wanted:
            self._consumer.resume(_places(resumed))
        if added := wanted - self.paused:
            self._consumer.pause(_places(added))
        self.paused = wanted
        for each in REASONS:
            metrics.PARTITIONS_PAUSED.labels(each).set(len(wanted) if each == reason else 0)

    def begin(self, sources: Iterable[Source]) -> None:
        """These are assigned anew; nothing is paused."""
        self._consumer.resume(_places(sources))
        self.forget(self.paused)

    def forget(self, sources: Iterable[Source]) -> None:
        """These are another worker's."""
        self.paused -= {*sources}


def _places(sources: Iterable[Source]) -> list[TopicPartition]:
    return [TopicPartition(*source) for source in sources]
