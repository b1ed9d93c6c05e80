"""The partition of a trace."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError, Message, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from tests.support import paths
from topics import partition
from topics.cluster import admin
from topics.embedded import capture

CORPUS = paths.CORPUS


@pytest.mark.parametrize(
    ("key", "hashed"),
    [(b"", 0x811C9DC5), (b"a", 0xE40C292C), (b"foobar", 0xBF9CF968)],
)
def test_hash_is_fnv1a(key: bytes, hashed: int) -> None:
    """The hash is the published 32-bit FNV-1a."""
    assert partition.fnv1a(key) == hashed


@pytest.mark.broker
@pytest.mark.parametrize("count", [1, 7, 12])
def test_partition_is_that_of_the_collector(kafka: str, fresh_prefix: str, count: int) -> None:
    """Every trace of a real capture is where Kafka's FNV-1a partitioner, as in the Collector, puts its key."""
    topic = f"{fresh_prefix}spans"
    client = AdminClient({"bootstrap.servers": kafka})
    client.create_topics([NewTopic(topic, count)])[topic].result()
    admin.wait_until_available(client, [topic])
    producer = Producer({"bootstrap.servers": kafka, "partitioner": "fnv1a"})
    keys = {frame.key for frame in capture.read(CORPUS / "partitioned_proto.bin.gz") if frame.key}
    put: dict[bytes, int | None] = {}

    def note(_: KafkaError | None, message: Message) -> None:
        put[message.key() or b""] = message.partition()

    for key in keys:
        producer.produce(topic, b"", key, on_delivery=note)
    producer.flush(30)

    assert {key: partition.of_trace(bytes.fromhex(key.decode()), count) for key in keys} == put
