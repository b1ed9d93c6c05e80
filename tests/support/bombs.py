"""Batches that brokers take and no client inflates: small on the wire, beyond every limit when they are read."""

from __future__ import annotations

from confluent_kafka import Producer

from tests.support.ingesting import must_arrive

INFLATED_BYTES = 130_000_000
"""More than librdkafka's `receive.message.max.bytes`, to which it inflates."""


def send(bootstrap: str, topic: str, partition: int = 0, *, count: int = 1, key: bytes | None = None) -> None:
    """Writes one batch of `count` records, of a few KB with zstd; a compacted topic takes only records with a key."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "compression.type": "zstd",
            "message.max.bytes": 2 * INFLATED_BYTES,
            "batch.size": 2 * INFLATED_BYTES,
            "queue.buffering.max.kbytes": 1_000_000,
            # All of them are in the queue before the first is sent.
            "linger.ms": 60_000,
        }
    )
    for _ in range(count):
        producer.produce(topic, bytes(INFLATED_BYTES // count), key, partition, on_delivery=must_arrive)
    producer.flush()
