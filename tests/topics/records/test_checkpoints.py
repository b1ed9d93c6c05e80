"""The status in a checkpoint."""

from __future__ import annotations

import hashlib

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from topics.records import checkpoints
from topics.records.checkpoints import Checkpoint, JudgingTimes, PartitionStatus

FINGERPRINTS = [hashlib.blake2b(str(number).encode(), digest_size=16).hexdigest() for number in range(5_000)]
EVERY_RULE = {"first": frozenset(FINGERPRINTS), "second": frozenset(FINGERPRINTS)}


def checkpoint(judging: JudgingTimes | None) -> Checkpoint:
    """Build a checkpoint with this status."""
    return Checkpoint(
        version=checkpoints.VERSION,
        topic_id="topic",
        published_to=7,
        start_offset=3,
        start=b"",
        covered=b"",
        status=PartitionStatus(clock_ms=70, held_by=None, open_windows=0, rules="first", judging=judging),
    )


@given(st.dictionaries(st.sampled_from(FINGERPRINTS), st.sampled_from([0, 100, 1_767_614_400_000]), max_size=40))
def test_times_round_trip(times: dict[str, int]) -> None:
    """The time of each rule survives a round trip through the record."""
    rules = {"first": frozenset({*times, FINGERPRINTS[0]}), "second": frozenset(times)}
    written = checkpoints.encode(checkpoint(JudgingTimes.of(rules, times)))

    status = checkpoints.decode(written).status

    assert status is not None
    assert status.judging is not None
    assert times == status.judging.judges_from(rules.__getitem__)


def test_no_rule_judges_without_a_source() -> None:
    """Without a source partition no rule judges."""
    assert {} == JudgingTimes.of([], {}).judges_from(EVERY_RULE.__getitem__)


def test_thousands_of_rules_fit() -> None:
    """5,000 rules with as many different times take a fraction of Kafka's message limit."""
    at_once = checkpoints.encode(checkpoint(JudgingTimes.of(EVERY_RULE, dict.fromkeys(FINGERPRINTS, 9_000))))
    one_by_one = checkpoints.encode(
        checkpoint(JudgingTimes.of(EVERY_RULE, {rule: at for at, rule in enumerate(FINGERPRINTS)}))
    )

    assert len(at_once) < 200
    assert len(one_by_one) < 100_000


def test_checkpoint_of_an_earlier_version() -> None:
    """A status without times can be read, and one with times can be read by an earlier version."""
    current = msgspec.msgpack.encode(
        PartitionStatus(
            clock_ms=70, held_by=None, open_windows=0, rules="first", judging=JudgingTimes.of(["first"], {})
        )
    )

    class Before(msgspec.Struct, array_like=True):
        clock_ms: int | None
        held_by: None
        open_windows: int
        rules: str | None

    assert Before(70, None, 0, "first") == msgspec.msgpack.decode(current, type=Before)
    assert PartitionStatus(clock_ms=70, held_by=None, open_windows=0, rules="first") == msgspec.msgpack.decode(
        msgspec.msgpack.encode(Before(70, None, 0, "first")), type=PartitionStatus
    )
