"""The librdkafka settings of consumers that read source topics as fast as the brokers send."""

from __future__ import annotations

from streams.config.settings import ClientSettings

_CONSUMER: ClientSettings = {
    "enable.auto.commit": False,
    "auto.offset.reset": "error",
    "enable.partition.eof": True,
    # librdkafka's default of 1000 costs two thirds of the speed.
    "fetch.queue.backoff.ms": 5,
    # So soon is a batch asked for again that could not be read (`streams.kafka.unreadable`).
    "fetch.error.backoff.ms": 100,
    "fetch.wait.max.ms": 20,
    "queued.min.messages": 100_000,
}

GROUP_CONSUMER: ClientSettings = {
    **_CONSUMER,
    "session.timeout.ms": 6000,
    "heartbeat.interval.ms": 1000,
    # New partitions are seen soon.
    "topic.metadata.refresh.interval.ms": 5000,
    # Of the largest records 64 MiB, the default, would wait here, and as much again in a batch.
    "queued.max.messages.kbytes": 32_768,
}
"""For a member of a consumer group."""

REPLAY_CONSUMER: ClientSettings = {**_CONSUMER, "fetch.message.max.bytes": 4 << 20}
"""For a reader of given offsets, in no group."""
