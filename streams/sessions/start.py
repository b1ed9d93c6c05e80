"""What can be known of a start of sessions before anything is changed.

In: the settings of each worker that is to start. Out: the error that a worker would end with when it takes a facts
partition over, or nothing. No partition is taken over here, so a worker that runs elsewhere is left in peace.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import msgspec
from confluent_kafka.admin import AdminClient

from streams.config.settings import Settings
from streams.errors import StateError
from streams.kafka import reader
from streams.sessions import recovery
from streams.sessions.credentials import credentials
from streams.sessions.last_checkpoint import last_checkpoint
from streams.sessions.recovery import LogIdentity
from topics.records import facts

AT_ONCE = 8
"""So many facts partitions are looked at together: each one's answers take a while."""


def check(admin: AdminClient, workers: Sequence[Settings]) -> None:
    """Looks at everything that workers with these settings, of one installation, begin with.

    Raises:
        AdminError, NotDoneError: the brokers do not answer.
        ConfigError: a certificate or key cannot be used.
        StateError: a store, a checkpoint or the facts log cannot be read.
    """
    settings = workers[0]
    credentials(settings.security)
    identity = recovery.identify(admin, settings)
    numbers = range(settings.facts_partitions)
    for number in numbers:
        for worker in workers:
            identity.stored_position(worker, number)
    checks = [_PartitionCheck(settings, identity, number) for number in numbers]
    with ThreadPoolExecutor(AT_ONCE, "start") as pool:
        # Asked for its results: the first error is raised here.
        list(pool.map(_PartitionCheck.check, checks))


@dataclass(frozen=True, slots=True)
class _PartitionCheck:
    """One facts partition."""

    settings: Settings
    identity: LogIdentity
    number: int

    def check(self) -> None:
        """Raises as the module's `check` does."""
        found = last_checkpoint(self.settings, self.number, _never)
        recovery.decode_covered(self.number, recovery.of_log(found, self.identity.topic_id))
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
