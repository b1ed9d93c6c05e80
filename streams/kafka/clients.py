"""The librdkafka settings of consumers that read source topics as fast as the brokers send."""

from __future__ import annotations

from streams.config.settings import ClientSettings

_CONSUMER: ClientSettings = {
    "enable.auto.commit": False,
    "auto.offset.reset": "error",
    "enable.partition.eof": True,
    # librdkafka's default of 1000 makes reading three times slower.
    "fetch.queue.backoff.ms": 5,
    # How soon a batch that could not be read is fetched again (`streams.kafka.unreadable`).
    "fetch.error.backoff.ms": 100,
    "fetch.wait.max.ms": 20,
    "queued.min.messages": 100_000,
}

GROUP_CONSUMER: ClientSettings = {
    **_CONSUMER,
    "session.timeout.ms": 6000,
    "heartbeat.interval.ms": 1000,
    # This discovers new partitions soon.
    "topic.metadata.refresh.interval.ms": 5000,
    # With the largest records, the default of 64 MiB would be queued here, and as much again would be in a batch.
    "queued.max.messages.kbytes": 32_768,
}
"""For a member of a consumer group."""

REPLAY_CONSUMER: ClientSettings = {**_CONSUMER, "fetch.message.max.bytes": 4 << 20}
"""For a reader of given offsets, without a group."""
