"""The records of a reader's inputs, from Kafka: no consumer group, nothing is committed.

In: inputs. Out: records and ends, each input in the order of its offsets.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from streams.errors import StateError
from streams.ingest.pace import Pauses
from streams.reader import GONE, PARTITION_EOF
from streams.replay.plan import Input
from streams.settings import ClientSettings, Settings
from streams.window.clock import Source

BATCH_BYTES = 2_000_000
BATCH_COUNTS = (10, 5000)
WAIT_S = 0.02
"""A batch that is not full is waited for so long, in which nothing else is done."""

CONSUMER: ClientSettings = {
    "enable.auto.commit": False,
    "auto.offset.reset": "error",
    "enable.partition.eof": True,
    # librdkafka's default of 1000 costs two thirds of the speed.
    "fetch.queue.backoff.ms": 5,
    "fetch.wait.max.ms": 20,
    "fetch.message.max.bytes": 4 << 20,
    "queued.min.messages": 100_000,
}

Record: TypeAlias = tuple[int, int, bytes | None]
"""A source record: offset, Kafka timestamp in Unix ms, value. There are millions; a struct costs 0.2 µs more."""


@dataclass(slots=True)
class Taken:
    """What a feed gives at once: records by input, and the inputs of which there is nothing more below an offset."""

    records: dict[Source, list[Record]] = field(default_factory=dict)
    ends: dict[Source, int] = field(default_factory=dict)


class Feed(Protocol):
    """What a reader reads from."""

    def take(self, paused: Collection[Source]) -> Taken:
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

    def take(self, paused: Collection[Source]) -> Taken:
        """See `Feed`."""
        self._pauses.pause(frozenset(paused) & self._open, "ahead")
        taken = Taken()
        add = taken.records.setdefault
        for message in self._consumer.consume(self._count, timeout=WAIT_S):
            error = message.error()
            if error is None:
                source, offset = _place(message)
                # What comes after an end was not there when the replay began.
                if source not in taken.ends:
                    add(source, []).append((offset, message.timestamp()[1], message.value()))
            elif error.code() == PARTITION_EOF:
                source, offset = _place(message)
                taken.ends[source] = offset
            else:
                _check(message, error)
        self._adapt(taken)
        return taken

    def _adapt(self, taken: Taken) -> None:
        sizes_bytes = [len(value or b"") for records in taken.records.values() for _, _, value in records]
        if sizes_bytes:
            least, most = BATCH_COUNTS
            self._count = min(most, max(least, BATCH_BYTES * len(sizes_bytes) // max(1, sum(sizes_bytes))))

    def finish(self, source: Source) -> None:
        """See `Feed`."""
        self._open.discard(source)
        self._pauses.forget([source])
        self._consumer.incremental_unassign([TopicPartition(*source)])

    def close(self) -> None:
        """See `Feed`."""
        self._consumer.close()


def _place(message: Message) -> tuple[Source, int]:
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    if topic is None or partition is None or offset is None:
        raise StateError("kafka gave a message without a place", action="report this as a bug")
    return (topic, partition), offset


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
