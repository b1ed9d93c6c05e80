"""Checks what a start of sessions would fail on, before anything changes.

In: the settings of each worker that is about to start. Out: the error with which a worker would end when it opens a
facts partition, or nothing. No partition is taken over here, so a worker that runs elsewhere is not disturbed.
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
"""Facts partitions that are checked concurrently, because each has to wait for answers."""


def check(admin: AdminClient, workers: Sequence[Settings]) -> None:
    """Check everything that workers with these settings, of one installation, start from.

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
        # Iterating over the results raises the first error.
        list(pool.map(_PartitionCheck.check, checks))


@dataclass(frozen=True, slots=True)
class _PartitionCheck:
    """The check of one facts partition."""

    settings: Settings
    identity: LogIdentity
    number: int

    def check(self) -> None:
        """Raise as the module's `check` does."""
        last = last_checkpoint(self.settings, self.number, _never)
        recovery.decode_covered(self.number, recovery.of_log(last, self.identity.topic_id))
        self._check_facts()

    def _check_facts(self) -> None:
        """Check that the version of the last facts message is known."""
        # A worker passes over facts that no client can read; there is nothing to check in them.
        message = reader.last(self.settings, self.settings.topic("facts"), self.number, _never, lambda _: None)
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
