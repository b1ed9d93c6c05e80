"""Records that no consumer can read: the same error comes at the same offset, however often it is asked for.

In: the errors that a consumer reports of partitions. Out: the ranges of offsets to pass over, each with its error. Such
is a batch that cannot be inflated within the client's limits, or that is damaged; the client itself never goes past it.
What must hold: nothing is passed over but what a second consumer cannot read either, and no record beyond it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from streams.config.settings import Settings
from streams.errors import NotDoneError
from streams.kafka import background
from streams.kafka.reader import GONE, PARTITION_EOF, unsubscribed

log = structlog.get_logger()

Partition: TypeAlias = tuple[str, int]
"""A topic and a partition."""

ERRORS_TO_PROBE = 5
"""So often an error is reported at an offset before the records there are given up."""
ANSWER_S = 30.0

_ENDS = frozenset({PARTITION_EOF, GONE, KafkaError.OFFSET_OUT_OF_RANGE})
_PASSING = _ENDS | {
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.UNKNOWN_TOPIC_ID,
    KafkaError.INCONSISTENT_TOPIC_ID,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.REPLICA_NOT_AVAILABLE,
    KafkaError.BROKER_NOT_AVAILABLE,
    KafkaError.KAFKA_STORAGE_ERROR,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.OFFSET_NOT_AVAILABLE,
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError.NETWORK_EXCEPTION,
    KafkaError.THROTTLING_QUOTA_EXCEEDED,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError._TRANSPORT,  # noqa: SLF001, confluent-kafka has no public names for these
    KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
    KafkaError._RESOLVE,  # noqa: SLF001
    KafkaError._AUTHENTICATION,  # noqa: SLF001
    KafkaError._SSL,  # noqa: SLF001
    KafkaError._TIMED_OUT,  # noqa: SLF001
    KafkaError._MAX_POLL_EXCEEDED,  # noqa: SLF001
    KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
    KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001
}
"""Errors of brokers, networks and topics, which end when their cause does: no record is to blame."""


@dataclass(frozen=True, slots=True)
class UnreadableRange:
    """The records at offsets `[from_offset, to_offset)` of a partition cannot be read.

    Where it is empty a second consumer reads what is there, so the first one must only ask again.
    """

    source: Partition
    from_offset: int
    to_offset: int
    reason: str


@dataclass(slots=True)
class _Suspect:
    """An offset at which an error was reported `count` times, and what was asked of it."""

    offset: int
    reason: str
    count: int = 0
    probe: Future[int] | None = None


class UnreadableTracker:
    """The errors at the offsets where partitions stand; `find_end` may block, as `find_batch_end` does."""

    def __init__(self, find_end: Callable[[TopicPartition], int]) -> None:
        self._find_end = find_end
        self._suspects: dict[Partition, _Suspect] = {}

    @classmethod
    def of(cls, settings: Settings) -> UnreadableTracker:
        """Those of this cluster's partitions."""
        return cls(lambda at: find_batch_end(settings, at))

    def note(self, source: Partition, offset: int, error: KafkaError) -> bool:
        """Takes in an error that was reported while the partition stood at `offset`; whether it may be a record's."""
        if error.code() in _PASSING:
            return False
        suspect = self._suspects.get(source)
        if suspect is None or suspect.offset != offset:
            suspect = self._suspects[source] = _Suspect(offset, error.str())
            log.warning(
                "a record cannot be read, it is asked for again",
                topic=source[0],
                partition=source[1],
                offset=offset,
                error=suspect.reason,
            )
        suspect.count += 1
        if suspect.count >= ERRORS_TO_PROBE and suspect.probe is None:
            at = TopicPartition(*source, offset)
            suspect.probe = background.run_in_background(lambda: self._find_end(at))
        return True

    @property
    def is_probing(self) -> bool:
        """It is not known yet where something ends that was noted often enough."""
        return any(suspect.probe is not None and not suspect.probe.done() for suspect in self._suspects.values())

    def step(self) -> list[UnreadableRange]:
        """What is known by now of offsets that were noted often enough; it is said once."""
        found: list[UnreadableRange] = []
        for source, suspect in list(self._suspects.items()):
            if suspect.probe is None or not suspect.probe.done():
                continue
            # Whatever the answer, another error at this offset begins anew.
            del self._suspects[source]
            try:
                end = suspect.probe.result()
            except (NotDoneError, KafkaException) as error:
                log.warning("how far records cannot be read is not known yet", topic=source[0], error=str(error))
            else:
                found.append(UnreadableRange(source, suspect.offset, end, suspect.reason))
        return found


