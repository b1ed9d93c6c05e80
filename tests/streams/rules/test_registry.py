"""Tests rule sets on their topic."""

from __future__ import annotations

from pathlib import Path

import pytest
from confluent_kafka import Producer
from structlog.testing import capture_logs

from dsl import RuleSet, compile_texts
from streams.config.settings import Settings
from streams.errors import ConfigError, StateError
from streams.rules import registry
from streams.rules.registry import RuleSets
from tests.support.installation import installed
from topics.records import rules as records

ONE = '// "Access is audited"\npii.access and audit.log\n'
OTHER = "// id: few\n// kind: pattern\ncount(agent.tool) > {count}\n"


@pytest.fixture
def settings(kafka: str, fresh_prefix: str, tmp_path: Path) -> Settings:
    """A new installation."""
    return installed(kafka, fresh_prefix, tmp_path)


def compiled(text: str, name: str = "a.rules") -> RuleSet:
    """The rules in a text."""
    rules, _ = compile_texts({name: text})
    return rules


def write(settings: Settings, key: bytes, value: bytes | None) -> None:
    """Writes a record to the rules topic."""
    producer = Producer({**settings.client()})
    producer.produce(settings.topic("rules"), value, key)
    producer.flush()


@pytest.mark.broker
def test_pushed_set_is_active(settings: Settings) -> None:
    """The last set pushed is active, and earlier ones are still known."""
    one, other = compiled(ONE), compiled(OTHER.format(count=2))
    registry.push(settings, one, now_ms=1)
    registry.push(settings, other, now_ms=2)

    known, active = registry.read(settings)

    assert ({one.fingerprint, other.fingerprint}, other.fingerprint) == (set(known.sets), active)
    assert other.fingerprint == registry.read_active(settings).fingerprint
    assert ONE == known.sets[one.fingerprint].texts["a.rules"]


@pytest.mark.broker
def test_set_that_was_pushed_before_can_be_made_active_again(settings: Settings) -> None:
    """A rollback is a push like any other."""
    one, other = compiled(ONE), compiled(OTHER.format(count=2))
    for rules in (one, other, one):
        registry.push(settings, rules, now_ms=1)

    active = registry.read_active(settings)

    assert one.fingerprint == active.fingerprint


@pytest.mark.broker
def test_no_set_was_pushed(settings: Settings) -> None:
    """Without rules nothing is active, and the error says how to push some."""
    known, active = registry.read(settings)

    assert (0, None) == (len(known.sets), active)
    with pytest.raises(ConfigError, match=r"no rules are active on .*rules push"):
        registry.read_active(settings)


@pytest.mark.broker
@pytest.mark.parametrize(
    "value",
    [
        b"{",
        b'{"texts": {"a.rules": "not a rule"}, "pushed_by": "u", "pushed_ms": 1}',
        records.encode(records.RuleSetRecord(texts={"a.rules": ONE + ONE}, pushed_by="u", pushed_ms=1)),
        b"\xff",
    ],
)
def test_unreadable_set_is_skipped(settings: Settings, value: bytes) -> None:
    """An unreadable set that nobody needs stops nobody: a warning names it, and the other sets are available."""
    one = compiled(ONE)
    registry.push(settings, one, now_ms=1)
    write(settings, b"\xffkey", value)

    with capture_logs() as logged:
        known, active = registry.read(settings)

    assert ({one.fingerprint}, one.fingerprint) == (set(known.sets), active)
    assert ["\ufffdkey"] == [*known.unreadable]
    assert ["\ufffdkey"] == [entry["rule_set"] for entry in logged]


@pytest.mark.broker
@pytest.mark.parametrize(
    "value", [b"garbage", records.encode(records.RuleSetRecord(texts={}, pushed_by="u", pushed_ms=1))]
)
def test_unreadable_active_set_can_be_pushed_again(settings: Settings, value: bytes) -> None:
    """A start reports it, and following the message works: the same files are pushed again."""
    one = compiled(ONE)
    registry.push(settings, one, now_ms=1)
    write(settings, one.fingerprint.encode(), value.replace(b"{}", b'{"a.rules": "no rule"}'))

    with pytest.raises(StateError, match=r"active rule set .* cannot be read: .*Action: push rules with betrace rules"):
        registry.read_active(settings)
    registry.push(settings, one, now_ms=2)

    assert one.fingerprint == registry.read_active(settings).fingerprint


