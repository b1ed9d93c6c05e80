"""Commits without waiting."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition

from streams.ingest.commits import Commits
from streams.kafka import background
from streams.observe import metrics
from tests.support.ingesting import Site

pytestmark = pytest.mark.broker

CONFIRM_S = 30


@pytest.fixture
def site(kafka: str, fresh_prefix: str, tmp_path: Path) -> Site:
    """A source topic with one partition."""
    return Site.made(kafka, fresh_prefix, tmp_path, {"spans": 1})


@pytest.fixture
def commits() -> Commits:
    """No commit is in flight."""
    return Commits()


@pytest.fixture
def consumer(site: Site, commits: Commits) -> Iterator[Consumer]:
    """A consumer of ingest's group."""
    config = {"group.id": site.settings.group("ingest"), "enable.auto.commit": False, "on_commit": commits.note}
    made = Consumer({**site.settings.client(), **config})
    yield made
    made.close()


def failed_count() -> float:
    """Return the number of failed commits."""
    return metrics.totals()["commits_failed"]


def test_wait_returns_when_the_commit_is_done(site: Site, commits: Commits, consumer: Consumer) -> None:
    """After the wait the commit is done, and not counted as failed."""
    before = failed_count()

    commits.send(consumer, [TopicPartition(site.spans, 0, 5)])

    commits.wait(consumer, CONFIRM_S)
    assert [(5, before)] == [(commit.offset, failed_count()) for commit in site.committed().values()]


@pytest.mark.parametrize("also", [[], [0]])
def test_refused_commit_is_counted(site: Site, commits: Commits, consumer: Consumer, also: list[int]) -> None:
    """A commit for a partition that does not exist is counted, whether all or part of it failed; nothing is raised."""
    before = failed_count()

    commits.send(consumer, [TopicPartition(site.spans, number, 5) for number in (*also, 9)])

    commits.wait(consumer, CONFIRM_S)
    assert 1 == failed_count() - before


def test_wait_for_brokers_that_are_away_ends() -> None:
    """The wait ends without an answer, and an unanswered commit is not counted as failed."""
    commits = Commits()
    consumer = Consumer({"bootstrap.servers": "127.0.0.1:1", "group.id": "any", "log_level": 0})
    before = failed_count()
    commits.send(consumer, [TopicPartition("spans", 0, 5)])
    began_s = time.monotonic()

    commits.wait(consumer, 0.2)

    took_s = time.monotonic() - began_s
    # Without an answer the client waits for its own time-outs before it closes.
    background.run_in_background(consumer.close)
    assert 0.2 <= took_s < CONFIRM_S
    assert before == failed_count()
