"""Tests the history of pushes, and what the start of a single process may change."""

from __future__ import annotations

from pathlib import Path

import pytest
from confluent_kafka import Producer

from dsl import RuleSet, compile_texts
from streams.config.settings import Settings
from streams.rules import registry
from streams.rules.history import Activation, Push, Pushed, history, refusal
from tests.support.installation import installed
from topics.records import rules as records
from topics.records.rules import Origin, RuleSetRecord

ONE = '// "Access is audited"\npii.access and audit.log\n'
OTHER = "// id: few\n// kind: pattern\ncount(agent.tool) > 2\n"


@pytest.fixture
def settings(kafka: str, fresh_prefix: str, tmp_path: Path) -> Settings:
    """A new installation."""
    return installed(kafka, fresh_prefix, tmp_path)


def compiled(text: str) -> RuleSet:
    """The rules in a text."""
    rules, _ = compile_texts({"a.rules": text})
    return rules


def pushed(fingerprint: str, *origins: Origin | None, is_active: bool = False) -> Pushed:
    """A set that was pushed in these ways."""
    pushes = tuple(
        Push(number=at, rule_set=fingerprint, by="ann", time_ms=at, origin=origin, previous=None, revision=None)
        for at, origin in enumerate(origins)
    )
    record = RuleSetRecord(texts={}, pushed_by="ann", pushed_ms=0)
    return Pushed(
        fingerprint=fingerprint,
        record=record,
        pushes=pushes,
        activation=Activation("ann", 0, None) if is_active else None,
        rules=None,
    )


@pytest.mark.broker
def test_every_push_is_kept(settings: Settings) -> None:
    """The history has who, how, in place of what and which revision: a later push of the same set removes nothing."""
    one, other = compiled(ONE), compiled(OTHER)
    registry.push(settings, one, now_ms=1, revision="v1", by="ann")
    registry.push(settings, other, now_ms=2, by="bob", origin=Origin.RUN)
    registry.push(settings, one, now_ms=3, by="cyd")
    registry.activate(settings, other.fingerprint, now_ms=4, by="dan")

    sets = history(settings)

    made = sorted((push for each in sets for push in each.pushes), key=lambda push: push.number)
    assert [
        (one.fingerprint, "ann", Origin.PUSH, None, "v1"),
        (other.fingerprint, "bob", Origin.RUN, one.fingerprint, None),
        (one.fingerprint, "cyd", Origin.PUSH, other.fingerprint, None),
        (other.fingerprint, "dan", Origin.ROLLBACK, one.fingerprint, None),
    ] == [(push.rule_set, push.by, push.origin, push.previous, push.revision) for push in made]
    assert [one.fingerprint, other.fingerprint] == [each.fingerprint for each in sets]
    assert ("v1", False) == (sets[0].revision, sets[0].is_active)
    assert sets[1].activation is not None
    assert ("dan", one.fingerprint) == (sets[1].activation.by, sets[1].activation.previous)


@pytest.mark.broker
def test_a_push_has_the_time_of_the_broker(settings: Settings) -> None:
    """The pusher cannot backdate a push."""
    registry.push(settings, compiled(ONE), now_ms=1)

    [only] = history(settings)

    assert only.activation is not None
    assert 1_000_000_000_000 < only.last_push.time_ms <= only.activation.time_ms


@pytest.mark.broker
def test_a_set_of_an_older_version_has_its_one_push(settings: Settings) -> None:
    """What is known of a set stays when it is pushed again."""
    one = compiled(ONE)
    record = RuleSetRecord(texts=dict(one.texts), pushed_by="ann", pushed_ms=7, revision="v1")
    producer = Producer({**settings.client()})
    producer.produce(settings.topic("rules"), records.encode(record), one.fingerprint)
    producer.produce(settings.topic("rules"), one.fingerprint, records.ACTIVE_KEY)
    producer.flush()
    [before] = history(settings)

    registry.push(settings, one, now_ms=9, by="bob")

    [after] = history(settings)
    assert [("ann", 7, None, "v1")] == [(each.by, each.time_ms, each.origin, each.revision) for each in before.pushes]
    assert [("ann", None), ("bob", Origin.PUSH)] == [(each.by, each.origin) for each in after.pushes]
    assert "v1" == after.revision


@pytest.mark.parametrize(
    ("sets", "reason"),
    [
        ([], None),
        ([pushed("a", Origin.PUSH)], None),
        ([pushed("a", Origin.RUN, is_active=True)], None),
        ([pushed("a", Origin.PUSH, is_active=True)], "the active ones were not pushed by a start of betrace run"),
        ([pushed("a", None, is_active=True)], "the active ones were not pushed by a start of betrace run"),
        (
            [pushed("a", Origin.RUN, Origin.ROLLBACK, is_active=True)],
            "the active ones were not pushed by a start of betrace run",
        ),
        ([pushed("given", Origin.PUSH, is_active=True)], "they are active"),
        (
            [pushed("given", Origin.RUN), pushed("a", Origin.RUN, is_active=True)],
            "they were pushed before, and others have been activated since",
        ),
    ],
)
def test_start_undoes_no_push(sets: list[Pushed], reason: str | None) -> None:
    """A start pushes only what is new, and only in place of what a start pushed."""
    assert reason == refusal(sets, "given")
