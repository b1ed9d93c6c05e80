"""Finds records that no consumer can read: the same error occurs at the same offset, however often they are fetched.

In: the errors that a consumer reports. Out: the ranges of offsets to skip, each with its error. Such a range is a batch
that cannot be decompressed within the client's limits, or that is damaged; the client itself never moves past it.
Invariant: only offsets that a second consumer cannot read either are skipped, and no record beyond them.
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
from streams.kafka.clients import GONE, PARTITION_EOF, unsubscribed
from streams.observe.logs import OncePerMinute

log = structlog.get_logger()

Partition: TypeAlias = tuple[str, int]
"""A topic and a partition."""

ERRORS_TO_PROBE = 5
"""The number of errors at an offset after which it is probed."""
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
"""Transient errors of brokers, networks and topics, which no record causes."""


@dataclass(frozen=True, slots=True)
class UnreadableRange:
    """The records at offsets `[from_offset, to_offset)` of a partition that cannot be read.

    An empty range means that a second consumer can read them, so the first one must only fetch again.
    """

    source: Partition
    from_offset: int
    to_offset: int
    reason: str

    def __str__(self) -> str:
        """Return a sentence for operators.

        >>> str(UnreadableRange(("betrace.rules", 0), 3, 10, "Local: Bad message format"))
        'betrace.rules[0] cannot be read from offset 3 to 10 (Local: Bad message format)'
        """
        topic, number = self.source
        return f"{topic}[{number}] cannot be read from offset {self.from_offset} to {self.to_offset} ({self.reason})"


OnLost: TypeAlias = Callable[[UnreadableRange], object]
"""Receives a range that is about to be skipped, in its place among the records; it raises if it must not be."""


@dataclass(slots=True)
class _Suspect:
    """An offset at which an error was reported `count` times, and the probe of it, if one was started."""

    offset: int
    reason: str
    count: int = 0
    probe: Future[int] | None = None


class UnreadableTracker:
    """Tracks errors at the positions of partitions; `find_end` may block, as `find_batch_end` does."""

    def __init__(self, find_end: Callable[[TopicPartition], int]) -> None:
        self._find_end = find_end
        self._suspects: dict[Partition, _Suspect] = {}
        self._repeated = OncePerMinute()

    @classmethod
    def of(cls, settings: Settings) -> UnreadableTracker:
        """Create a tracker for the partitions of this cluster."""
        return cls(lambda at: find_batch_end(settings, at))

    def note(self, source: Partition, offset: int, error: KafkaError) -> bool:
        """Count an error at the position `offset` of a partition; return whether a record may be its cause."""
        if error.code() in _PASSING:
            return False
        suspect = self._suspects.get(source)
        if suspect is None or suspect.offset != offset:
            suspect = self._suspects[source] = _Suspect(offset, error.str())
            log.warning(
                "a record cannot be read, fetching it again",
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
        """Whether a probe is still running."""
        return any(suspect.probe is not None and not suspect.probe.done() for suspect in self._suspects.values())

    def step(self) -> list[UnreadableRange]:
        """Return the results of completed probes, each once."""
        ranges: list[UnreadableRange] = []
        for source, suspect in list(self._suspects.items()):
            if suspect.probe is None or not suspect.probe.done():
                continue
            # Whatever the answer, the count starts over with the next error at this offset.
            del self._suspects[source]
            try:
                end = suspect.probe.result()
            except (NotDoneError, KafkaException) as error:
                self._repeated.warning(
                    "probe of unreadable records failed, retrying", topic=source[0], error=str(error)
                )
            else:
                ranges.append(UnreadableRange(source, suspect.offset, end, suspect.reason))
        return ranges


class UnreadableSkipper:
    """Lets a reader skip what cannot be read, with a warning for each range.

    `find_end` is that of `UnreadableTracker`.
    """

    def __init__(self, find_end: Callable[[TopicPartition], int], on_lost: OnLost = lambda _: None) -> None:
        self._tracker = UnreadableTracker(find_end)
        self._on_lost = on_lost

    def note(self, message: Message, error: KafkaError) -> bool:
        """Count an error in place of a record; return whether reading can continue."""
        offset = message.offset()
        if error.fatal() or offset is None or offset < 0:
            return False
        # The error has the first offset of the batch, wherever in it reading started.
        return self._tracker.note((message.topic() or "", message.partition() or 0), offset, error)

    def _report(self, lost: UnreadableRange) -> None:
        self._on_lost(lost)
        log.warning(
            "records cannot be read, skipped",
            topic=lost.source[0],
            partition=lost.source[1],
            offset=lost.from_offset,
            to_offset=lost.to_offset,
            error=lost.reason,
        )

    def step(self, client: Consumer) -> None:
        """Move the client past what has been found to be unreadable."""
        for each in self._tracker.step():
            if each.to_offset > each.from_offset:
                self._report(each)
            seek(client, TopicPartition(*each.source, each.to_offset))


def seek(client: Consumer, at: TopicPartition) -> None:
    """Move the client to an offset; if it cannot seek now, its next errors will be probed again."""
    try:
        client.seek(at)
    except KafkaException as error:
        log.warning("seek failed, retrying", topic=at.topic, partition=at.partition, error=str(error))


class _ProbeResult(NamedTuple):
    """What is at an offset: an unreadable batch, identified by its code and first offset, or anything else."""

    code: int | None
    first_offset: int | None = None


def find_batch_end(settings: Settings, at: TopicPartition) -> int:
    """Return the first offset after the unreadable batch at `at.offset`; `at.offset` itself if it can be read.

    The client does not report the length of a batch that it cannot read, so later offsets are probed: in steps that
    double until one is outside the batch, then by bisection.

    Raises:
        NotDoneError: no broker answers.
        KafkaException: the client cannot query.
    """
    with unsubscribed(settings) as client:
        return find_end(client, at)


def find_end(client: Consumer, at: TopicPartition) -> int:
    """Do what `find_batch_end` does, with a consumer that is used for nothing else."""
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
        result = None if message is None else _probe_result(message)
        if result is not None:
            return result
    raise NotDoneError(f"{at.topic}[{at.partition}] was not read at {offset}")


def _probe_result(message: Message) -> _ProbeResult | None:
    """Return what a message tells about its offset; None when it is about brokers and networks."""
    error = message.error()
    if error is None or error.code() in _ENDS:
        return _ProbeResult(None)
    if error.code() in _PASSING or message.topic() is None:
        return None
    return _ProbeResult(error.code(), message.offset())
