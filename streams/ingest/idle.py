"""Idle ticks: time goes on in source partitions in which nothing comes.

In: source partitions at their end, the local clock, the ends of their logs. Out: moved watermarks. The clock is read
before the ends are asked for: a record that is not below the end that was answered was written after the clock was
read, however long this program stood still in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass

import structlog
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from streams.ingest.group import Source
from streams.ingest.source import SourcePartition
from streams.kafka import background
from topics.cluster import admin
from topics.errors import AdminError

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Ends:
    """The ends of logs, asked for after `local_ms`."""

    local_ms: int
    offsets: dict[Source, int]


def query_ends(clock_ms: Callable[[], int], ends: Callable[[], dict[Source, int]]) -> Ends:
    """Reads the clock, then asks for the ends."""
    local_ms = clock_ms()
    return Ends(local_ms, ends())


def tick(sources: Iterable[SourcePartition], ends: Ends) -> None:
    """Moves the time of those that have read up to the end."""
    for source in sources:
        end = ends.offsets.get((source.topic, source.partition))
        if source.at_end and end is not None and source.next_offset >= end:
            source.time.tick_idle(local_ms=ends.local_ms)


class IdleTicks:
    """Asks for the ends without waiting for them; one question at a time."""

    def __init__(self, client: AdminClient, clock_ms: Callable[[], int]) -> None:
        self._client = client
        self._clock_ms = clock_ms
        self._query: Future[Ends] | None = None

    def step(self, sources: Iterable[SourcePartition]) -> None:
        """Takes in an answer."""
        if self._query is None or not self._query.done():
            return
        answer, self._query = self._query, None
        try:
            tick(sources, answer.result())
        except AdminError as error:
            log.warning("the ends of the source topics are not known, their clock waits", error=str(error))

    def request_ends(self, sources: Iterable[SourcePartition]) -> None:
        """Asks for the ends of those that are at their end."""
        partitions = [TopicPartition(source.topic, source.partition) for source in sources if source.at_end]
        if partitions and self._query is None:
            client, clock_ms = self._client, self._clock_ms
            self._query = background.run_in_background(
                lambda: query_ends(clock_ms, lambda: admin.end_offsets(client, partitions))
            )

    def forget(self) -> None:
        """The partitions are others now: what is asked is not about them."""
        self._query = None
