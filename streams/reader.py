"""A topic read from its beginning to its end as it is now, with no consumer group that outlives it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from streams.errors import StateError
from streams.settings import Settings

ANSWER_S = 30.0
PARTITION_EOF = KafkaError._PARTITION_EOF  # noqa: SLF001, confluent-kafka has no public name for it


@contextmanager
def reading(settings: Settings, topic: str) -> Iterator[Consumer]:
    """A consumer of every partition of `topic`, from the beginning.

    Raises:
        StateError: there is no such topic, or no broker answers.
    """
    # The group is only a name that the client insists on: nothing is committed and nobody joins.
    consumer = Consumer(
        {
            **settings.client(),
            "group.id": settings.group("readers"),
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            # At a partition's end the broker would wait for more for half a second before it says so.
            "fetch.wait.max.ms": 20,
        }
    )
    try:
        metadata = consumer.list_topics(topic, timeout=ANSWER_S).topics[topic]
        if metadata.error is not None:
            raise _unreadable(topic, metadata.error.str())
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in metadata.partitions])
        yield consumer
    except KafkaException as error:
        raise _unreadable(topic, str(error)) from error
    finally:
        consumer.close()


def read(settings: Settings, topic: str) -> Iterator[Message]:
    """Every message of `topic`, partition by partition as they come, up to the ends as they are now.

    Raises:
        StateError: it cannot be read whole.
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


def _unreadable(topic: str, reason: str) -> StateError:
    return StateError(
        f"{topic} cannot be read: {reason}", action="see whether the brokers answer and the topic is there"
    )
