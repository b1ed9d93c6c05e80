"""What can be known of a start of sessions before anything is changed.

In: the settings of each worker that is to start. Out: the error that a worker would end with when it takes a facts
partition over, or nothing. No partition is taken over here, so a worker that runs elsewhere is left in peace.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import msgspec
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from streams.config.settings import Settings
from streams.errors import StateError
from streams.kafka import reader
from streams.sessions import takeover
from streams.sessions.credentials import credentials
from streams.sessions.last_checkpoint import last_checkpoint
from streams.sessions.takeover import LogIdentity
from streams.windows.positions import Position
from topics.cluster import admin as kafka
from topics.records import facts

AT_ONCE = 8
"""So many facts partitions are looked at together: each one's answers take a while."""


def check(admin: AdminClient, workers: Sequence[Settings]) -> None:
    """Looks at everything that workers with these settings, of one installation, begin with.

    Raises:
        AdminError, NotDoneError: the brokers do not answer.
        ConfigError: a certificate or key cannot be used.
        StateError: a store, a checkpoint or the facts log cannot be read, or they do not fit together.
    """
    settings = workers[0]
    credentials(settings.security)
    identity = takeover.identify(admin, settings)
    numbers = range(settings.facts_partitions)
    places = [TopicPartition(settings.topic("facts"), number) for number in numbers]
    # Before the checkpoints: a worker that runs elsewhere cuts the log below its last one.
    begins = kafka.begin_offsets(admin, places)
    looks = [
        _Look(settings, identity, number, begins[settings.topic("facts"), number], _stored(identity, workers, number))
        for number in numbers
    ]
    with ThreadPoolExecutor(AT_ONCE, "start") as pool:
        # Asked for its results: the first error is raised here.
        list(pool.map(_Look.check, looks))


def _stored(identity: LogIdentity, workers: Sequence[Settings], number: int) -> list[Position]:
    found = [identity.stored(each, number) for each in workers]
    return [position for position in found if position is not None]


@dataclass(frozen=True, slots=True)
class _Look:
    """One facts partition, whose log begins at `log_begin`; `stored` are the positions of the stores on this disk."""

    settings: Settings
    identity: LogIdentity
    number: int
    log_begin: int
    stored: Sequence[Position]

    def check(self) -> None:
        """Raises as the module's `check` does."""
        found = last_checkpoint(self.settings, self.number, _never)
        last = takeover.of_log(found, self.identity.topic_id)
        takeover.covered(self.number, last)
        if not any(takeover.is_whole(position, self.log_begin) for position in self.stored):
            takeover.rebuilt(self.number, last, self.log_begin)
        self._check_facts()

    def _check_facts(self) -> None:
        """Of another version's facts the last message is one."""
        message = reader.last(self.settings, self.settings.topic("facts"), self.number, _never)
        try:
            if message is not None and not facts.is_foreign(message.value() or b""):
                facts.decode(message.value() or b"")
        except msgspec.DecodeError as error:
            raise StateError(
                f"facts message {self.number}/{message and message.offset()} cannot be read: {error}",
                action="upgrade sessions, then start again",
            ) from error


def _never() -> bool:
    return False
