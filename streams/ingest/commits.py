"""Commits of source offsets, sent without waiting for the answer.

In: offsets with metadata. Out: commits on their way. One that fails costs nothing but repeated, idempotent facts at the
next start, so it is only counted; waiting for one would stand still for as long as the brokers are away.
"""

from __future__ import annotations

import time

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from streams.observe import metrics

log = structlog.get_logger()

POLL_S = 0.05


class Commits:
    """What is on its way. `note` must be the `on_commit` of the consumer that the commits are sent with."""

    def __init__(self) -> None:
        self._out = 0

    def send(self, consumer: Consumer, offsets: list[TopicPartition]) -> None:
        """Sends a commit, if there is anything to commit."""
        if not offsets:
            return
        try:
            consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException as error:
            _count(error.args[0])
        else:
            self._out += 1

    def note(self, error: KafkaError | None, _: list[TopicPartition]) -> None:
        """The answer to a commit; there is an error when any part of it failed."""
        self._out -= 1
        if error is not None:
            _count(error)

    def wait(self, consumer: Consumer, timeout_s: float) -> None:
        """Waits for the answers, at most so long; what the consumer gives meanwhile is thrown away."""
        deadline_s = time.monotonic() + timeout_s
        while self._out > 0 and time.monotonic() < deadline_s:
            consumer.consume(1, timeout=POLL_S)


def _count(error: KafkaError) -> None:
    metrics.COMMITS_FAILED.inc()
    log.warning("offsets were not committed", error=error.str())
