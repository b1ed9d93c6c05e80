"""Topics read from their beginning to their end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka import Producer, TopicPartition

from streams.config.settings import Settings
from streams.errors import StateError
from streams.kafka import reader
from streams.kafka.unreadable import UnreadableRange
from tests.support.installation import installed
from topics.embedded import broker

pytestmark = pytest.mark.broker


@pytest.fixture
def settings(kafka: str, fresh_prefix: str, tmp_path: Path) -> Settings:
    """An installation with two facts partitions."""
    return installed(kafka, fresh_prefix, tmp_path)


def write(settings: Settings, topic: str, *values: bytes, partition: int = 0) -> None:
    """Write messages to a partition."""
    producer = Producer({**settings.client()})
    for value in values:
        producer.produce(topic, value, partition=partition)
    producer.flush()


def test_every_partition_is_read_to_its_end(settings: Settings) -> None:
    """Every message is read, in order within each partition, empty partitions included."""
    topic = settings.topic("facts")
    write(settings, topic, b"a", b"b", b"c")

    read = [(message.partition(), message.value()) for message in reader.read(settings, topic)]

    assert [(0, b"a"), (0, b"b"), (0, b"c")] == read


def test_empty_topic_has_no_messages(settings: Settings) -> None:
    """Reading a topic without messages ends at once."""
    assert [] == list(reader.read(settings, settings.topic("rules")))


def test_reading_twice_gives_the_same(settings: Settings) -> None:
    """Nothing is committed: every read starts at the beginning."""
    topic = settings.topic("facts")
    write(settings, topic, b"a", partition=1)

    first, second = ([message.value() for message in reader.read(settings, topic)] for _ in range(2))

    assert [b"a"] == first == second


def test_unknown_topic_is_an_error(settings: Settings) -> None:
    """A topic that does not exist is an error with its name and an action."""
    with pytest.raises(StateError, match=r"nowhere cannot be read: .*Action: "):
        list(reader.read(settings, settings.topic("nowhere")))


def test_no_broker_is_an_error(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    """A cluster that does not answer is an error, not an empty topic."""
    monkeypatch.setattr(reader, "ANSWER_S", 0.5)
    nobody = Settings(bootstrap="127.0.0.1:1", state_dir=settings.state_dir)

    with pytest.raises(StateError, match="cannot be read"):
        list(reader.read(nobody, "betrace.rules"))


def test_damaged_batches_are_lost_ranges(tmp_path: Path, fresh_prefix: str) -> None:
    """Bytes that change on a broker's disk are noticed by the checksum, in the middle of a log and at its end."""
    with broker.running(tmp_path / "kafka") as started:
        settings = installed(started.bootstrap, fresh_prefix, tmp_path)
        topic = settings.topic("facts")
        for value in (b"before", b"damaged 1", b"between", b"damaged 2"):
            write(settings, topic, value)
    for segment in (tmp_path / "kafka").rglob(f"{topic}-0/*.log"):
        segment.write_bytes(segment.read_bytes().replace(b"damaged", b"DAMAGED"))
    with broker.running(tmp_path / "kafka") as started:
        settings = replace(settings, bootstrap=started.bootstrap)
        lost: list[UnreadableRange] = []
        read = [message.value() for message in reader.read(settings, topic, lost.append)]
        ranges = list[UnreadableRange]()
        part = reader.between(settings, TopicPartition(topic, 0, 1), 4, lambda: False, ranges.append)
        values = [message.value() for message in part]
        with pytest.raises(StateError, match=r"facts\[0\] cannot be read from offset 1 to 2 .*Action: restore"):
            list(reader.read(settings, topic))

    assert [b"before", b"between"] == read
    assert [b"between"] == values
    for each in (lost, ranges):
        assert [(1, 2), (3, 4)] == [(one.from_offset, one.to_offset) for one in each]
