"""Publishes for a facts partition: one transactional producer, one transaction per step.

In: the records of one step. Out: for consumers that read committed records, all of them or none. The transactional id
belongs to the partition, so a new publisher fences the publishers of every earlier worker.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from streams.config.settings import Settings
from streams.errors import BetraceError, NotDoneError, StateError
from streams.kafka.reader import Stopping

log = structlog.get_logger()

REPORT_S = 0.1
ANSWER_S = 1.0
"""How long one call waits before it checks whether the program should end."""
TRANSACTION_MS = 300_000
RECORD_BYTES = 16 << 20
"""The largest record before compression, which is not what brokers limit.

With thousands of source partitions, a coverage record and a checkpoint exceed a megabyte.
"""

_FENCED = frozenset(
    {
        KafkaError._FENCED,  # noqa: SLF001, no public name
        KafkaError._FATAL,  # noqa: SLF001, as above: what it says instead when it was fenced before the call
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.PRODUCER_FENCED,
    }
)

_REFUSED = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.INVALID_RECORD,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001, no public name
        KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001, no public name
    }
)
"""Errors that a retry does not cure: the operator must act."""


class FencedError(NotDoneError):
    """Another worker has the partition now."""


class Publisher:
    """The producer of one facts partition; creating it fences the workers that had the partition before.

    `role` is the publishing stage: a publisher fences only publishers of the same role. `stopping` is called while
    brokers do not answer. All methods, and the constructor, raise `NotDoneError` when what was sent since the last
    commit is on no topic and must be produced again from durable state, and `StateError` when the brokers will never
    accept it.
    """

    def __init__(self, settings: Settings, number: int, stopping: Stopping, role: str = "sessions") -> None:
        self._stopping = stopping
        self._is_open = False
        self._refused: KafkaError | None = None
        self._transactional_id = f"{settings.group(role)}-{number}"
        self._producer = Producer(
            {
                **settings.client(),
                "transactional.id": self._transactional_id,
                "transaction.timeout.ms": TRANSACTION_MS,
                "compression.type": "lz4",
                "message.max.bytes": RECORD_BYTES,
                "linger.ms": 5,
            }
        )
        try:
            self._retry(lambda: self._producer.init_transactions(ANSWER_S))
        except BetraceError:
            self.close()
            raise

    def send(
        self,
        topic: str,
        number: int,
        key: bytes | None,
        value: bytes,
        headers: Sequence[tuple[str, str | bytes | None]] = (),
    ) -> None:
        """Add a record to the step."""
        if not self._is_open:
            self._retry(self._producer.begin_transaction)
            self._is_open = True
        try:
            while not self._is_enqueued(topic, number, key, value, headers):
                self._producer.poll(ANSWER_S)
                self._raise_if_stopping()
        except KafkaException as error:
            raise self._not_published(error.args[0]) from error

    def commit(self) -> None:
        """Commit the step; a step without records costs nothing."""
        if self._is_open:
            self._retry(lambda: self._producer.commit_transaction(ANSWER_S))
            self._is_open = False

    def close(self) -> None:
        """Close the producer; what was not committed is discarded.

        If the brokers do not answer, the next publisher of the partition fences this one.
        """
        self._producer.purge()
        # Not the producer's own close, which waits for the brokers without a limit. A fenced producer raises at every
        # call.
        with suppress(KafkaException):
            self._producer.poll(0)
        if self._is_open:
            with suppress(KafkaException):
                self._producer.abort_transaction(ANSWER_S)

    def _is_enqueued(
        self,
        topic: str,
        number: int,
        key: bytes | None,
        value: bytes,
        headers: Sequence[tuple[str, str | bytes | None]],
    ) -> bool:
        """Enqueue a record; return whether there was room."""
        try:
            self._producer.produce(topic, value, key, number, self._note_delivery, headers=[*headers])
        except BufferError:
            return False
        return True

    def _retry(self, call: Callable[[], object]) -> None:
        """Call until the brokers answer."""
        while True:
            try:
                call()
            except KafkaException as error:
                if not error.args[0].retriable():
                    raise self._not_published(error.args[0]) from error
                self._raise_if_stopping()
            else:
                return

    def _raise_if_stopping(self) -> None:
        if self._stopping():
            raise NotDoneError("the program was stopped before the brokers answered")

    def _note_delivery(self, error: KafkaError | None, _: Message) -> None:
        if error is not None and error.code() in _REFUSED:
            self._refused = self._refused or error

    def _not_published(self, error: KafkaError) -> BetraceError:
        # The reason why a transaction failed is in a delivery report, which may not have been polled yet.
        with suppress(KafkaException):
            self._producer.poll(REPORT_S)
        refused = error if error.code() in _REFUSED else self._refused
        if refused is not None:
            return StateError(
                f"{self._transactional_id} could not publish: {refused.str()}",
                action="grant the missing ACL, create the topic or raise its max.message.bytes, as the error says, "
                "then start again",
            )
        if error.code() in _FENCED:
            return FencedError(f"another worker has the partition: {error.str()}")
        return NotDoneError(f"the step was not published: {error.str()}")
