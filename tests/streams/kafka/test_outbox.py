"""Messages in flights, and the offsets that may be committed after them."""

from __future__ import annotations

import random

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from streams.errors import StateError
from streams.kafka.outbox import MAX_FLIGHTS, PRODUCER, ROOM_BYTES, Outbox
from tests.support.record import read_topic
from topics.cluster import admin

pytestmark = pytest.mark.broker

LIMIT_BYTES = 20_000
CONFIRM_S = 30
AWAY = {"bootstrap.servers": "127.0.0.1:1", "log_level": 0, **PRODUCER}


@pytest.fixture
def topic(kafka: str, fresh_prefix: str) -> str:
    """A topic of two partitions that refuses large messages."""
    name = f"{fresh_prefix}facts"
    client = AdminClient({"bootstrap.servers": kafka})
    client.create_topics([NewTopic(name, 2, config={"max.message.bytes": str(LIMIT_BYTES)})])[name].result()
    admin.wait_until_available(client, [name])
    return name


@pytest.fixture
def outbox(kafka: str) -> Outbox:
    """An outbox with ingest's settings."""
    return Outbox({"bootstrap.servers": kafka, **PRODUCER})


def committed(outbox: Outbox) -> list[tuple[str, int, int]]:
    """Return what may be committed since the last call."""
    return sorted((at.topic, at.partition, at.offset) for at in outbox.take_confirmed())


def test_confirmed_flight_may_be_committed(kafka: str, topic: str, outbox: Outbox) -> None:
    """When all messages of a flight are on the topic, its offsets may be committed, once."""
    outbox.send(topic, b"one", None, 0)
    outbox.send(topic, b"two", b"key", 1, [("reason", "a")])
    outbox.end_flight([TopicPartition("source", 0, 5)])

    is_confirmed = outbox.wait(CONFIRM_S)

    assert is_confirmed
    assert [("source", 0, 5)] == committed(outbox)
    assert [] == committed(outbox)
    assert [(None, b"one"), (b"key", b"two")] == [(frame.key, frame.value) for frame in read_topic(kafka, topic)]


def test_nothing_may_be_committed_before_it_is_confirmed(topic: str, outbox: Outbox) -> None:
    """A message that was only sent is not confirmed."""
    outbox.send(topic, b"one", None, 0)
    outbox.end_flight([TopicPartition("source", 0, 5)])

    assert [] == committed(outbox)


def test_flight_has_only_the_messages_before_its_end(topic: str, outbox: Outbox) -> None:
    """A message belongs to the flight that ends after it."""
    outbox.end_flight([TopicPartition("source", 0, 5)])
    outbox.send(topic, b"one", None, 0)
    outbox.poll()

    assert [("source", 0, 5)] == committed(outbox)


def test_newest_offset_of_each_partition_is_committed(topic: str, outbox: Outbox) -> None:
    """Of several flights only the last offset of each source partition remains."""
    for offset in range(3):
        outbox.send(topic, b"x", None, offset % 2)
        outbox.end_flight([TopicPartition("source", 0, offset), TopicPartition("source", 1, 10 * offset)])

    outbox.wait(CONFIRM_S)

    assert [("source", 0, 2), ("source", 1, 20)] == committed(outbox)


def test_flights_are_limited(kafka: str, topic: str, outbox: Outbox) -> None:
    """With the maximum of open flights there is no room, so a slow broker slows ingest and does not fill memory."""
    for number in range(MAX_FLIGHTS):
        outbox.send(topic, str(number).encode(), None, 0)
        outbox.end_flight([TopicPartition("source", 0, number)])
    had_room = outbox.has_room

    outbox.wait(CONFIRM_S)

    assert (False, True) == (had_room, outbox.has_room)
    assert list(range(MAX_FLIGHTS)) == [int(frame.value) for frame in read_topic(kafka, topic)]


def test_bytes_are_limited() -> None:
    """A few large messages leave no room either."""
    outbox = Outbox(AWAY)
    value = bytes(900_000)

    for _ in range(ROOM_BYTES // len(value)):
        outbox.send("nowhere", value, None)
    had_room = outbox.has_room
    outbox.send("nowhere", value, None)

    assert (True, False) == (had_room, outbox.has_room)


def test_forgotten_partition_is_not_committed(topic: str, outbox: Outbox) -> None:
    """A partition that moved to another worker is not committed, whether it was confirmed before or is later."""
    outbox.end_flight([TopicPartition("source", 0, 5), TopicPartition("source", 1, 6)])
    outbox.poll()
    outbox.send(topic, b"one", None, 0)
    outbox.end_flight([TopicPartition("source", 0, 7), TopicPartition("source", 1, 8)])

    outbox.forget([("source", 0)])

    outbox.wait(CONFIRM_S)
    assert [("source", 1, 8)] == committed(outbox)


def test_undelivered_message_is_an_error(topic: str, outbox: Outbox) -> None:
    """A message that the broker refuses ends ingest; neither its flight nor a later one may be committed."""
    outbox.send(topic, random.Random(1).randbytes(2 * LIMIT_BYTES), None, 0)
    outbox.end_flight([TopicPartition("source", 0, 5)])
    outbox.end_flight([TopicPartition("source", 0, 6)])

    with pytest.raises(StateError, match=r"facts were not delivered: .*Action: "):
        outbox.wait(CONFIRM_S)

    assert [] == committed(outbox)


def test_message_that_cannot_be_sent_is_an_error(kafka: str, topic: str) -> None:
    """A message that the client itself refuses gives the same error."""
    outbox = Outbox({"bootstrap.servers": kafka, **PRODUCER, "message.max.bytes": 1000})

    with pytest.raises(StateError, match=r"facts were not delivered: .*Action: "):
        outbox.send(topic, b"x" * 2000, None, 0)


def test_missing_topic_is_an_error(kafka: str, fresh_prefix: str) -> None:
    """Brokers return, a topic that does not exist does not."""
    outbox = Outbox({"bootstrap.servers": kafka, **PRODUCER, "topic.metadata.propagation.max.ms": 100})
    outbox.send(f"{fresh_prefix}nowhere", b"x", None, 0)
    outbox.end_flight([])

    with pytest.raises(StateError, match=r"facts were not delivered: .*Action: "):
        outbox.wait(CONFIRM_S)


def test_silent_broker_is_no_error() -> None:
    """Without confirmations the wait ends in time, and nothing may be committed."""
    outbox = Outbox(AWAY)
    outbox.send("nowhere", b"x", None)
    outbox.end_flight([TopicPartition("source", 0, 5)])

    is_confirmed = outbox.wait(0.2)

    assert not is_confirmed
    assert [] == committed(outbox)


def test_full_queue_does_not_delay_a_stop() -> None:
    """If the queue is full and a stop is requested, the message is dropped, and its flight is not committed."""
    outbox = Outbox({**AWAY, "queue.buffering.max.messages": 1}, is_stopping=lambda: True)
    outbox.send("nowhere", b"one", None)

    outbox.send("nowhere", b"two", None)

    outbox.end_flight([TopicPartition("source", 0, 5)])
    assert not outbox.wait(0)
    assert [] == committed(outbox)
