"""Commits source offsets without waiting for the answer.

In: offsets with metadata. Out: commits in flight. A failed commit only causes idempotent facts to be sent again at the
next start, so it is counted and otherwise ignored; waiting would block for as long as the brokers are away.
"""

from __future__ import annotations

import time

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from streams.observe import metrics
from streams.observe.logs import OncePerMinute

POLL_S = 0.05


class Commits:
    """The commits in flight. `note` must be the `on_commit` callback of the consumer that sends them."""

    def __init__(self) -> None:
        self._out = 0
        self._repeated = OncePerMinute()

    def send(self, consumer: Consumer, offsets: list[TopicPartition]) -> None:
        """Send a commit, if there is anything to commit."""
        if not offsets:
            return
        try:
            consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException as error:
            self._count(error.args[0])
        else:
            self._out += 1

    def note(self, error: KafkaError | None, _: list[TopicPartition]) -> None:
        """Take the answer to a commit; `error` is set when any part of it failed."""
        self._out -= 1
        if error is not None:
            self._count(error)

    def wait(self, consumer: Consumer, timeout_s: float) -> None:
        """Wait for the answers, for a limited time; messages that the consumer returns meanwhile are discarded."""
        deadline_s = time.monotonic() + timeout_s
        while self._out > 0 and time.monotonic() < deadline_s:
            consumer.consume(1, timeout=POLL_S)

    def _count(self, error: KafkaError) -> None:
        metrics.COMMITS_FAILED.inc()
        self._repeated.warning("offset commit failed", error=error.str())
