"""A topic read from some point on, as it grows, by somebody who only looks.

In: a topic, and where to begin. Out: its committed records. Nobody joins a consumer group and nothing is committed, so
that looking changes nothing for those who work. Records that cannot be read are passed over, with a warning.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaException, Message, TopicPartition

from streams.config.settings import ClientSettings, moment_ms
from streams.errors import StateError
from streams.kafka.reader import ANSWER_S, PARTITION_EOF
from streams.kafka.unreadable import UnreadableSkipper, find_end

POLL_S = 0.5

_NAMED = {"earliest": OFFSET_BEGINNING, "latest": OFFSET_END}
Starts = Mapping[int, int]
"""Where to begin, by partition: an offset, or one of librdkafka's names for the ends."""


@dataclass(frozen=True, slots=True)
class Since:
    """Where to begin: one of a partition's ends, or a time in Unix ms."""

    end: int | None = None
    time_ms: int | None = None


def since(text: str, now_ms: int) -> Since:
    """Where `earliest`, `latest`, a duration such as 2h (ago) or an RFC 3339 time begins.

    Raises:
        ConfigError: it is none of these.

    >>> since("2h", 10_000_000), since("2026-01-05T12:00:00Z", 0)
    (Since(end=None, time_ms=2800000), Since(end=None, time_ms=1767614400000))
    """
    return Since(end=_NAMED[text]) if text in _NAMED else Since(time_ms=moment_ms(text, now_ms))


def follow(client: ClientSettings, topic: str, begin: Since, *, until_end: bool) -> Iterator[Message]:
    """The records of all partitions as they come; with `until_end` only up to the ends as they are reached.

    Raises:
        StateError: there is no such topic, or the brokers do not answer.
    """
    consumer = _consumer(client)
    try:
        yield from _read(consumer, topic, _starts(consumer, topic, begin), _skipper(client), until_end=until_end)
    except KafkaException as error:
        raise unreadable(topic, str(error)) from error
    finally:
        consumer.close()


def read_range(
    client: ClientSettings, topic: str, partition: int, first_offset: int, last_offset: int
) -> Iterator[Message]:
    """The records of one partition from the first to the last offset, as far as they are still there.

    Raises:
        StateError: there is no such topic, or the brokers do not answer.
    """
    consumer = _consumer(client)
    try:
        lowest, _ = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=ANSWER_S)
        starts = {partition: max(first_offset, lowest)}
        for message in _read(consumer, topic, starts, _skipper(client), until_end=True):
            offset = message.offset()
            if offset is None or offset > last_offset:
                return
            yield message
    except KafkaException as error:
        raise unreadable(topic, str(error)) from error
    finally:
        consumer.close()


def _skipper(client: ClientSettings) -> UnreadableSkipper:
    def find(at: TopicPartition) -> int:
        probing = _consumer(client)
        try:
            return find_end(probing, at)
        finally:
            probing.close()

    return UnreadableSkipper(find)


def _consumer(client: ClientSettings) -> Consumer:
    return Consumer(
        {
            # Only a name that the client insists on, and `Settings.reader` has one; nobody joins it.
            "group.id": "betrace-looks-on",
            **client,
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": 100,
            # So soon is a batch asked for again that could not be read.
            "fetch.error.backoff.ms": 100,
        }
    )


def _starts(consumer: Consumer, topic: str, begin: Since) -> dict[int, int]:
    metadata = consumer.list_topics(topic, timeout=ANSWER_S).topics[topic]
    if metadata.error is not None:
        raise unreadable(topic, metadata.error.str())
    if begin.time_ms is None:
        end = OFFSET_END if begin.end is None else begin.end
        return dict.fromkeys(metadata.partitions, end)
    times = [TopicPartition(topic, number, begin.time_ms) for number in metadata.partitions]
    return {at.partition: at.offset for at in consumer.offsets_for_times(times, timeout=ANSWER_S)}


def _read(
    consumer: Consumer, topic: str, starts: Starts, skipper: UnreadableSkipper, *, until_end: bool
) -> Iterator[Message]:
    consumer.assign([TopicPartition(topic, number, offset) for number, offset in starts.items()])
    waiting = set(starts)
    answered_s = time.monotonic()
    while waiting or not until_end:
        message = consumer.poll(POLL_S)
        skipper.step(consumer)
        if message is None:
            if until_end and time.monotonic() - answered_s > ANSWER_S:
                raise unreadable(topic, f"no answer in {ANSWER_S:.0f}s")
            continue
        answered_s = time.monotonic()
        error = message.error()
        if error is None:
            yield message
        elif error.code() == PARTITION_EOF:
            waiting.discard(message.partition() or 0)
        elif not skipper.note(message, error):
            raise unreadable(topic, error.str())


def unreadable(topic: str, reason: str) -> StateError:
    """What to say of a topic that cannot be read."""
    return StateError(
        f"{topic} cannot be read: {reason}", action="see whether the brokers answer and the topic is there"
    )
