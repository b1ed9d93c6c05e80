"""Messages in flights, and what may be committed after them."""

from __future__ import annotations

import random

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from streams.errors import StateError
from streams.outbox import FLIGHTS, PRODUCER, Outbox
from tests.broker.record import read_topic
from topics import admin

pytestmark = pytest.mark.broker

LIMIT_BYTES = 20_000


@pytest.fixture
def topic(kafka: str, fresh_prefix: str) -> str:
    """A topic of two partitions that does not take large messages."""
    name = f"{fresh_prefix}facts"
    client = AdminClient({"bootstrap.servers": kafka})
    client.create_topics([NewTopic(name, 2, config={"max.message.bytes": str(LIMIT_BYTES)})])[name].result()
    admin.wait_until_seen(client, [name])
    return name


@pytest.fixture
def outbox(kafka: str) -> Outbox:
    """An outbox as ingest has it."""
    return Outbox({"bootstrap.servers": kafka, **PRODUCER})


def committed(outbox: Outbox) -> list[tuple[str, int, int]]:
    """What may be committed since the last time."""
    return sorted((at.topic, at.partition, at.offset) for at in outbox.take_confirmed())


def test_confirmed_flight_may_be_committed(kafka: str, topic: str, outbox: Outbox) -> None:
    """When all messages of a flight are on the topic its offsets may be committed, once."""
    outbox.send(topic, b"one", None, 0)
    outbox.send(topic, b"two", b"key", 1, [("reason", "a")])
    outbox.depart([TopicPartition("source", 0, 5)])

    outbox.wait()

    assert [("source", 0, 5)] == committed(outbox)
    assert [] == committed(outbox)
    assert [(None, b"one"), (b"key", b"two")] == [(frame.key, frame.value) for frame in read_topic(kafka, topic)]


def test_nothing_may_be_committed_before_it_is_confirmed(topic: str, outbox: Outbox) -> None:
    """What is only sent is not confirmed."""
    outbox.send(topic, b"one", None, 0)
    outbox.depart([TopicPartition("source", 0, 5)])

    assert [] == committed(outbox)


def test_messages_since_the_last_departure_are_not_of_it(topic: str, outbox: Outbox) -> None:
    """A message belongs to the flight that departs after it."""
    outbox.depart([TopicPartition("source", 0, 5)])
    outbox.send(topic, b"one", None, 0)
    outbox.poll()

    assert [("source", 0, 5)] == committed(outbox)


def test_newest_offset_of_each_partition_is_committed(topic: str, outbox: Outbox) -> None:
    """Of several flights only the last offset of each source partition is left."""
    for offset in range(3):
        outbox.send(topic, b"x", None, offset % 2)
        outbox.depart([TopicPartition("source", 0, offset), TopicPartition("source", 1, 10 * offset)])

    outbox.wait()

    assert [("source", 0, 2), ("source", 1, 20)] == committed(outbox)


def test_flights_are_limited(kafka: str, topic: str, outbox: Outbox) -> None:
    """A departure waits while too many flights are out, so a slow broker slows ingest and fills no memory."""
    for number in range(3 * FLIGHTS):
        outbox.send(topic, str(number).encode(), None, 0)
        outbox.depart([TopicPartition("source", 0, number)])
        assert len(outbox._flights) <= FLIGHTS
    outbox.wait()

    assert list(range(3 * FLIGHTS)) == [int(frame.value) for frame in read_topic(kafka, topic)]


def test_undelivered_message_is_an_error(topic: str, outbox: Outbox) -> None:
    """What the broker refuses ends ingest, and neither that flight nor a later one may be committed."""
    outbox.send(topic, random.Random(1).randbytes(2 * LIMIT_BYTES), None, 0)
    outbox.depart([TopicPartition("source", 0, 5)])
    outbox.depart([TopicPartition("source", 0, 6)])

    with pytest.raises(StateError, match=r"facts were not delivered: .*Action: "):
        outbox.wait()

    assert [] == committed(outbox)


def test_message_that_cannot_be_sent_is_an_error(kafka: str, topic: str) -> None:
    """What the client itself refuses is no other error than what the broker refuses."""
    outbox = Outbox({"bootstrap.servers": kafka, **PRODUCER, "message.max.bytes": 1000})

    with pytest.raises(StateError, match=r"facts were not delivered: .*Action: "):
        outbox.send(topic, b"x" * 2000, None, 0)


def test_silent_broker_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """When nobody confirms, waiting ends with an error that says so."""
    monkeypatch.setattr("streams.outbox.CONFIRM_S", 0.2)
    outbox = Outbox({"bootstrap.servers": "127.0.0.1:1", "log_level": 0})
    outbox.send("nowhere", b"x", None)
    outbox.depart([])

    with pytest.raises(StateError, match="facts are not confirmed"):
        outbox.wait()
