"""Tests `betrace doctor` on a real Kafka."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Producer

from streams.cli import main
from streams.config.settings import Settings
from streams.rules import registry
from tests.support.driven import AUDITED, DRIVEN, FAR_MS, FEW, A, Driven, compiled
from tests.support.installation import installed
from topics.records import checkpoints
from topics.records import rules as records
from topics.records.checkpoints import Checkpoint

pytestmark = pytest.mark.broker

OTHER = checkpoints.encode(
    Checkpoint(version=checkpoints.VERSION + 1, topic_id="", published_to=0, start_offset=0, start=b"", covered=b"")
)


@pytest.fixture
def settings(kafka: str, fresh_prefix: str, tmp_path: Path) -> Settings:
    """An installation with a rule."""
    settings = installed(kafka, fresh_prefix, tmp_path)
    registry.push(settings, compiled(AUDITED), now_ms=1)
    return settings


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Closes the stores and producers of workers that a test left open."""
    yield
    while DRIVEN:
        DRIVEN.pop().crash()


def doctor(settings: Settings, *arguments: str) -> Result:
    """Runs the command."""
    where = ["--bootstrap", settings.bootstrap, "--prefix", settings.prefix]
    return CliRunner().invoke(main, ["doctor", *where, *arguments])


def produce(settings: Settings, topic: str, key: bytes, value: bytes) -> None:
    """Writes a record to partition 0 of one of BeTrace's own topics."""
    producer = Producer({**settings.client()})
    producer.produce(settings.topic(topic), value, key, 0)
    producer.flush()


def test_healthy_installation(settings: Settings) -> None:
    """A healthy installation has no findings."""
    result = doctor(settings)

    assert (0, "every rule set and checkpoint can be read\n") == (result.exit_code, result.stdout)


def test_unused_damaged_rules_are_removed(settings: Settings) -> None:
    """Damaged records are deleted; a set that merely no longer compiles is history, and kept."""
    kept = records.encode(records.RuleSetRecord(texts={"a.rules": "no rule"}, pushed_by="u", pushed_ms=1))
    produce(settings, "rules", b"zzz", b"garbage")
    produce(settings, "rules", b"old", kept)

    before, repaired = doctor(settings), doctor(settings, "--repair")
    after = doctor(settings)

    assert [0, 0, 0] == [each.exit_code for each in (before, repaired, after)], repaired.output
    assert f"{settings.topic('rules')} key zzz: repaired" in repaired.stdout
    assert (True, False) == ("key zzz" in before.stdout, "key zzz" in after.stdout)
    assert "key old" in after.stdout
    assert {b"old"} == {*registry.unreadable_keys(settings)}


def test_required_rules_are_kept(settings: Settings) -> None:
    """The active set, and one that facts were projected with, are not removed: the message says how to restore them."""
    driven = Driven(settings)
    driven.apply(10_000, driven.entry(100, "pii.access"))
    driven.step()
    needed = compiled(AUDITED)
    registry.push(settings, compiled(FEW), now_ms=2)
    produce(settings, "rules", needed.fingerprint.encode(), b"garbage")

    result = doctor(settings, "--repair")
    registry.push(settings, needed, now_ms=3)

    assert 3 == result.exit_code
    assert "facts were projected with it: push those rules again" in result.stdout
    assert 0 == doctor(settings).exit_code


def test_missing_active_set_is_reported(settings: Settings) -> None:
    """Following the message's instructions resolves the finding."""
    produce(settings, "rules", records.ACTIVE_KEY, b"\xff")

    result = doctor(settings, "--repair")
    registry.push(settings, compiled(AUDITED), now_ms=3)

    assert 3 == result.exit_code
    assert "push rules with betrace rules push DIR" in result.stdout
    assert 0 == doctor(settings).exit_code


@pytest.mark.parametrize("has_checkpoint", [True, False])
def test_checkpoint_of_another_version_is_replaced(settings: Settings, *, has_checkpoint: bool) -> None:
    """A start is refused and names this command; after the repair everything continues, and nothing is duplicated."""
    driven = Driven(settings)
    if has_checkpoint:
        driven.apply(10_000, driven.entry(100, "pii.access"))
        driven.step()
    driven.crash()
    produce(settings, "checkpoints", b"0", OTHER)

    before, repaired = doctor(settings), doctor(settings, "--repair")
    after = doctor(settings)
    driven = driven.again()
    driven.apply(FAR_MS)
    driven.step()

    assert [3, 0, 0] == [each.exit_code for each in (before, repaired, after)], repaired.output
    assert "repair it only if no other version has run here" in before.stdout
    assert [(A.hex(), "broken", 1)] * has_checkpoint == driven.signals()


def test_foreign_record_is_listed_and_stops_no_worker(settings: Settings) -> None:
    """A foreign record is listed although workers skip it: somebody else writes to the topic."""
    produce(settings, "checkpoints", b"0", b"garbage")

    result = doctor(settings)

    assert 0 == result.exit_code
    assert "workers skip it" in result.stdout
