"""Source topics that are deleted or recreated."""

from __future__ import annotations

from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from streams.errors import StateError
from streams.ingest import watch
from streams.ingest.watch import TopicWatch
from tests.support.ingesting import Site
from tests.support.waiting import wait_until
from topics.cluster import admin

pytestmark = pytest.mark.broker


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "QUERY_INTERVAL_S", 0.0)
    monkeypatch.setattr(watch, "RETRY_INTERVAL_S", 0.0)


@pytest.fixture
def site(kafka: str, fresh_prefix: str, tmp_path: Path) -> Site:
    """Two source topics."""
    return Site.made(kafka, fresh_prefix, tmp_path, {"spans": 1, "logs": 1})


def test_topic_with_another_id_was_recreated(site: Site) -> None:
    """Exactly the topic whose id has changed is returned."""
    spans, logs = site.settings.source_topics
    reading = admin.topic_ids(site.client, [spans, logs])
    looking = TopicWatch(site.client, (spans, logs))
    said: list[set[str]] = []

    def told(reading: dict[str, str]) -> set[str]:
        said.append(looking.step(reading))
        return said[-1]

    wait_until(lambda: bool(told({**reading, logs: "another"})), "it is seen")

    assert {logs} == said[-1]


def test_missing_topic_is_an_error(site: Site) -> None:
    """A topic that is missing in several queries in a row ends the program; the message names it and an action."""
    looking = TopicWatch(site.client, (site.spans, "gone"))

    with pytest.raises(StateError, match=r"source topic not found: gone\. Action: create it"):
        wait_until(lambda: bool(looking.step({})), "it is missed")


def test_missing_answer_is_not_a_missing_topic(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an answer nothing is returned, and the query is repeated."""
    monkeypatch.setattr(admin, "TIMEOUT_S", 0.1)
    looking = TopicWatch(AdminClient({"bootstrap.servers": "127.0.0.1:1", "log_level": 0}), ("spans",))
    looks = 0

    def has_looked() -> bool:
        nonlocal looks
        was_looking = looking._query is not None
        assert set() == looking.step({"spans": "any"})
        looks += was_looking and looking._query is None
        return looks > watch.MAX_MISSES

    wait_until(has_looked, "there were as many looks as make an error")
