"""Where sessions begins to read."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from streams import recover
from streams.sessions import LogIdentity
from streams.settings import Settings
from streams.window.rules import RuleTimes
from streams.window.store import Position, Row
from tests.streams.installation import installed

pytestmark = pytest.mark.broker


@pytest.fixture
def settings(kafka: str, fresh_prefix: str, tmp_path: Path) -> Settings:
    """An installation with two facts partitions."""
    return installed(kafka, fresh_prefix, tmp_path)


@pytest.fixture
def identity(settings: Settings) -> LogIdentity:
    """The facts log of the installation."""
    return recover.identify(AdminClient({**settings.client()}), settings)


def consumer(settings: Settings) -> Consumer:
    """A member of the group of sessions, once it subscribes."""
    return Consumer(
        {**settings.client(), "group.id": settings.group("sessions"), "enable.auto.commit": False, "log_level": 0}
    )


def commit(settings: Settings, *offsets: int) -> None:
    """Commits an offset for each facts partition, as the group of sessions does."""
    one = consumer(settings)
    one.commit(offsets=[TopicPartition(settings.topic("facts"), *at) for at in enumerate(offsets)], asynchronous=False)
    one.close()


def committed(settings: Settings) -> list[int | None]:
    """What is committed for each facts partition, None where nothing is."""
    one = consumer(settings)
    asked = [TopicPartition(settings.topic("facts"), number) for number in range(settings.facts_partitions)]
    offsets = [at.offset if at.offset >= 0 else None for at in one.committed(asked, timeout=10)]
    one.close()
    return offsets


def remember(settings: Settings, identity: LogIdentity, number: int, offset: int) -> None:
    """Leaves a store that needs to read on from `offset`."""
    position = Position(offset, None, [Row(offset, None, [])], [], RuleTimes())
    with identity.store(settings, number) as store:
        store.write([], {}, position)


def test_identity_is_that_of_the_log(settings: Settings, identity: LogIdentity) -> None:
    """A new facts log begins at 0, and another installation's is another one."""
    other = installed(settings.bootstrap, f"{settings.prefix}other.", settings.state_dir)

    another = recover.identify(AdminClient({**settings.client()}), other)

    assert {0: 0, 1: 0} == identity.begin_offsets
    assert identity.cluster_id == another.cluster_id
    assert identity.topic_id != another.topic_id


def test_first_start_commits_nothing(settings: Settings, identity: LogIdentity) -> None:
    """Where nothing is committed reading begins at the beginning anyway."""
    recover.rewind(settings, identity)

    assert [None, None] == committed(settings)


def test_commit_that_the_store_agrees_with_stays(settings: Settings, identity: LogIdentity) -> None:
    """A commit at or below what the store needs is left alone: the store skips what it knows."""
    remember(settings, identity, 0, 7)
    remember(settings, identity, 1, 9)
    commit(settings, 7, 5)

    recover.rewind(settings, identity)

    assert [7, 5] == committed(settings)


def test_partition_without_its_store_is_read_again(settings: Settings, identity: LogIdentity) -> None:
    """A lost store means the whole log again, for that partition alone."""
    remember(settings, identity, 1, 9)
    commit(settings, 7, 9)

    recover.rewind(settings, identity)

    assert [0, 9] == committed(settings)


def test_store_that_is_behind_its_commit_is_believed(settings: Settings, identity: LogIdentity) -> None:
    """A store that was put back from a copy reads on from where it stands."""
    remember(settings, identity, 0, 3)
    commit(settings, 7, 0)

    recover.rewind(settings, identity)

    assert [3, 0] == committed(settings)


def test_store_of_other_bounds_is_thrown_away(settings: Settings, identity: LogIdentity) -> None:
    """With another gap every window is another one: the log is read again."""
    remember(settings, identity, 0, 7)
    remember(settings, identity, 1, 7)
    commit(settings, 7, 7)

    recover.rewind(dataclasses.replace(settings, gap_ms=1_000), identity)

    assert [0, 0] == committed(settings)


def test_offsets_of_a_group_at_work_stay(
    settings: Settings, identity: LogIdentity, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While other workers are in the group its commits are theirs, and a start does not fail for that."""
    monkeypatch.setattr(recover, "EMPTY_S", 0.1)
    commit(settings, 7, 7)
    worker = consumer(settings)
    worker.subscribe([settings.topic("facts")])
    while not worker.assignment():
        worker.poll(0.1)

    recover.rewind(settings, identity)

    worker.close()
    assert [7, 7] == committed(settings)
