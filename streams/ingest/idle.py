"""Idle ticks: advance the time of source partitions that receive no records.

In: source partitions at their end, the local clock, the end offsets of their logs. Out: advanced watermarks. The clock
is read before the ends are queried: a record at or beyond the returned end was written after the clock was read,
however long this program was suspended in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass

from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from streams.ingest.group import Source
from streams.ingest.source import SourcePartition
from streams.kafka import background
from streams.observe.logs import OncePerMinute
from topics.cluster import admin
from topics.errors import AdminError


@dataclass(frozen=True, slots=True)
class Ends:
    """The end offsets of logs, queried after `local_ms`."""

    local_ms: int
    offsets: dict[Source, int]


def query_ends(clock_ms: Callable[[], int], ends: Callable[[], dict[Source, int]]) -> Ends:
    """Read the clock, then query the ends."""
    local_ms = clock_ms()
    return Ends(local_ms, ends())


def tick(sources: Iterable[SourcePartition], ends: Ends) -> None:
    """Advance the time of the partitions that have read up to the end."""
    for source in sources:
        end = ends.offsets.get((source.topic, source.partition))
        if source.at_end and end is not None and source.next_offset >= end:
            source.time.tick_idle(local_ms=ends.local_ms)


class IdleTicks:
    """Queries the ends without waiting for them; one query at a time."""

    def __init__(self, client: AdminClient, clock_ms: Callable[[], int]) -> None:
        self._client = client
        self._clock_ms = clock_ms
        self._query: Future[Ends] | None = None
        self._repeated = OncePerMinute()

    def step(self, sources: Iterable[SourcePartition]) -> None:
        """Use the answer that has arrived."""
        if self._query is None or not self._query.done():
            return
        answer, self._query = self._query, None
        try:
            tick(sources, answer.result())
        except AdminError as error:
            self._repeated.warning(
                "query for the ends of the source topics failed, idle partitions hold the clock", error=str(error)
            )

    def request_ends(self, sources: Iterable[SourcePartition]) -> None:
        """Query the ends of the partitions that are at their end."""
        partitions = [TopicPartition(source.topic, source.partition) for source in sources if source.at_end]
        if partitions and self._query is None:
            client, clock_ms = self._client, self._clock_ms
            self._query = background.run_in_background(
                lambda: query_ends(clock_ms, lambda: admin.end_offsets(client, partitions))
            )

    def forget(self) -> None:
        """Discard an open query, because the partitions have changed."""
        self._query = None
