"""How fast a client reads at all: confluent-kafka's `consume()` with the settings of ingest, and nothing else."""

from __future__ import annotations

import time

from confluent_kafka import Consumer, TopicPartition

from streams.kafka.clients import GROUP_CONSUMER

CALL_BYTES = 1_000_000
"""What a call of `consume()` should bring: with more the client's queue runs full, with less calls cost too much."""


def consume_s(bootstrap: str, topic: str, partitions: int, count: int, message_bytes: int) -> float:
    """Seconds from the first records until `count` were read; `message_bytes` is the mean size of a record."""
    consumer = Consumer({"bootstrap.servers": bootstrap, **GROUP_CONSUMER, "group.id": "bench-raw"})
    consumer.assign([TopicPartition(topic, number, 0) for number in range(partitions)])
    at_once = max(1, min(5000, CALL_BYTES // message_bytes))
    seen, start_s = 0, None
    while seen < count:
        messages = consumer.consume(at_once, 0.1)
        seen += sum(message.error() is None for message in messages)
        start_s = start_s or (time.perf_counter() if messages else None)
    elapsed_s = time.perf_counter() - (start_s or 0)
    consumer.close()
    return elapsed_s
