"""What ingest sends, in flights: all messages of one flush, with the source offsets to commit once they are confirmed.

In: messages and offsets. Out: the offsets of the flights that the brokers have confirmed, up to the first unconfirmed
one. The producer is idempotent, so what is confirmed is on the topic once and in order. It never gives up on brokers
that are away; `has_room` says when to stop reading. A message that brokers refuse ends ingest, because its flight can
never be committed.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

from streams.config.settings import ClientSettings
from streams.errors import StateError

MAX_FLIGHTS = 32
ROOM_BYTES = 64_000_000
POLL_S = 0.1

ANY_PARTITION = -1

PRODUCER: ClientSettings = {
    "enable.idempotence": True,
    "acks": "all",
    "linger.ms": 0,
    "compression.type": "lz4",
    "topic.metadata.refresh.interval.ms": 5000,
    # Brokers may be away for any length of time.
    "message.timeout.ms": 0,
    # `has_room` limits what is queued; one more batch must always fit.
    "queue.buffering.max.messages": 1_000_000,
    "queue.buffering.max.kbytes": 2_000_000,
}

Headers = Sequence[tuple[str, str | bytes | None]]


@dataclass(slots=True)
class _Flight:
    """The unconfirmed messages of one flush, and what to commit when they are confirmed."""

    unconfirmed: int = 0
    commits: list[TopicPartition] = field(default_factory=list)


class Outbox:
    """Sends messages; collects what may be committed, by source partition, until `take_confirmed`."""

    def __init__(self, client: ClientSettings, is_stopping: Callable[[], bool] = lambda: False) -> None:
        self._producer = Producer({**client})
        self._is_stopping = is_stopping
        self._flights: deque[_Flight] = deque()
        self._flight = _Flight()
        self._unconfirmed_bytes = 0
        self._confirmed: dict[tuple[str, int], TopicPartition] = {}
        self._failed: KafkaError | None = None

    @property
    def has_room(self) -> bool:
        """Whether so little is unconfirmed that more may be sent."""
        return len(self._flights) < MAX_FLIGHTS and self._unconfirmed_bytes < ROOM_BYTES

    def send(
        self, topic: str, value: bytes | None, key: bytes | None, partition: int = ANY_PARTITION, headers: Headers = ()
    ) -> None:
        """Send a message in the current flight, without waiting while there is room.

        It waits if the producer's queue is full nevertheless. If the program is asked to stop meanwhile, the message is
        not sent, and its flight is never confirmed.

        Raises:
            StateError: the message cannot be sent, or an earlier one was not delivered.
        """
        flight, size_bytes = self._flight, len(value or b"")
        flight.unconfirmed += 1
        self._unconfirmed_bytes += size_bytes
        confirm = self._confirmer(flight, size_bytes)
        while True:
            try:
                self._producer.produce(topic, value, key, partition, confirm, headers=[*headers])
            except BufferError:
                self.poll(POLL_S)
                if self._is_stopping():
                    return
            except KafkaException as error:
                raise _not_delivered(error.args[0]) from error
            else:
                return

    def end_flight(self, commits: list[TopicPartition]) -> None:
        """End the current flight: `commits` may be committed when it is confirmed."""
        self._flight.commits = commits
        self._flights.append(self._flight)
        self._flight = _Flight()

    def poll(self, timeout_s: float = 0) -> None:
        """Process confirmations, waiting up to `timeout_s` for the first; raises `StateError` if a delivery failed."""
        self._producer.poll(timeout_s)
        if self._failed is not None:
            raise _not_delivered(self._failed)
        while self._flights and not self._flights[0].unconfirmed:
            for commit in self._flights.popleft().commits:
                self._confirmed[(commit.topic, commit.partition)] = commit

    def wait(self, timeout_s: float) -> bool:
        """Wait until every flight is confirmed, up to `timeout_s`; return whether all are."""
        deadline_s = time.monotonic() + timeout_s
        self.poll()
        while self._flights and time.monotonic() < deadline_s:
            self.poll(POLL_S)
        return not self._flights

    def take_confirmed(self) -> list[TopicPartition]:
        """Return what became ready to commit since the last call, the newest offset of each source partition."""
        confirmed = [*self._confirmed.values()]
        self._confirmed.clear()
        return confirmed

    def forget(self, sources: Iterable[tuple[str, int]]) -> None:
        """Commit nothing more of partitions that moved to another worker, or start over."""
        gone = {*sources}
        for flight in self._flights:
            flight.commits = [at for at in flight.commits if (at.topic, at.partition) not in gone]
        self._confirmed = {source: at for source, at in self._confirmed.items() if source not in gone}

    def _confirmer(self, flight: _Flight, size_bytes: int) -> Callable[[KafkaError | None, Message], None]:
        def confirm(error: KafkaError | None, _: Message) -> None:
            flight.unconfirmed -= 1
            self._unconfirmed_bytes -= size_bytes
            self._failed = self._failed or error

        return confirm


def _not_delivered(error: KafkaError) -> StateError:
    return StateError(
        f"facts were not delivered: {error.str()}",
        action="grant the missing ACL, create the topic or raise its max.message.bytes, as the error says, "
        "then start again",
    )
