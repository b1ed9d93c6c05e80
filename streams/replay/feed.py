"""The records of a reader's inputs, from Kafka: no consumer group, nothing is committed.

In: inputs. Out: messages, each input in the order of its offsets, and the ends among them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Protocol

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from streams.config.settings import Settings
from streams.errors import StateError
from streams.ingest.watermark_alignment import PausedPartitions
from streams.kafka.clients import REPLAY_CONSUMER
from streams.kafka.reader import GONE
from streams.kafka.unreadable import seek
from streams.replay.plan import Input
from streams.windows.clock import Source

BATCH_BYTES = 2_000_000
BATCH_COUNTS = (10, 5000)
WEIGHED = 16
"""One message of so many tells how large they are."""
WAIT_S = 0.02
"""A batch that is not full is waited for so long, in which nothing else is done."""


class Feed(Protocol):
    """What a reader reads from."""

    def take(self, paused: Collection[Source]) -> list[Message]:
        """The next messages, none of an input that is paused: records, and whatever else the client has to say."""

    def go_on(self, at: TopicPartition) -> None:
        """Goes on at this offset of an input."""

    def finish(self, source: Source) -> None:
        """Nothing more is wanted of this input."""

    def close(self) -> None:
        """Nothing more is wanted."""


class KafkaFeed:
    """Reads from Kafka."""

    def __init__(self, settings: Settings, inputs: Iterable[Input]) -> None:
        # The group is only a name that the client insists on: nobody joins it.
        group = {"group.id": settings.group("readers")}
        self._consumer = Consumer({**settings.client(REPLAY_CONSUMER), **group})
        self._pauses = PausedPartitions(self._consumer)
        self._open = {each.source for each in inputs}
        self._count = BATCH_COUNTS[0]
        self._consumer.assign([TopicPartition(*each.source, each.begin) for each in inputs])

    def take(self, paused: Collection[Source]) -> list[Message]:
        """See `Feed`."""
        self._pauses.pause(frozenset(paused) & self._open, "ahead")
        messages = self._consumer.consume(self._count, timeout=WAIT_S)
        self._adapt([len(message.value() or b"") for message in messages[::WEIGHED] if message.error() is None])
        return messages

    def _adapt(self, sizes_bytes: Sequence[int]) -> None:
        if sizes_bytes:
            least, most = BATCH_COUNTS
            self._count = min(most, max(least, BATCH_BYTES * len(sizes_bytes) // max(1, sum(sizes_bytes))))

    def go_on(self, at: TopicPartition) -> None:
        """See `Feed`."""
        seek(self._consumer, at)

    def finish(self, source: Source) -> None:
        """See `Feed`."""
        self._open.discard(source)
        self._pauses.forget([source])
        self._consumer.incremental_unassign([TopicPartition(*source)])

    def close(self) -> None:
        """See `Feed`."""
        self._consumer.close()


def check(message: Message, error: KafkaError) -> None:
    """Raises `StateError` when reading cannot go on after this error."""
    code = error.code()
    if code in _STOPS:
        raise StateError(
            f"{message.topic()} cannot be read on: {error.str()}",
            action="see whether the topic is there and its retention deletes what is read, then start again",
        )
    if error.fatal() or code in _REFUSED:
        raise StateError(f"{message.topic()} cannot be read: {error.str()}", action="see what Kafka allows this user")


_STOPS = frozenset({GONE, KafkaError.OFFSET_OUT_OF_RANGE, KafkaError.UNKNOWN_TOPIC_OR_PART})
_REFUSED = frozenset({KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED})
