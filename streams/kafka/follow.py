"""Reads a topic from some point on, as it grows, for tools that only observe.

In: a topic, and where to start. Out: its committed records. The reader joins no consumer group and commits nothing, so
it does not affect the stages. Records that cannot be read are skipped with a warning.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaException, Message, TopicPartition

from streams.config.settings import ClientSettings, moment_ms
from streams.errors import StateError
from streams.kafka.clients import PARTITION_EOF
from streams.kafka.reader import ANSWER_S
from streams.kafka.unreadable import UnreadableSkipper, find_end

POLL_S = 0.5

_NAMED = {"earliest": OFFSET_BEGINNING, "latest": OFFSET_END}
Starts = Mapping[int, int]
"""Where to start, by partition: an offset, or one of librdkafka's constants for the ends."""


@dataclass(frozen=True, slots=True)
class Since:
    """Where to start: one of a partition's ends, or a time in Unix ms."""

    end: int | None = None
    time_ms: int | None = None


def since(text: str, now_ms: int) -> Since:
    """Parse `earliest`, `latest`, a duration such as 2h (ago) or an RFC 3339 time.

    Raises:
        ConfigError: the text is none of these.

    >>> since("2h", 10_000_000), since("2026-01-05T12:00:00Z", 0)
    (Since(end=None, time_ms=2800000), Since(end=None, time_ms=1767614400000))
    """
    return Since(end=_NAMED[text]) if text in _NAMED else Since(time_ms=moment_ms(text, now_ms))


def follow(client: ClientSettings, topic: str, start: Since, *, until_end: bool) -> Iterator[Message]:
    """Yield the records of all partitions as they come; with `until_end`, stop at the ends once they are reached.

    Raises:
        StateError: the topic does not exist, or the brokers do not answer.
    """
    consumer = _consumer(client)
    try:
        yield from _read(consumer, topic, _starts(consumer, topic, start), _skipper(client), until_end=until_end)
    except KafkaException as error:
        raise unreadable(topic, str(error)) from error
    finally:
        consumer.close()


def read_range(
    client: ClientSettings, topic: str, partition: int, first_offset: int, last_offset: int
) -> Iterator[Message]:
    """Yield the records of one partition from the first to the last offset, except those that were deleted.

    Raises:
        StateError: the topic does not exist, or the brokers do not answer.
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
            # The client requires a group id, which `Settings.reader` sets; nobody joins the group.
            "group.id": "betrace-looks-on",
            **client,
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": 100,
            # How soon a batch that could not be read is fetched again.
            "fetch.error.backoff.ms": 100,
        }
    )


def _starts(consumer: Consumer, topic: str, start: Since) -> dict[int, int]:
    metadata = consumer.list_topics(topic, timeout=ANSWER_S).topics[topic]
    if metadata.error is not None:
        raise unreadable(topic, metadata.error.str())
    if start.time_ms is None:
        end = OFFSET_END if start.end is None else start.end
        return dict.fromkeys(metadata.partitions, end)
    times = [TopicPartition(topic, number, start.time_ms) for number in metadata.partitions]
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
    """Return the error for a topic that cannot be read."""
    return StateError(
        f"{topic} cannot be read: {reason}", action="check that the brokers are reachable and the topic exists"
    )
