"""Faust and a `SessionsWorker` together: what ends them, and that nothing fails silently."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from streams.config.settings import Settings
from streams.errors import StateError
from streams.observe import metrics
from streams.rules.registry import RuleSets
from streams.sessions import recovery
from streams.sessions.app import SessionsApp, instance_id
from streams.sessions.worker import Acknowledge, SessionsWorker
from tests.support import bombs
from tests.support.installation import installed
from topics.records import facts

pytestmark = pytest.mark.broker


@pytest.fixture
def settings(kafka: str, fresh_prefix: str, tmp_path: Path) -> Settings:
    """An installation with one facts partition and no rules."""
    return installed(kafka, fresh_prefix, tmp_path, facts_partitions=1)


class FullDisk(SessionsWorker):
    """Fails at its first step, with an error that is not ours."""

    def step(self, *, is_last: bool = False) -> list[Acknowledge]:  # noqa: ARG002, called as the worker's
        """Fail as a full disk does."""
        raise OSError(28, "No space left on device")


class Interrupted(SessionsWorker):
    """Calls `stop_app` in the middle of a step; `most_at_once` is how many steps ever ran concurrently."""

    stop_app: Callable[[], None]
    step_count = most_at_once = 0
    _at_once = 0
    _first_goes_on = threading.Event()

    def step(self, *, is_last: bool = False) -> list[Acknowledge]:
        """Continue the first step for a while after it asked for the stop."""
        self.step_count += 1
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        if self.step_count == 1:
            self.stop_app()
            self._first_goes_on.wait(0.5)
        due = super().step(is_last=is_last)
        self._at_once -= 1
        return due


def worker(settings: Settings, kind: type[SessionsWorker] = SessionsWorker) -> SessionsWorker:
    """Create a worker of the installation."""
    return kind(settings, RuleSets(), recovery.identify(AdminClient({**settings.client()}), settings))


def run(settings: Settings, of: SessionsWorker) -> None:
    """Run the application to its end."""

    async def main() -> None:
        app = SessionsApp(settings, of)
        if isinstance(of, Interrupted):
            of.stop_app = app.stop
        await app.run()

    asyncio.run(main())


def send(settings: Settings, *values: bytes | None) -> None:
    """Send messages to the facts topic."""
    producer = Producer({**settings.client()})
    for value in values:
        producer.produce(settings.topic("facts"), value, partition=0)
    producer.flush()


def test_step_that_fails_ends_the_program(settings: Settings) -> None:
    """Any error in a step ends the program: a worker that processes but never steps would fail silently."""
    with pytest.raises(StateError, match=r"No space left on device.*Action: "):
        run(settings, worker(settings, FullDisk))


def test_brokers_lost_during_the_start_end_the_program(settings: Settings) -> None:
    """What Faust raises at its start is an error with an action, not a fault of the program."""
    of = worker(settings)
    away = dataclasses.replace(settings, bootstrap="127.0.0.1:1")

    with pytest.raises(StateError, match=r"Action: "):
        run(away, of)


def test_message_of_a_newer_version_ends_the_program(settings: Settings) -> None:
    """A flush that cannot be read is never acknowledged or skipped."""
    send(settings, facts.encode(facts.Facts(version=facts.VERSION + 1, rules="set", sections=[])))

    with pytest.raises(StateError, match=r"facts message 0/0 cannot be read: .*Action: upgrade sessions"):
        run(settings, worker(settings))


@pytest.mark.parametrize("value", [None, b"", b"no facts"])
def test_foreign_message_is_skipped(settings: Settings, value: bytes | None) -> None:
    """A message of another program contains no flush and is skipped; the message after it is processed."""
    passed_over = metrics.FACTS_PASSED_OVER._value.get()
    send(settings, value, facts.encode(facts.Facts(version=facts.VERSION + 1, rules="set", sections=[])))

    with pytest.raises(StateError, match="facts message 0/1 cannot be read"):
        run(settings, worker(settings))

    assert 1 == metrics.FACTS_PASSED_OVER._value.get() - passed_over


def test_unreadable_batch_is_lost(settings: Settings) -> None:
    """Faust passes over a batch that cannot be inflated, and the worker counts its messages as lost."""
    lost = metrics.FACTS_LOST._value.get()
    bombs.send(settings.bootstrap, settings.topic("facts"), count=3)
    send(settings, facts.encode(facts.Facts(version=facts.VERSION + 1, rules="set", sections=[])))

    with pytest.raises(StateError, match="facts message 0/3 cannot be read"):
        run(settings, worker(settings))

    assert 3 == metrics.FACTS_LOST._value.get() - lost


def test_stop_lets_a_step_finish(settings: Settings) -> None:
    """A stop in the middle of a step lets it finish before the last one starts."""
    interrupted = worker(settings, Interrupted)
    assert isinstance(interrupted, Interrupted)

    run(settings, interrupted)

    assert (2, 1) == (interrupted.step_count, interrupted.most_at_once)


def test_member_id_is_stable_across_restarts(settings: Settings, tmp_path: Path) -> None:
    """The member id depends on host and state directory, so a restarted worker gets its partitions back at once."""
    elsewhere = Settings(bootstrap=settings.bootstrap, state_dir=tmp_path / "elsewhere")

    assert instance_id(settings) == instance_id(settings) != instance_id(elsewhere)
