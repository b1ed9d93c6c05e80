"""Reads the records of a reader's inputs from Kafka, without a consumer group and without commits.

In: inputs. Out: messages, each input in the order of its offsets, and the ends among them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Protocol

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from streams.config.settings import Settings
from streams.errors import StateError
from streams.ingest.watermark_alignment import PausedPartitions
from streams.kafka.clients import GONE, REPLAY_CONSUMER
from streams.kafka.unreadable import seek
from streams.replay.plan import Input
from streams.windows.clock import Source

BATCH_BYTES = 2_000_000
BATCH_COUNTS = (10, 5000)
WEIGHED = 16
"""One of this many messages is weighed to estimate how large they are."""
WAIT_S = 0.02
"""The longest wait for a full batch, during which nothing else is done."""


class Feed(Protocol):
    """The source of a reader's records."""

    def take(self, paused: Collection[Source]) -> list[Message]:
        """Return the next messages, none from a paused input: records, and events of the client."""

    def resume(self, position: TopicPartition) -> None:
        """Continue at this offset of an input."""

    def finish(self, source: Source) -> None:
        """Stop reading this input."""

    def close(self) -> None:
        """Stop reading."""


class KafkaFeed:
    """Reads from Kafka."""

    def __init__(self, settings: Settings, inputs: Iterable[Input]) -> None:
        # The client requires a group id: no group is joined.
        group = {"group.id": settings.group("readers")}
        self._consumer = Consumer({**settings.client(REPLAY_CONSUMER), **group})
        self._pauses = PausedPartitions(self._consumer)
        self._open = {each.source for each in inputs}
        self._count = BATCH_COUNTS[0]
        self._consumer.assign([TopicPartition(*each.source, each.begin) for each in inputs])

    def take(self, paused: Collection[Source]) -> list[Message]:
        """Return messages as `Feed.take` does."""
        self._pauses.pause(frozenset(paused) & self._open, "ahead")
        messages = self._consumer.consume(self._count, timeout=WAIT_S)
        self._adapt([len(message.value() or b"") for message in messages[::WEIGHED] if message.error() is None])
        return messages

    def _adapt(self, sizes_bytes: Sequence[int]) -> None:
        if sizes_bytes:
            least, most = BATCH_COUNTS
            self._count = min(most, max(least, BATCH_BYTES * len(sizes_bytes) // max(1, sum(sizes_bytes))))

    def resume(self, position: TopicPartition) -> None:
        """Continue as `Feed.resume` does."""
        seek(self._consumer, position)

    def finish(self, source: Source) -> None:
        """Finish as `Feed.finish` does."""
        self._open.discard(source)
        self._pauses.forget([source])
        self._consumer.incremental_unassign([TopicPartition(*source)])

    def close(self) -> None:
        """Close as `Feed.close` does."""
        self._consumer.close()


def check(message: Message, error: KafkaError) -> None:
    """Raise `StateError` if reading cannot continue after this error."""
    code = error.code()
    if code in _STOPS:
        raise StateError(
            f"reading {message.topic()} failed: {error.str()}",
            action="check that the topic exists and its retention does not delete what is being read, then start again",
        )
    if error.fatal() or code in _REFUSED:
        raise StateError(f"{message.topic()} cannot be read: {error.str()}", action="check the ACLs of this user")


_STOPS = frozenset({GONE, KafkaError.OFFSET_OUT_OF_RANGE, KafkaError.UNKNOWN_TOPIC_OR_PART})
_REFUSED = frozenset({KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED})
