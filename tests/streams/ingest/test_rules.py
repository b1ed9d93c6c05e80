"""The watch of ingest over the active rules."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from dsl import RuleSet, compile_texts
from streams.config.settings import Settings
from streams.ingest import rules as watching
from streams.ingest.rules import RulesWatch
from streams.observe import metrics
from streams.rules import registry
from tests.support import bombs
from tests.support.installation import installed
from tests.support.waiting import wait_until
from topics.cluster import admin
from topics.records.rules import ACTIVE_KEY

pytestmark = pytest.mark.broker


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Query without delay, and reset the gauge of refused sets after each test."""
    monkeypatch.setattr(watching, "QUERY_INTERVAL_S", 0.0)
    monkeypatch.setattr(watching, "RETRY_INTERVAL_S", 0.0)
    yield
    metrics.RULES_REFUSED.set(0)


@pytest.fixture
def settings(kafka: str, fresh_prefix: str, tmp_path: Path) -> Settings:
    """An installation whose active rule set is `compiled(1)`."""
    settings = installed(kafka, fresh_prefix, tmp_path)
    registry.push(settings, compiled(1), now_ms=1)
    return settings


def compiled(count: int) -> RuleSet:
    """Compile a rule set."""
    return compile_texts({"a.rules": f"// id: few\n// kind: pattern\ncount(agent.tool) > {count}\n"})[0]


def watch(settings: Settings) -> RulesWatch:
    """Create a watch of the installation."""
    return RulesWatch(admin.connect(settings.client()), settings, compiled(1))


def followed(looking: RulesWatch) -> RuleSet:
    """Return the set that it switches to, as soon as it does."""
    found: list[RuleSet] = []

    def look() -> bool:
        looking.step()
        found.extend(filter(None, [looking.take_next()]))
        return bool(found)

    wait_until(look, "there are other rules")
    return found[0]


def test_pushed_set_is_followed(settings: Settings) -> None:
    """A push at run time is adopted, and shown in the metrics."""
    looking = watch(settings)
    registry.push(settings, compiled(2), now_ms=2)

    next_rules = followed(looking)

    assert compiled(2).fingerprint == next_rules.fingerprint == looking.rules.fingerprint
    [shown] = next(iter(metrics.RULES_PROJECTED.collect())).samples
    assert ({"fingerprint": next_rules.fingerprint}, 1.0) == (shown.labels, shown.value)


def test_unreadable_set_leaves_the_previous_one_in_use(settings: Settings) -> None:
    """A metric reports it; the next good push is adopted."""
    looking = watch(settings)
    producer = Producer({**settings.client()})
    producer.produce(settings.topic("rules"), b"{", b"broken")
    producer.produce(settings.topic("rules"), b"broken", ACTIVE_KEY)
    producer.flush()

    def is_refused() -> bool:
        looking.step()
        return bool(next(iter(metrics.RULES_REFUSED.collect())).samples[0].value)

    wait_until(is_refused, "the set is refused")

    assert looking.take_next() is None
    producer.produce(settings.topic("rules"), None, b"broken")
    producer.flush()
    registry.push(settings, compiled(3), now_ms=3)
    assert compiled(3).fingerprint == followed(looking).fingerprint


def test_activation_that_no_client_can_read_leaves_the_set_in_use(settings: Settings) -> None:
    """The activation before it may have been replaced there: ingest does not go back to it, and a metric says so."""
    looking = RulesWatch(admin.connect(settings.client()), settings, compiled(2))
    bombs.send(settings.bootstrap, settings.topic("rules"), key=ACTIVE_KEY)

    def is_refused() -> bool:
        looking.step()
        return bool(next(iter(metrics.RULES_REFUSED.collect())).samples[0].value)

    wait_until(is_refused, "the activation is refused")

    assert looking.take_next() is None
    registry.push(settings, compiled(3), now_ms=3)
    assert compiled(3).fingerprint == followed(looking).fingerprint
