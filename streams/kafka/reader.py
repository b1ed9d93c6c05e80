"""Reads topics without a lasting consumer group: from the beginning, between two offsets, or the last record.

In: a topic, and a callback for ranges that cannot be read. Out: its records. Such a range is never skipped silently:
it is logged and given to the callback `on_lost`, which by default raises `StateError`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from streams.config.settings import Settings
from streams.errors import BetraceError, NotDoneError, StateError
from streams.kafka.clients import GONE, PARTITION_EOF, unsubscribed
from streams.kafka.unreadable import OnLost, UnreadableRange, UnreadableSkipper, find_batch_end

ANSWER_S = 30.0
QUERY_TIMEOUT_S = 3.0
TAIL_COUNT = 16

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


def refuse_lost(lost: UnreadableRange) -> None:
    """Raise `StateError` for a range that cannot be read."""
    topic, number = lost.source
    raise StateError(
        str(lost),
        action=f"restore these records from a replica or a backup of the log; if there is none, delete the records of "
        f"{topic}[{number}] below offset {lost.to_offset} with kafka-delete-records.sh",
    )


def read(settings: Settings, topic: str, on_lost: OnLost = refuse_lost) -> Iterator[Message]:
    """Yield every message of `topic` up to its current ends, partitions interleaved as they arrive.

    Raises:
        StateError: the topic does not exist, no broker answers, or `on_lost` raises it.
    """
    skipper = _skipper(settings, on_lost)
    with reading(settings, topic) as consumer:
        waiting = {at.partition for at in consumer.assignment()}
        deadline_s = time.monotonic() + ANSWER_S
        while waiting:
            message = consumer.poll(1.0)
            skipper.step(consumer)
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
            elif not skipper.note(message, error):
                raise _unreadable(topic, error.str())


def between(
    settings: Settings, at: TopicPartition, to_offset: int, stopping: Stopping, on_lost: OnLost = refuse_lost
) -> Generator[Message, None, None]:
    """Yield the messages of one partition from `at.offset` up to but not including `to_offset`, in order.

    A range for `on_lost` may begin before `at.offset` and end after `to_offset`.

    Raises:
        NotDoneError: no broker answers, the first messages were deleted, or `stopping` returned true.
        StateError: the brokers refuse, or `on_lost` raises it.
    """
    if at.offset >= to_offset:
        return
    skipper = _skipper(settings, on_lost)
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
                offset = message.offset() or 0
                if error is not None and error.code() != PARTITION_EOF and offset < to_offset:
                    if not skipper.note(message, error):
                        raise _unread(at, to_offset, error)
                    continue
                if error is None and offset < to_offset:
                    yield message
                # The end has an offset, too: transaction markers may follow the last record.
                if offset >= to_offset - (error is None):
                    return
            skipper.step(consumer)


def last(
    settings: Settings, topic: str, number: int, stopping: Stopping, on_lost: OnLost = refuse_lost
) -> Message | None:
    """Return the last record of one partition, None when it has none; raises as `between` does."""
    for messages in tails(settings, topic, number, stopping, on_lost):
        newest = None
        for message in messages:
            newest = message
        if newest is not None:
            return newest
    return None


def tails(
    settings: Settings, topic: str, number: int, stopping: Stopping, on_lost: OnLost = refuse_lost
) -> Iterator[Iterator[Message]]:
    """Yield the records at the end of one partition, repeatedly and more each time; raises as `between` does.

    A range that cannot be read is given to `on_lost` each time it is reached.
    """
    try:
        with unsubscribed(settings) as consumer:
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=QUERY_TIMEOUT_S)
    except KafkaException as error:
        raise NotDoneError(f"the end of {topic}[{number}] could not be queried: {error}") from error
    # Transactions leave markers between the records, and compaction leaves gaps.
    count = TAIL_COUNT
    while high > low:
        start = max(low, high - count)
        yield between(settings, TopicPartition(topic, number, start), high, stopping, on_lost)
        if start == low:
            return
        count *= 8


def _skipper(settings: Settings, on_lost: OnLost) -> UnreadableSkipper:
    return UnreadableSkipper(lambda at: find_batch_end(settings, at), on_lost)


def _unread(at: TopicPartition, to_offset: int, error: KafkaError) -> BetraceError:
    if error.retriable() or error.code() == GONE:
        # The log was trimmed meanwhile: whoever trimmed it left a newer checkpoint.
        return NotDoneError(f"{at.topic}[{at.partition}] was not read up to {to_offset}: {error.str()}")
    return _unreadable(at.topic, error.str())


def _unreadable(topic: str, reason: str) -> StateError:
    return StateError(
        f"{topic} cannot be read: {reason}", action="check that the brokers are reachable and the topic exists"
    )
