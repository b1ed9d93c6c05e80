"""What ingest sends, in flights: all messages of one flush, and the source offsets to commit once they are confirmed.

In: messages and offsets. Out: offsets whose flight, and every flight before it, the brokers have confirmed. The
producer is idempotent, so what is confirmed is on the topic once and in order.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

from streams.errors import StateError
from streams.settings import ClientSettings

FLIGHTS = 32
CONFIRM_S = 30.0
POLL_S = 0.1

ANY_PARTITION = -1

PRODUCER: ClientSettings = {
    "enable.idempotence": True,
    "acks": "all",
    "linger.ms": 0,
    "compression.type": "lz4",
    "topic.metadata.refresh.interval.ms": 5000,
}

Headers = Sequence[tuple[str, str | bytes | None]]


@dataclass(slots=True)
class _Flight:
    """Messages that are not confirmed yet, and what to commit when they are."""

    unconfirmed: int = 0
    commits: list[TopicPartition] = field(default_factory=list)


class Outbox:
    """Sends messages; `confirmed` collects what may be committed, by source partition, until it is taken."""

    def __init__(self, client: ClientSettings) -> None:
        self._producer = Producer({**client})
        self._flights: deque[_Flight] = deque()
        self._flight = _Flight()
        self._confirmed: dict[tuple[str, int], TopicPartition] = {}
        self._failed: KafkaError | None = None

    def send(
        self, topic: str, value: bytes | None, key: bytes | None, partition: int = ANY_PARTITION, headers: Headers = ()
    ) -> None:
        """Sends a message as part of the current flight; waits while the producer's queue is full.

        Raises:
            StateError: the message cannot be sent, or an earlier one was not delivered.
        """
        flight = self._flight
        flight.unconfirmed += 1
        while True:
            try:
                self._producer.produce(topic, value, key, partition, self._confirmer(flight), headers=[*headers])
            except BufferError:
                self.poll(POLL_S)
            except KafkaException as error:
                raise _not_delivered(error.args[0]) from error
            else:
                return

    def depart(self, commits: list[TopicPartition]) -> None:
        """Ends the current flight: `commits` may be committed when it is confirmed. Waits while too many are out."""
        self._flight.commits = commits
        self._flights.append(self._flight)
        self._flight = _Flight()
        while len(self._flights) > FLIGHTS:
            self.poll(POLL_S)

    def poll(self, timeout_s: float = 0) -> None:
        """Takes in confirmations, waiting for the first at most `timeout_s`; raises `StateError` when one failed."""
        self._producer.poll(timeout_s)
        if self._failed is not None:
            raise _not_delivered(self._failed)
        while self._flights and not self._flights[0].unconfirmed:
            for commit in self._flights.popleft().commits:
                self._confirmed[(commit.topic, commit.partition)] = commit

    def wait(self) -> None:
        """Waits until every flight is confirmed; raises `StateError` when that takes longer than `CONFIRM_S`."""
        deadline_s = time.monotonic() + CONFIRM_S
        while self._flights:
            self.poll(POLL_S)
            if time.monotonic() > deadline_s:
                raise StateError("facts are not confirmed", action="see whether the brokers answer, then start again")

    def take_confirmed(self) -> list[TopicPartition]:
        """What became ready to commit since the last call, the newest offset of each source partition."""
        confirmed = [*self._confirmed.values()]
        self._confirmed.clear()
        return confirmed

    def _confirmer(self, flight: _Flight) -> Callable[[KafkaError | None, Message], None]:
        def confirm(error: KafkaError | None, _: Message) -> None:
            flight.unconfirmed -= 1
            self._failed = self._failed or error

        return confirm


def _not_delivered(error: KafkaError) -> StateError:
    return StateError(
        f"facts were not delivered: {error.str()}", action="see why the brokers refuse it, then start again"
    )
