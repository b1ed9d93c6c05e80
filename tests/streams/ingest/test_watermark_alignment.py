"""Watermark alignment: which partitions wait for the slowest."""

from __future__ import annotations

from random import Random

from confluent_kafka import Consumer, TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from streams.ingest.watermark_alignment import MAX_DRIFT_MS, PartitionProgress, PausedPartitions, too_far_ahead
from streams.observe import metrics
from tests.support.builders import TOPIC

A, B, C = ((TOPIC, number) for number in range(3))


def at(reached_ms: int | None, *, began_ms: int | None = 0, at_end: bool = False) -> PartitionProgress:
    """Create the progress of a partition."""
    return PartitionProgress(began_ms, reached_ms, at_end)


def test_partition_far_ahead_waits() -> None:
    """More than a minute ahead of the slowest it waits; exactly a minute ahead it continues."""
    found = too_far_ahead({A: at(5), B: at(5 + MAX_DRIFT_MS), C: at(6 + MAX_DRIFT_MS)})

    assert {C} == found


def test_paused_partition_resumes_at_half() -> None:
    """A paused partition resumes at half a minute, so that it does not stop and go."""
    half_ms = MAX_DRIFT_MS // 2

    found = too_far_ahead({A: at(5), B: at(5 + half_ms), C: at(6 + half_ms)}, {B, C})

    assert {C} == found


def test_partition_at_its_end_holds_nobody() -> None:
    """Nobody waits for a partition that is read to its end."""
    found = too_far_ahead({A: at(5, at_end=True), B: at(MAX_DRIFT_MS * 9)})

    assert set() == found


def test_revoked_partition_holds_nobody() -> None:
    """When the slow one moves to another worker, the paused one resumes."""
    paused = too_far_ahead({A: at(5), B: at(MAX_DRIFT_MS * 9)})

    found = too_far_ahead({B: at(MAX_DRIFT_MS * 9)}, paused)

    assert [frozenset({B}), frozenset()] == [paused, found]


def test_partition_without_a_record_is_where_the_others_began() -> None:
    """Nobody knows how far behind a partition without a record is: the others continue for a minute."""
    unknown = at(None, began_ms=None)

    found = too_far_ahead(
        {A: unknown, B: at(100 + MAX_DRIFT_MS, began_ms=100), C: at(101 + MAX_DRIFT_MS, began_ms=200)}
    )

    assert {C} == found


def test_nothing_is_known_yet() -> None:
    """Nobody waits before the first record."""
    assert set() == too_far_ahead({A: at(None, began_ms=None)})


times_ms = st.none() | st.integers(0, 10 * MAX_DRIFT_MS)
many = st.dictionaries(st.integers(0, 9).map(lambda number: (TOPIC, number)), st.builds(at, times_ms))


@given(many, st.sets(st.integers(0, 9).map(lambda number: (TOPIC, number))))
def test_one_partition_always_continues(
    progress: dict[tuple[str, int], PartitionProgress], paused: set[tuple[str, int]]
) -> None:
    """Whatever was paused before, not all partitions wait."""
    found = too_far_ahead(progress, paused)

    assert not progress or found < progress.keys()


def test_lead_is_bounded() -> None:
    """A partition with an hour to read and one with a minute stay close together in random order."""
    random, reached_ms, paused = Random(1), {A: 0, B: 15 * MAX_DRIFT_MS}, frozenset[tuple[str, int]]()
    leads_ms: list[int] = []

    while reached_ms[A] < 30 * MAX_DRIFT_MS:
        paused = too_far_ahead({source: at(each_ms) for source, each_ms in reached_ms.items()}, paused)
        source = random.choice([each for each in (A, B) if each not in paused])
        reached_ms[source] += 1000
        leads_ms.append(abs(reached_ms[B] - reached_ms[A]))

    caught_up = next(number for number, lead_ms in enumerate(leads_ms) if lead_ms <= MAX_DRIFT_MS)
    assert max(leads_ms[caught_up:]) <= MAX_DRIFT_MS + 1000


def test_metric_says_how_many_wait_and_why() -> None:
    """The gauge counts the paused partitions by reason; a lost partition is not resumed."""
    consumer = Consumer({"bootstrap.servers": "127.0.0.1:1", "group.id": "any", "log_level": 0})
    consumer.assign([TopicPartition(*source, 0) for source in (A, B)])
    pauses = PausedPartitions(consumer)

    shown: list[list[float]] = []
    for wanted, reason in (({A, B}, "unconfirmed"), ({B}, "ahead"), (set[tuple[str, int]](), "ahead")):
        pauses.pause(frozenset(wanted), reason)
        shown.append([metrics.PARTITIONS_PAUSED.labels(each)._value.get() for each in ("ahead", "unconfirmed")])

    assert [[0, 2], [1, 0], [0, 0]] == shown
    pauses.pause(frozenset({A, B}), "ahead")
    pauses.forget([A])
    assert {B} == pauses.paused
