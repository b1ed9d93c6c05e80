"""The records of a reader's inputs, from Kafka: no consumer group, nothing is committed.

In: inputs. Out: records and ends, each input in the order of its offsets.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple, Protocol

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from streams.errors import StateError
from streams.ingest.pace import Pauses
from streams.reader import GONE, PARTITION_EOF
from streams.replay.plan import Input
from streams.settings import ClientSettings, Settings
from streams.window.clock import Source

BATCH_BYTES = 2_000_000
BATCH_COUNTS = (10, 5000)
WAIT_S = 0.1

CONSUMER: ClientSettings = {
    "enable.auto.commit": False,
    "auto.offset.reset": "error",
    "enable.partition.eof": True,
    # librdkafka's default of 1000 costs two thirds of the speed.
    "fetch.queue.backoff.ms": 5,
    "fetch.wait.max.ms": 20,
    "queued.min.messages": 100_000,
}


class Record(NamedTuple):
    """A source record; `time_ms` is its Kafka timestamp."""

    source: Source
    offset: int
    time_ms: int
    value: bytes | None


class End(NamedTuple):
    """There is nothing more to read of an input below this offset."""

    source: Source
    offset: int


class Feed(Protocol):
    """What a reader reads from."""

    def take(self, paused: Collection[Source]) -> list[Record | End]:
        """The next records, none of an input that is paused; raises `StateError` when it cannot be read on."""

    def finish(self, source: Source) -> None:
        """Nothing more is wanted of this input."""

    def close(self) -> None:
        """Nothing more is wanted."""


class KafkaFeed:
    """Reads from Kafka."""

    def __init__(self, settings: Settings, inputs: Iterable[Input]) -> None:
        # The group is only a name that the client insists on: nobody joins it.
        group = {"group.id": settings.group("readers")}
        self._consumer = Consumer({**settings.client(CONSUMER), **group})
        self._pauses = Pauses(self._consumer)
        self._open = {each.source for each in inputs}
        self._count = BATCH_COUNTS[0]
        self._consumer.assign([TopicPartition(*each.source, each.begin) for each in inputs])

    def take(self, paused: Collection[Source]) -> list[Record | End]:
        """See `Feed`."""
        self._pauses.pause(frozenset(paused) & self._open, "ahead")
        messages = self._consumer.consume(self._count, timeout=WAIT_S)
        taken = [each for message in messages if (each := _taken(message)) is not None and each.source in self._open]
        records = [each for each in taken if type(each) is Record]
        if records:
            taken_bytes = sum(len(record.value or b"") for record in records)
            least, most = BATCH_COUNTS
            self._count = min(most, max(least, BATCH_BYTES * len(records) // max(1, taken_bytes)))
        return taken

    def finish(self, source: Source) -> None:
        """See `Feed`."""
        self._open.discard(source)
        self._pauses.forget([source])
        self._consumer.incremental_unassign([TopicPartition(*source)])

    def close(self) -> None:
        """See `Feed`."""
        self._consumer.close()


def _taken(message: Message) -> Record | End | None:
    """What a message says; None when it is only a warning."""
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    error = message.error()
    if error is not None and error.code() != PARTITION_EOF:
        _check(message, error)
        return None
    if topic is None or partition is None or offset is None:
        raise StateError("kafka gave a message without a place", action="report this as a bug")
    if error is not None:
        return End((topic, partition), offset)
    return Record((topic, partition), offset, message.timestamp()[1], message.value())


def _check(message: Message, error: KafkaError) -> None:
    """Raises `StateError` when reading cannot go on."""
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
