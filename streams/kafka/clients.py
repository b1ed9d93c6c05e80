"""The librdkafka settings of consumers: of those that read source topics as fast as the brokers send, and of tools."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from confluent_kafka import Consumer, KafkaError

from streams.config.settings import ClientSettings, Settings

PARTITION_EOF = KafkaError._PARTITION_EOF  # noqa: SLF001, confluent-kafka has no public name for it
GONE = KafkaError._AUTO_OFFSET_RESET  # noqa: SLF001, confluent-kafka has no public name for it

ERROR_BACKOFF_MS = 100
"""How soon a batch that could not be read is fetched again (`streams.kafka.unreadable`)."""

_CONSUMER: ClientSettings = {
    "enable.auto.commit": False,
    "auto.offset.reset": "error",
    "enable.partition.eof": True,
    # librdkafka's default of 1000 makes reading three times slower.
    "fetch.queue.backoff.ms": 5,
    "fetch.error.backoff.ms": ERROR_BACKOFF_MS,
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


@contextmanager
def unsubscribed(settings: Settings) -> Iterator[Consumer]:
    """Yield a consumer that joins no group and has no partitions assigned."""
    # The client requires a group id; nobody joins the group, and nothing is committed.
    consumer = Consumer(
        {
            **settings.client(),
            "group.id": settings.group("readers"),
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            # At the end of a partition the broker would wait half a second for more before it reports the end.
            "fetch.wait.max.ms": 20,
            "fetch.error.backoff.ms": ERROR_BACKOFF_MS,
            # A damaged batch that still decodes must not pass for what was written.
            "check.crcs": True,
        }
    )
    try:
        yield consumer
    finally:
        consumer.close()
