"""Reads topics without a lasting consumer group: from the beginning, between two offsets, or the last record."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from streams.config.settings import Settings
from streams.errors import BetraceError, NotDoneError, StateError

ANSWER_S = 30.0
QUERY_TIMEOUT_S = 3.0
TAIL_COUNT = 16
PARTITION_EOF = KafkaError._PARTITION_EOF  # noqa: SLF001, confluent-kafka has no public name for it
GONE = KafkaError._AUTO_OFFSET_RESET  # noqa: SLF001, confluent-kafka has no public name for it


Stopping = Callable[[], bool]


@contextmanager
def reading(settings: Settings, topic: str) -> Iterator[Consumer]:
    """Yield a consumer of every partition of `topic`, from the beginning.

    Raises:
        StateError: the topic does not exist, or no broker answers.
    """
    with unsubscribed(settings) as consumer:
        try:
            metadata = consumer.list_topics(topic, timeout=ANSWER_S).topics[topic]
            if metadata.error is not None:
                raise _unreadable(topic, metadata.error.str())
            consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in metadata.partitions])
            yield consumer
        except KafkaException as error:
            raise _unreadable(topic, str(error)) from error


def read(settings: Settings, topic: str) -> Iterator[Message]:
    """Yield every message of `topic` up to its current ends, partitions interleaved as they arrive.

    Raises:
        StateError: the topic cannot be read completely, or no broker answers.
    """
    with reading(settings, topic) as consumer:
        waiting = {at.partition for at in consumer.assignment()}
        deadline_s = time.monotonic() + ANSWER_S
        while waiting:
            message = consumer.poll(1.0)
            if message is None:
                if time.monotonic() > deadline_s:
                    raise _unreadable(topic, f"no answer in {ANSWER_S:.0f}s")
                continue
            deadline_s = time.monotonic() + ANSWER_S
            error = message.error()
            if error is None:
                yield message
            elif error.code() == PARTITION_EOF:
                waiting.discard(message.partition())
            else:
                raise _unreadable(topic, error.str())


def between(settings: Settings, at: TopicPartition, to_offset: int, stopping: Stopping) -> Iterator[Message]:
    """Yield the messages of one partition from `at.offset` up to but not including `to_offset`, in order.

    Raises:
        NotDoneError: no broker answers, the first messages were deleted, or `stopping` returned true.
        StateError: the brokers refuse.
    """
    if at.offset >= to_offset:
        return
    with unsubscribed(settings) as consumer:
        consumer.assign([at])
        deadline_s = time.monotonic() + ANSWER_S
        while True:
            messages = consumer.consume(500, timeout=0.2)
            if messages:
                deadline_s = time.monotonic() + ANSWER_S
            if stopping() or time.monotonic() > deadline_s:
                raise NotDoneError(f"{at.topic}[{at.partition}] was not read up to {to_offset}")
            for message in messages:
                error = message.error()
                if error is not None and error.code() != PARTITION_EOF:
                    raise _unread(at, to_offset, error)
                offset = message.offset() or 0
                if error is None and offset < to_offset:
                    yield message
                # The end has an offset, too: transaction markers may follow the last record.
                if offset >= to_offset - (error is None):
                    return


def last(settings: Settings, topic: str, number: int, stopping: Stopping) -> Message | None:
    """Return the last record of one partition, None when it has none; raises as `between` does."""
    for messages in tails(settings, topic, number, stopping):
        newest = None
        for message in messages:
            newest = message
        if newest is not None:
            return newest
    return None


def tails(settings: Settings, topic: str, number: int, stopping: Stopping) -> Iterator[Iterator[Message]]:
    """Yield the records at the end of one partition, repeatedly and more each time; raises as `between` does."""
    try:
        with unsubscribed(settings) as consumer:
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=QUERY_TIMEOUT_S)
    except KafkaException as error:
        raise NotDoneError(f"the end of {topic}[{number}] could not be queried: {error}") from error
    # Transactions leave markers between the records, and compaction leaves gaps.
    count = TAIL_COUNT
    while high > low:
        start = max(low, high - count)
        yield between(settings, TopicPartition(topic, number, start), high, stopping)
        if start == low:
            return
        count *= 8


@contextmanager
def unsubscribed(settings: Settings) -> Iterator[Consumer]:
    """Yield a consumer that joins no group and has no partitions assigned."""
    # The client requires a group id; nobody joins the group, and nothing is committed.
    consumer = Consumer(
        {
            **settings.client(),
            "group.id": settings.group("readers"),
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            # At the end of a partition the broker would wait half a second for more before it reports the end.
            "fetch.wait.max.ms": 20,
        }
    )
    try:
        yield consumer
    finally:
        consumer.close()


def _unread(at: TopicPartition, to_offset: int, error: KafkaError) -> BetraceError:
    if error.retriable() or error.code() == GONE:
        # The log was trimmed meanwhile: whoever trimmed it left a newer checkpoint.
        return NotDoneError(f"{at.topic}[{at.partition}] was not read up to {to_offset}: {error.str()}")
    return _unreadable(at.topic, error.str())


def _unreadable(topic: str, reason: str) -> StateError:
    return StateError(
        f"{topic} cannot be read: {reason}", action="check that the brokers are reachable and the topic exists"
    )
