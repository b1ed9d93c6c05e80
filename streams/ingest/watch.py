"""Watches the source topics: whether they exist, and whether they are still the topics that are being read.

In: the ids of the topics that are being read. Out: the topics that were deleted and recreated meanwhile. Their offsets
start over, which the consumer notices only if its position is beyond the new end.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import Future

from confluent_kafka.admin import AdminClient

from streams.errors import StateError
from streams.kafka import background
from streams.observe.logs import OncePerMinute
from topics.cluster import admin
from topics.errors import AdminError

QUERY_INTERVAL_S = 5.0
RETRY_INTERVAL_S = 1.0
MAX_MISSES = 3


class TopicWatch:
    """The ids of the source topics according to the brokers; never waits for the answer."""

    def __init__(self, client: AdminClient, topics: tuple[str, ...]) -> None:
        self._client = client
        self._topics = topics
        self._query: Future[dict[str, str]] | None = None
        self._due_s = 0.0
        self._misses = 0
        self._repeated = OncePerMinute()

    def step(self, reading: Mapping[str, str]) -> set[str]:
        """Return the names of the topics whose id is not the one in `reading`.

        Raises:
            StateError: several queries in a row did not find a source topic.
        """
        if self._query is None:
            if time.monotonic() >= self._due_s:
                self._query = background.run_in_background(lambda: admin.topic_ids(self._client, self._topics))
            return set()
        if not self._query.done():
            return set()
        answer, self._query = self._query, None
        try:
            return self._compare(answer.result(), reading)
        except AdminError as error:
            self._repeated.warning("query for the source topics failed, retrying", error=str(error))
            self._due_s = time.monotonic() + QUERY_INTERVAL_S
            return set()

    def _compare(self, there: dict[str, str], reading: Mapping[str, str]) -> set[str]:
        missing = [topic for topic in self._topics if topic not in there]
        # A broker that has just restarted may not know every topic yet.
        self._misses = self._misses + 1 if missing else 0
        self._due_s = time.monotonic() + (RETRY_INTERVAL_S if missing else QUERY_INTERVAL_S)
        if self._misses >= MAX_MISSES:
            raise StateError(
                f"source topic not found: {', '.join(missing)}",
                action="create it, or change --source-topics, then start again",
            )
        return {topic for topic, topic_id in reading.items() if there.get(topic, topic_id) != topic_id}
