"""What ingest sends, in flights: all messages of one flush, and the source offsets to commit once they are confirmed.

In: messages and offsets. Out: offsets whose flight, and every flight before it, the brokers have confirmed. The
producer is idempotent, so what is confirmed is on the topic once and in order. It never gives up on brokers that are
away: `has_room` says when to suspect reading. What brokers refuse ends ingest, because it can never be committed.
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
    # Brokers may be away for as long as they like.
    "message.timeout.ms": 0,
    # `has_room` limits what waits; one batch more must always fit.
    "queue.buffering.max.messages": 1_000_000,
    "queue.buffering.max.kbytes": 2_000_000,
}

Headers = Sequence[tuple[str, str | bytes | None]]


@dataclass(slots=True)
class _Flight:
    """Messages that are not confirmed yet, and what to commit when they are."""

    unconfirmed: int = 0
    commits: list[TopicPartition] = field(default_factory=list)


class Outbox:
    """Sends messages; collects what may be committed, by source partition, until it is taken."""

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
        """So little is unconfirmed that more may be sent."""
        return len(self._flights) < MAX_FLIGHTS and self._unconfirmed_bytes < ROOM_BYTES

    def send(
        self, topic: str, value: bytes | None, key: bytes | None, partition: int = ANY_PARTITION, headers: Headers = ()
    ) -> None:
        """Sends a message as part of the current flight, without waiting while there is room.

        When the producer's queue is full all the same it waits; when a suspect is asked for meanwhile, the message is
        not sent and its flight is never confirmed.

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
        """Ends the current flight: `commits` may be committed when it is confirmed."""
        self._flight.commits = commits
        self._flights.append(self._flight)
        self._flight = _Flight()

    def poll(self, timeout_s: float = 0) -> None:
        """Takes in confirmations, waiting for the first at most `timeout_s`; raises `StateError` when one failed."""
        self._producer.poll(timeout_s)
        if self._failed is not None:
            raise _not_delivered(self._failed)
        while self._flights and not self._flights[0].unconfirmed:
            for commit in self._flights.popleft().commits:
                self._confirmed[(commit.topic, commit.partition)] = commit

    def wait(self, timeout_s: float) -> bool:
        """Waits until every flight is confirmed, but at most so long; returns whether it is."""
        deadline_s = time.monotonic() + timeout_s
        self.poll()
        while self._flights and time.monotonic() < deadline_s:
            self.poll(POLL_S)
        return not self._flights

    def take_confirmed(self) -> list[TopicPartition]:
        """What became ready to commit since the last call, the newest offset of each source partition."""
        confirmed = [*self._confirmed.values()]
        self._confirmed.clear()
        return confirmed

    def forget(self, sources: Iterable[tuple[str, int]]) -> None:
        """Nothing is to be committed of these any more: they are another worker's, or begin again."""
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
        f"facts were not delivered: {error.str()}", action="see why the brokers refuse it, then start again"
    )