class UnreadableSkipper:
    """Lets somebody who only looks read on behind what cannot be read, each time with a warning of what is left out.

    `find_end` is that of `UnreadableTracker`.
    """

    def __init__(self, find_end: Callable[[TopicPartition], int]) -> None:
        self._tracker = UnreadableTracker(find_end)

    def note(self, message: Message, error: KafkaError) -> bool:
        """Takes in an error in the at of a record; whether reading may go on behind it."""
        offset = message.offset()
        if error.fatal() or offset is None or offset < 0:
            return False
        # The error names the first offset of the batch, wherever in it reading began.
        return self._tracker.note((message.topic() or "", message.partition() or 0), offset, error)

    def step(self, client: Consumer) -> None:
        """Lets the client go on behind what is known by now to be unreadable."""
        for each in self._tracker.step():
            if each.to_offset > each.from_offset:
                log.warning(
                    "records cannot be read and are passed over",
                    topic=each.source[0],
                    partition=each.source[1],
                    offset=each.from_offset,
                    to_offset=each.to_offset,
                    error=each.reason,
                )
            seek(client, TopicPartition(*each.source, each.to_offset))


def seek(client: Consumer, at: TopicPartition) -> None:
    """Lets the client go on at an offset; where it cannot just now, its next errors are looked at again."""
    try:
        client.seek(at)
    except KafkaException as error:
        log.warning("reading does not go on yet", topic=at.topic, partition=at.partition, error=str(error))


class _ProbeResult(NamedTuple):
    """What is at an offset: an unreadable batch, told by its code and its first offset, or something else."""

    code: int | None
    first_offset: int | None = None


def find_batch_end(settings: Settings, at: TopicPartition) -> int:
    """The first offset that is not in the batch at `at.offset`, which cannot be read; that offset when it can be.

    The client does not say how long a batch is that it cannot read, so offsets behind it are tried: in steps that
    double until one is of something else, then by halves.

    Raises:
        NotDoneError: no broker answers.
        KafkaException: the client does not ask.
    """
    with unsubscribed(settings) as client:
        return find_end(client, at)


def find_end(client: Consumer, at: TopicPartition) -> int:
    """As `find_batch_end`, with a consumer that is used for nothing else."""
    here = _probe(client, at, at.offset)
    if here.code is None:
        return at.offset
    inside, step = at.offset, 1
    while _probe(client, at, inside + step) == here:
        inside, step = inside + step, 2 * step
    beyond = inside + step
    while beyond - inside > 1:
        middle = (inside + beyond) // 2
        if _probe(client, at, middle) == here:
            inside = middle
        else:
            beyond = middle
    return beyond


def _probe(client: Consumer, at: TopicPartition, offset: int) -> _ProbeResult:
    client.assign([TopicPartition(at.topic, at.partition, offset)])
    deadline_s = time.monotonic() + ANSWER_S
    while time.monotonic() < deadline_s:
        message = client.poll(0.2)
        found = None if message is None else _probe_result(message)
        if found is not None:
            return found
    raise NotDoneError(f"{at.topic}[{at.partition}] was not read at {offset}")


def _probe_result(message: Message) -> _ProbeResult | None:
    """What a message says is there; None when it is of brokers and networks."""
    error = message.error()
    if error is None or error.code() in _ENDS:
        return _ProbeResult(None)
    if error.code() in _PASSING or message.topic() is None:
        return None
    return _ProbeResult(error.code(), message.offset())