@pytest.mark.broker
def test_unreadable_set_can_be_removed(settings: Settings) -> None:
    """A damaged record can be removed whatever its key is; then nothing reports it any more."""
    registry.push(settings, compiled(ONE), now_ms=1)
    write(settings, b"\xffkey", b"garbage")
    [key] = registry.unreadable_keys(settings)

    registry.remove(settings, key)

    assert (b"\xffkey", {}) == (key, registry.unreadable_keys(settings))


def test_set_that_is_not_known_has_no_rules() -> None:
    """Compared with an unreadable set every rule is new."""
    assert frozenset() == RuleSets().rule_fingerprints("other")


@pytest.mark.broker
def test_deleted_set_is_not_known(settings: Settings) -> None:
    """A set whose key was deleted is gone, as after compaction."""
    one, other = compiled(ONE), compiled(OTHER.format(count=2))
    registry.push(settings, one, now_ms=1)
    registry.push(settings, other, now_ms=2)
    write(settings, one.fingerprint.encode(), None)

    known, active = registry.read(settings)

    assert ({other.fingerprint}, other.fingerprint) == (set(known.sets), active)


@pytest.mark.broker
def test_set_beyond_the_limit_is_refused(settings: Settings) -> None:
    """A set that the brokers reject is a configuration error, and the active set stays."""
    one = compiled(ONE)
    registry.push(settings, one, now_ms=1)
    huge = compiled(OTHER.format(count=3) + f"// {'x' * registry.SET_BYTES}\n", "huge.rules")

    with pytest.raises(ConfigError, match="the rules were not written to"):
        registry.push(settings, huge, now_ms=2)

    assert one.fingerprint == registry.read_active(settings).fingerprint


def test_counted_is_the_maximum_over_all_sets() -> None:
    """An atom that two sets count is counted as far as the larger set needs."""
    known = RuleSets()
    for count in (5, 2):
        known.add(compiled(OTHER.format(count=count)))

    assert [6] == list(known.counted().values())


def test_set_that_counts_nothing_needs_nothing() -> None:
    """Atoms that no rule counts keep no identities."""
    known = RuleSets()
    known.add(compiled(ONE))

    assert {} == known.counted()


def test_rule_that_is_not_enabled_is_not_judged() -> None:
    """Nothing is projected for a disabled rule, so enabling it acts like pushing it."""
    known = RuleSets()
    few = "\n// id: few\n// kind: pattern\n// enabled: {}\ncount(agent.tool) > 2\n"
    on, off = (compiled(ONE + few.format(enabled)) for enabled in ("true", "false"))
    known.add(on)
    known.add(off)

    judged_on, judged_off = known.rule_fingerprints(on.fingerprint), known.rule_fingerprints(off.fingerprint)

    assert 1 == len(judged_on - judged_off)
    assert set() == judged_off - judged_on


@pytest.mark.broker
def test_set_whose_meaning_changed_in_an_upgrade(settings: Settings) -> None:
    """An upgrade that changes the meaning of rules is a push: active texts have the fingerprint of their meaning."""
    rules = compiled(ONE)
    record = records.RuleSetRecord(texts=dict(rules.texts), pushed_by="ada", pushed_ms=1)
    write(settings, b"0ld", records.encode(record))
    write(settings, records.ACTIVE_KEY, b"0ld")

    known, active = registry.read(settings)

    assert (rules.fingerprint, {rules.fingerprint, "0ld"}) == (active, set(known.sets))
    assert rules == registry.read_active(settings)
    assert frozenset() == known.rule_fingerprints("0ld")
    assert frozenset({rules.rules[0].fingerprint}) == known.rule_fingerprints(rules.fingerprint)


def test_facts_of_an_older_meaning_are_judged_by_nothing() -> None:
    """Sets that a worker learns later are equivalent to those known at its start."""
    known, found, rules = RuleSets(), RuleSets(), compiled(ONE)
    found.add_pushed("0ld", rules)

    known.update(found)

    assert (frozenset(), rules) == (known.rule_fingerprints("0ld"), known.sets["0ld"])
