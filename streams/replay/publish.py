"""Publishes replayed signals to their own topic: `betrace.signals.replay`, beside what live processing publishes.

In: signals. Out: the records that live processing would publish, in the partition of their trace. They have the uids
and revisions of live signals, so readers of both topics can match them.
"""

from __future__ import annotations

from collections.abc import Iterable

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from streams.config.settings import Settings
from streams.errors import StateError
from streams.kafka.outbox import PRODUCER
from streams.replay.outcome import OutputOptions, Signal
from topics import REPLAYED_SIGNALS, partition
from topics.cluster import admin
from topics.records.signals import Record
from topics.spec import Layout

WAIT_S = 30.0


class Publishing:
    """Publishes signals; creates the topic if it is missing. `end` waits until all arrived, `sent` counts them."""

    output = OutputOptions()

    def __init__(self, client: AdminClient, settings: Settings, layout: Layout) -> None:
        self.topic = settings.topic(REPLAYED_SIGNALS.name)
        admin.create(client, layout, (REPLAYED_SIGNALS,))
        self._count = admin.partition_counts(client, [self.topic])[self.topic]
        self._producer = Producer({**settings.client(PRODUCER), "message.timeout.ms": int(WAIT_S * 1000)})
        self._failed: KafkaError | None = None
        self.sent = 0

    def take(self, signals: Iterable[Signal]) -> None:
        """Send signals; raises `StateError` if an earlier one was rejected."""
        for signal in signals:
            # Signals of a rule in shadow are not published.
            if signal.record is not None and not signal.is_shadow:
                self._send(signal.trace_id, signal.record)
                self.sent += 1

    def _send(self, trace_id: bytes, record: Record) -> None:
        key, value, headers = record
        while True:
            try:
                self._producer.produce(
                    self.topic,
                    value,
                    key,
                    partition.of_trace(trace_id, self._count),
                    self._note,
                    headers=[*headers],
                )
                self._producer.poll(0)
            except BufferError:
                self._producer.poll(1.0)
            except KafkaException as error:
                raise self._refused(error.args[0]) from error
            else:
                break
        if self._failed is not None:
            raise self._refused(self._failed)

    def end(self, _: object) -> None:
        """Wait until all are delivered; raises `StateError` if one is not."""
        left = self._producer.flush(2 * WAIT_S)
        if self._failed is not None or left:
            raise self._refused(self._failed)

    def _note(self, error: KafkaError | None, _: object) -> None:
        self._failed = self._failed or error

    def _refused(self, error: KafkaError | None) -> StateError:
        reason = "no answer" if error is None else error.str()
        return StateError(
            f"signals were not published to {self.topic}: {reason}",
            action="check the ACLs and the size limit of the topic, then start again: consumers deduplicate by uid",
        )
