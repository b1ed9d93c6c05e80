"""Counts over crashes, pushes and resets, against a real broker: one chain of records, nothing twice."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from confluent_kafka import Producer
from msgspec.structs import replace
from structlog.testing import capture_logs

from streams.config.settings import Settings
from streams.errors import StateError
from streams.observe import metrics
from streams.rules import registry
from streams.sessions.last_checkpoint import checkpoint_from_verdicts
from streams.sessions.recovery import LogIdentity, store_path
from tests.support.driven import AUDITED, FAR_MS, FEW, REACH_MS, A, B, C, Driven, chained, compiled, made_again
from tests.support.installation import installed
from topics.records import checkpoints
from topics.records.checkpoints import Checkpoint
from topics.records.facts import TICK_MS
from topics.records.verdicts import NO_VERDICTS, Coverage, VerdictCounts, VerdictSums, encode

pytestmark = pytest.mark.broker


@pytest.fixture
def settings(kafka: str, fresh_prefix: str, tmp_path: Path) -> Settings:
    """An installation with two facts partitions and a rule."""
    settings = installed(kafka, fresh_prefix, tmp_path)
    registry.push(settings, compiled(AUDITED), now_ms=1)
    return settings


@pytest.mark.parametrize("disk", ["a disk", "no disk"])
@pytest.mark.parametrize("crash_at", range(6))
def test_chain_continues_after_a_crash(settings: Settings, crash_at: int, disk: str) -> None:
    """Wherever a worker is killed, with or without its store, no record is missing or duplicated."""
    driven = Driven(settings)
    told = [(10_000, A), (60_000, B), (95_000, A), (200_000, B), (300_000, A), (FAR_MS, C)]
    for at, (watermark_ms, trace) in enumerate(told):
        if at == crash_at:
            driven.crash()
            driven = driven.again()
            if disk == "no disk":
                shutil.rmtree(store_path(settings, 0), ignore_errors=True)
        names = ("pii.access", "audit.log") if at == 2 else ("pii.access",)
        driven.apply(watermark_ms, driven.entry(watermark_ms // 100, *names, trace=trace))
        if at != 3:
            # The contents of the fourth message are not durable when the worker is killed after it.
            driven.step()

    reached = chained(driven.verdicts())

    assert (VerdictSums(broken=2, held=1), VerdictSums(broken=1)) == (reached.added, reached.taken_back)
    assert {"broken", "held"} == {verdict for _, verdict, _ in driven.signals()}
    last = [record for record in driven.verdicts() if isinstance(record, Coverage)][-1]
    assert (3, 0) == (last.counted.signals, last.counted.withheld)


def test_coverage_lists_a_pushed_rule(settings: Settings) -> None:
    """Coverage lists it at once, with the time from which it judges: gap + lateness after all sources had it."""
    driven = Driven(settings)
    driven.apply(10_000, driven.entry(100, "pii.access"))
    driven.step()
    driven.rules = compiled(AUDITED + FEW)
    registry.push(settings, driven.rules, now_ms=2)
    driven.apply(20_000)
    driven.step()
    driven.apply(20_100)
    driven.step()

    listed = [record.rules for record in driven.verdicts() if isinstance(record, Coverage)]

    ooo_ms = settings.out_of_order_ms
    assert [[("audited", 0)], [("audited", 0), ("few", 10_000 + ooo_ms + REACH_MS + TICK_MS)]] == [
        [(rule.rule, rule.from_ms) for rule in rules] for rules in listed if rules is not None
    ]


def verdicts_total() -> float:
    """Return the metric of broken traces."""
    return metrics.REGISTRY.get_sample_value("betrace_verdicts_total", {"rule": "audited", "verdict": "broken"}) or 0


def test_reset_starts_another_generation(settings: Settings) -> None:
    """After a reset of the offsets the verdicts are repeated as another generation, and metrics count them once."""
    driven = Driven(settings)
    before = verdicts_total()
    driven.apply(10_000, driven.entry(100, "pii.access"))
    driven.apply(FAR_MS)
    driven.step()
    once = verdicts_total() - before
    driven.replay = (77, 5_000)

    driven.apply(10_000, driven.entry(100, "pii.access"))
    driven.step()
    driven.apply(FAR_MS)
    driven.step()

    records = driven.verdicts()
    chained(records)
    counts = [record for record in records if isinstance(record, VerdictCounts)]
    assert [(0, 0, VerdictSums(broken=1), NO_VERDICTS), (1, 0, VerdictSums(broken=1), NO_VERDICTS)] == [
        (record.generation, record.minute_ms, record.added, record.taken_back) for record in counts
    ]
    covered = [record for record in records if isinstance(record, Coverage)]
    assert [(0, None, None, None), (1, 77, 5_000, None), (1, 77, 5_000, 10_000)] == [
        (record.generation, record.reset_ms, record.start_ms, record.from_ms) for record in covered
    ]
    assert [5_000 + REACH_MS + 1] == [rule.from_ms for record in covered[1:2] for rule in record.rules or ()]
    assert (1, 1) == (once, verdicts_total() - before)


def test_take_over_counts_no_metric_twice(settings: Settings) -> None:
    """The progress of the earlier reading is stored with the end of its coverage."""
    driven = Driven(settings)
    driven.apply(10_000, driven.entry(100, "pii.access"))
    driven.apply(FAR_MS)
    driven.step()
    before = verdicts_total()
    driven.replay = (77, 5_000)
    driven.apply(10_000, driven.entry(100, "pii.access"))
    driven.step()
    driven.crash()
    driven = driven.again()

    driven.apply(FAR_MS)
    driven.step()

    assert 2 == len(driven.signals())
    assert before == verdicts_total()


def test_chain_continues_with_a_recreated_facts_log(settings: Settings) -> None:
    """When the facts topic is recreated, counts continue as another generation, which claims little."""
    driven = Driven(settings)
    driven.apply(10_000, driven.entry(100, "pii.access"))
    driven.apply(FAR_MS)
    driven.step()
    driven.crash()
    driven = driven.again()
    driven.worker._identity = LogIdentity(driven.worker._identity.cluster_id, "another")

    driven.deliver(0, 1)
    driven.step()
    driven.crash()
    driven = driven.again()
    driven.worker._identity = LogIdentity(driven.worker._identity.cluster_id, "another")
    driven.apply(FAR_MS + 60_000)
    driven.step()

    records = driven.verdicts()
    chained(records)
    assert [0, 1] == [record.generation for record in records if isinstance(record, VerdictCounts)]
    covered = [record for record in records if isinstance(record, Coverage)]
    assert [(0, None, None), (1, None, FAR_MS), (1, None, FAR_MS)] == [
        (record.generation, record.reset_ms, record.start_ms) for record in covered
    ]


GARBAGE = (
    (b"0", b"garbage"),
    (b"0", b""),
    (b"0", b"\x91" * 100_000),
    (
        b"0",
        checkpoints.encode(
            Checkpoint(
                version=checkpoints.VERSION,
                topic_id="a log",
                published_to=0,
                start_offset=0,
                start=b"no position",
                covered=b"",
            )
        ),
    ),
    (
        b"1",
        checkpoints.encode(
            Checkpoint(version=checkpoints.VERSION, topic_id="", published_to=0, start_offset=0, start=b"", covered=b"")
        ),
    ),
)


def write(settings: Settings, topic: str, *records: tuple[bytes | None, bytes]) -> None:
    """Write to partition 0 of one of our topics, as another program would."""
    producer = Producer({**settings.client()})
    for key, value in records:
        producer.produce(settings.topic(topic), value, key, 0)
    producer.flush()


@pytest.mark.parametrize("disk", ["a disk", "no disk"])
def test_foreign_record_is_not_a_checkpoint(settings: Settings, disk: str) -> None:
    """The last checkpoint before it counts: nothing is missing or duplicated, and a warning is logged."""
    driven = Driven(settings)
    driven.apply(10_000, driven.entry(100, "pii.access"))
    driven.apply(60_000, driven.entry(600, "pii.access", trace=B))
    driven.step()
    driven.crash()
    write(settings, "checkpoints", *GARBAGE * 4)
    if disk == "no disk":
        shutil.rmtree(store_path(settings, 0))
    driven = driven.again()

    with capture_logs() as logged:
        driven.apply(FAR_MS)
    driven.step()

    reached = chained(driven.verdicts())
    assert (VerdictSums(broken=2), NO_VERDICTS) == (reached.added, reached.taken_back)
    assert [(A.hex(), "broken", 1), (B.hex(), "broken", 1)] == driven.signals()
    assert any(entry.get("count") == len(GARBAGE) * 4 for entry in logged), logged


def test_checkpoint_of_another_version_is_not_skipped(settings: Settings) -> None:
    """That version may have published what earlier checkpoints do not know of."""
    write(
        settings,
        "checkpoints",
        (
            b"0",
            checkpoints.encode(
                Checkpoint(
                    version=checkpoints.VERSION + 1, topic_id="", published_to=0, start_offset=0, start=b"", covered=b""
                )
            ),
        ),
    )
    driven = Driven(settings)

    with pytest.raises(StateError, match=r"checkpoint format .*Action: start the version .* betrace doctor --repair"):
        driven.apply(10_000)


def test_chain_continues_without_a_checkpoint(settings: Settings) -> None:
    """When the checkpoints are deleted, counts continue as another generation, after the last of their records."""
    driven = Driven(settings)
    driven.apply(10_000, driven.entry(100, "pii.access"))
    driven.apply(60_000, driven.entry(600, "pii.access", trace=B))
    driven.step()
    driven.apply(FAR_MS)
    driven.step()
    driven.crash()
    made_again(settings, "checkpoints")
    shutil.rmtree(store_path(settings, 0))
    driven = driven.again()
    with capture_logs() as logged:
        driven.apply(FAR_MS + 60_000)
    driven.step()
    driven.crash()
    driven = driven.again()

    driven.apply(FAR_MS + 120_000)
    driven.step()

    records = driven.verdicts()
    chained(records)
    sums = {generation: VerdictSums() for generation in (0, 1)}
    for record in records:
        if isinstance(record, VerdictCounts):
            sums[record.generation] = sums[record.generation].plus(record.added)
            assert NO_VERDICTS == record.taken_back
    assert {0: VerdictSums(broken=2), 1: VerdictSums(broken=2)} == sums
    covered = [record for record in records if isinstance(record, Coverage)]
    assert [0, 0, 1, 1] == [record.generation for record in covered]
    assert all("no checkpoint" in entry["event"] for entry in logged if entry["log_level"] == "warning"), logged


def test_counts_after_the_last_coverage_are_read_back(settings: Settings) -> None:
    """A worker that was killed within a minute has left counts that no coverage record has."""
    driven = Driven(settings)
    driven.apply(10_000, driven.entry(100, "pii.access"))
    driven.step()
    driven.apply(69_000)
    driven.step()
    records = driven.verdicts()
    others = [encode(replace(record, origin="elsewhere", generation=7)) for record in records]
    write(settings, "verdicts", *((None, value) for value in [*others, b"garbage"]))

    found = checkpoint_from_verdicts(settings, 0, lambda: False)

    assert isinstance(records[-1], VerdictCounts)
    assert found is not None
    reached = chained(records)
    assert (reached.seq, reached.head, VerdictSums(broken=1)) == (
        found.counted.seq,
        found.counted.head,
        found.counted.added,
    )
    assert (0, 1) == (found.generation, found.counted.withheld + found.counted.signals)
    assert checkpoint_from_verdicts(settings, 1, lambda: False) is None


def test_windows_lost_with_the_facts_are_logged(settings: Settings) -> None:
    """The traces of lost windows never get a verdict; the start logs how many there were."""
    driven = Driven(settings)
    driven.apply(10_000, driven.entry(100, "pii.access"))
    driven.apply(11_000)
    driven.step()
    driven.crash()
    made_again(settings, "facts")
    before = metrics.WINDOWS_LOST._value.get()
    driven = driven.again()

    with capture_logs() as logged:
        driven.apply(FAR_MS)
    driven.step()

    assert [1] == [entry["open_windows"] for entry in logged if "are lost" in entry["event"]]
    assert 1 == metrics.WINDOWS_LOST._value.get() - before
    assert [] == driven.signals()
    chained(driven.verdicts())
