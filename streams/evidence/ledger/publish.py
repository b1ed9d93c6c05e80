"""Publishes every tree head of a log to `betrace.tree_heads`, once and in order.

In: tree heads that are stored. Out: the same on the topic, where people who do not trust the storage can see them. The
storage is authoritative: what a killed ledger had stored but not published, the next one publishes. The brokers fence a
producer that another ledger's has replaced, so a paused ledger learns that it was replaced. A record that none of the
ledger's keys has signed is not a tree head, whoever wrote it: it is skipped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from streams.config.settings import Settings
from streams.errors import StateError
from streams.evidence.ledger import notes, storage, tree_head
from streams.evidence.ledger import seal as seals
from streams.evidence.ledger.notes import Verifier
from streams.evidence.ledger.storage import Storage
from streams.kafka.clients import PARTITION_EOF
from streams.observe import metrics

log = structlog.get_logger()

ANSWER_S = 30.0
STEPS_BACK = (100, 10_000)
"""How far from its end the topic is searched for the last tree head before all of it is read."""

_FENCED = frozenset(
    {KafkaError._FENCED, KafkaError.INVALID_PRODUCER_EPOCH, KafkaError.PRODUCER_FENCED}  # noqa: SLF001, no public name
)


class Publisher:
    """The only producer of an origin's tree heads; creating it fences every other."""

    def __init__(self, settings: Settings, origin: str) -> None:
        self._topic = settings.topic("tree_heads")
        self._origin = origin
        self._producer = Producer(
            {
                **settings.client(),
                "transactional.id": f"{settings.group('ledger')}.{origin}",
                "transaction.timeout.ms": 60_000,
            }
        )
        self._call(self._producer.init_transactions, ANSWER_S)

    def prepare(self, note: bytes) -> None:
        """Send the next tree head, not visible yet; raises `StateError` if another ledger has taken over."""
        # No delivery callback: the client raises a fatal error in `flush` itself, and cannot do both.
        self._call(self._producer.begin_transaction)
        self._call(self._producer.produce, self._topic, note, self._origin.encode(), 0)
        if self._call(self._producer.flush, ANSWER_S):
            raise StateError("a tree head was not confirmed", action="check that the brokers answer, then start again")

    def publish(self) -> None:
        """Make the prepared tree head visible."""
        self._call(self._producer.commit_transaction, ANSWER_S)

    def catch_up(self, store: Storage, stored: int, published: bytes | None) -> None:
        """Publish those of the `stored` tree heads that are not on the topic; `published` is the last one there.

        Raises:
            StateError: the topic has more than the storage, or something else.
        """
        for number in range(check_published(store, stored, published), stored):
            self.prepare(_stored(store, number))
            self.publish()

    def _call(self, call: Any, *arguments: object) -> object:  # noqa: ANN401 - the client's methods, each with its own
        try:
            return call(*arguments)
        except KafkaException as error:
            raise _not_published(error.args[0]) from error


def check_published(store: Storage, stored: int, published: bytes | None) -> int:
    """Return how many of the `stored` tree heads are on the topic, whose last one is `published`.

    Raises:
        StateError: the topic has more than the storage, or something else.
    """
    size = 0 if published is None else _size(published)
    if size > stored or (published is not None and _stored(store, size - 1) != published):
        raise StateError(
            f"a tree head over {size} seals was published, which the evidence of {stored} seals does not have",
            action="restore the evidence: it was truncated or changed, or --evidence names another storage",
        )
    return size


def last_published(settings: Settings, origin: str, verifiers: Sequence[Verifier]) -> bytes | None:
    """Return the last tree head of an origin on the topic that one of the keys has signed; None if there is none.

    Raises:
        StateError: the topic cannot be read.
    """
    topic = settings.topic("tree_heads")
    consumer = Consumer(
        {
            **settings.client(),
            "group.id": settings.group("readers"),
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
        }
    )
    try:
        first, end = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=ANSWER_S)
        for start in (*(max(first, end - back) for back in STEPS_BACK), first):
            notes_there = [*_read(consumer, topic, start, origin)]
            signed = next((note for _, note in reversed(notes_there) if _is_signed(note, origin, verifiers)), None)
            if signed is None and start != first:
                continue
            _warn(topic, [offset for offset, note in notes_there if not _is_signed(note, origin, verifiers)])
            return signed
    except KafkaException as error:
        raise StateError(f"{topic} cannot be read: {error}", action="check that the brokers answer") from error
    finally:
        consumer.close()
    return None


def _is_signed(note: bytes, origin: str, verifiers: Sequence[Verifier]) -> bool:
    try:
        decoded = notes.decode(note)
        return bool(notes.verified(decoded, verifiers)) and tree_head.decode(decoded.text).origin == origin
    except notes.NoteError:
        return False


def _warn(topic: str, offsets: Sequence[int]) -> None:
    if not offsets:
        return
    metrics.LEDGER_FOREIGN_TREE_HEADS.inc(len(offsets))
    log.warning(
        "records that none of the ledger's keys has signed are skipped",
        topic=topic,
        offsets=offsets[:10],
        count=len(offsets),
        help="check who else may write to this topic",
    )


def _read(consumer: Consumer, topic: str, start: int, origin: str) -> Iterator[tuple[int, bytes]]:
    consumer.assign([TopicPartition(topic, 0, start)])
    while True:
        message = consumer.poll(ANSWER_S)
        if message is None:
            raise StateError(f"{topic} cannot be read: no answer", action="check that the brokers answer")
        error = message.error()
        if error is not None and error.code() != PARTITION_EOF:
            raise KafkaException(error)
        if error is not None:
            return
        if message.key() == origin.encode():
            yield message.offset() or 0, message.value() or b""


def _stored(store: Storage, number: int) -> bytes:
    try:
        return seals.split(store.read(storage.seal_path(number))).note
    except (msgspec.DecodeError, OSError) as error:
        raise StateError(
            f"{storage.seal_path(number)} cannot be read: {error}", action="run betrace evidence verify"
        ) from error


def _size(note: bytes) -> int:
    try:
        return tree_head.decode(notes.decode(note).text).size
    except notes.NoteError as error:
        raise StateError(
            f"the last record on the tree_heads topic is not a tree head: {error}",
            action="check who else writes to the tree_heads topic",
        ) from error


def _not_published(error: KafkaError) -> StateError:
    if error.fatal() or error.code() in _FENCED:
        return StateError(
            "another ledger has taken over", action="run one ledger; this one may be started again after the other"
        )
    return StateError(
        f"a tree head was not published: {error.str()}",
        action="check its ACLs on the topic and the transactional id, then start again",
    )
