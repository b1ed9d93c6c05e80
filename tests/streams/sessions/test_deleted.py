"""Checkpoints and facts that were deleted while no worker ran, against a real broker.

Nothing counts twice, losses are reported, and verification distinguishes them from forgery.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from msgspec.structs import replace
from structlog.testing import capture_logs
from structlog.typing import EventDict

from streams.config.settings import Settings
from streams.evidence.ledger.seal_summary import CoverageContinuity
from streams.observe import metrics
from streams.rules import registry
from streams.sessions.recovery import store_path
from tests.support.driven import AUDITED, FAR_MS, REACH_MS, A, B, C, Driven, chained, compiled, made_again
from tests.support.installation import installed
from topics.records.verdicts import NO_VERDICTS, Coverage, VerdictCounts, VerdictSums, encode

pytestmark = pytest.mark.broker

LATER_MS = FAR_MS + 4 * REACH_MS
D = b"d" * 16


@pytest.fixture
def settings(kafka: str, fresh_prefix: str, tmp_path: Path) -> Settings:
    """An installation with two facts partitions and a rule."""
    settings = installed(kafka, fresh_prefix, tmp_path)
    registry.push(settings, compiled(AUDITED), now_ms=1)
    return settings


@pytest.fixture
def stopped(settings: Settings) -> Driven:
    """A worker that judged A and stopped regularly while B, which already has its audit log, and C are open."""
    driven = Driven(settings)
    driven.apply(10_000, driven.entry(100, "pii.access"))
    driven.step()
    driven.apply(FAR_MS - 60_000)
    driven.step()
    driven.apply(FAR_MS - 10_000, driven.entry(FAR_MS // 100 - 100, "audit.log", trace=B))
    driven.step()
    driven.apply(FAR_MS, driven.entry(FAR_MS // 100 - 90, "pii.access", trace=C))
    driven.worker.close()
    return driven


def go_on(stopped: Driven) -> tuple[Driven, list[EventDict]]:
    """Let another worker close what is open, and judge D, which begins long after; return its warnings."""
    driven = stopped.again()
    with capture_logs() as logged:
        driven.apply(FAR_MS + 1_000, driven.entry(FAR_MS // 100 + 1, "pii.access", trace=B))
    driven.step()
    driven.apply(FAR_MS + 100_000)
    driven.step()
    driven.apply(LATER_MS, driven.entry(LATER_MS // 100, "pii.access", trace=D))
    driven.step()
    driven.apply(LATER_MS + 2 * REACH_MS)
    driven.step()
    return driven, [entry for entry in logged if entry["log_level"] in {"warning", "error"}]


def cut(settings: Settings, below: int) -> None:
    """Delete the first facts messages."""
    client = AdminClient({**settings.client()})
    for answer in client.delete_records([TopicPartition(settings.topic("facts"), 0, below)]).values():
        answer.result()


def gaps(driven: Driven) -> Iterator[str]:
    """Return what verification finds missing between the coverage records."""
    continuity = CoverageContinuity()
    for record in driven.verdicts():
        if isinstance(record, Coverage):
            yield from continuity.gaps(record)


def sums(driven: Driven) -> dict[int, tuple[VerdictSums, VerdictSums]]:
    """Return verdicts added and retracted, by generation, after checking the chain."""
    records = driven.verdicts()
    chained(records)
    found: dict[int, tuple[VerdictSums, VerdictSums]] = {}
    for record in records:
        if isinstance(record, VerdictCounts):
            added, taken_back = found.get(record.generation, (NO_VERDICTS, NO_VERDICTS))
            found[record.generation] = (added.plus(record.added), taken_back.plus(record.taken_back))
    return found


@pytest.mark.parametrize("is_trimmed", [False, True], ids=["whole log", "trimmed log"])
def test_store_replaces_a_deleted_checkpoint(stopped: Driven, settings: Settings, is_trimmed: bool) -> None:  # noqa: FBT001
    """With everything published in the store, the worker resumes: one warning, no gap, no duplicates."""
    made_again(settings, "checkpoints")
    if is_trimmed:
        cut(settings, 2)
    before = metrics.CHECKPOINTS_LOST._value.get()

    driven, warned = go_on(stopped)

    assert ["resuming from its store"] == [each["event"].partition(": ")[2].partition(", ")[0] for each in warned], (
        warned
    )
    assert {0: (VerdictSums(held=1, broken=3), NO_VERDICTS)} == sums(driven)
    assert [] == [*gaps(driven)]
    assert sorted([A.hex(), C.hex(), D.hex()]) == sorted(trace for trace, _, _ in driven.signals())
    assert 1 == metrics.CHECKPOINTS_LOST._value.get() - before


def test_a_store_that_lacks_a_step_is_not_trusted(settings: Settings) -> None:
    """What was published and not stored would be counted again, so everything is read as a new generation."""
    driven = Driven(settings)
    driven.apply(10_000, driven.entry(100, "pii.access"))
    driven.step()
    store = store_path(settings, 0)
    shutil.copytree(store, settings.state_dir / "before")
    driven.apply(FAR_MS)
    driven.step()
    driven.crash()
    shutil.rmtree(store)
    shutil.move(settings.state_dir / "before", store)
    made_again(settings, "checkpoints")
    driven = driven.again()

    driven.apply(FAR_MS + 1_000)
    driven.step()

    assert {0: VerdictSums(broken=1), 1: VerdictSums(broken=1)} == {
        generation: added for generation, (added, _) in sums(driven).items()
    }


def test_forged_verdict_starts_another_generation(stopped: Driven, settings: Settings) -> None:
    """A forged record that retracts a verdict starts another generation, for all to see."""
    [*_, last] = [record for record in stopped.verdicts() if isinstance(record, VerdictCounts)]
    reached = chained(stopped.verdicts())
    forged = replace(last, seq=reached.seq, prev=reached.head, added=NO_VERDICTS, leaves=b"", taken_back=last.added)
    forged = replace(forged, retractions=last.leaves)
    producer = Producer({**settings.client()})
    producer.produce(settings.topic("verdicts"), encode(forged), partition=0)
    producer.flush()
    made_again(settings, "checkpoints")

    driven, _ = go_on(stopped)

    assert {0, 1} == sums(driven).keys()
    assert any(said.startswith("reading restarted") for said in gaps(driven))


def test_start_without_checkpoint_store_and_first_facts(stopped: Driven, settings: Settings) -> None:
    """The worker starts, warns once, and judges nothing that could have begun before: B, half of which is gone."""
    made_again(settings, "checkpoints")
    cut(settings, 3)
    shutil.rmtree(store_path(settings, 0))

    driven, warned = go_on(stopped)

    assert ["a facts partition has no checkpoint and its first facts are gone"] == [
        each["event"].partition(": ")[0] for each in warned
    ]
    assert {0: VerdictSums(broken=1), 1: VerdictSums(broken=1)} == {
        generation: added for generation, (added, _) in sums(driven).items()
    }
    assert sorted([A.hex(), D.hex()]) == sorted(trace for trace, _, _ in driven.signals())
    [said] = gaps(driven)
    assert "reading restarted at facts 3" in said
    assert "are not proved" in said


def test_deleted_facts_that_a_checkpoint_requires(stopped: Driven, settings: Settings) -> None:
    """The start logs how many windows were lost; none of their traces gets a verdict from half of its facts."""
    cut(settings, 4)
    shutil.rmtree(store_path(settings, 0))
    before = metrics.WINDOWS_LOST._value.get()

    driven, warned = go_on(stopped)

    assert [("facts that a checkpoint needs were deleted", 2)] == [
        (each["event"].partition(": ")[0], each["open_windows"]) for each in warned
    ]
    assert 2 == metrics.WINDOWS_LOST._value.get() - before
    assert sorted([A.hex(), D.hex()]) == sorted(trace for trace, _, _ in driven.signals())
    assert {0, 1} == sums(driven).keys()
    assert ["reading restarted"] == [said[:17] for said in gaps(driven)]


@pytest.mark.parametrize("is_with_positions", [False, True], ids=["facts", "facts and positions"])
def test_input_of_deleted_facts_is_lost(settings: Settings, is_with_positions: bool) -> None:  # noqa: FBT001
    """Ingest continues after it: coverage has a lost range, and a trace half in that range gets no verdict."""
    driven = Driven(settings)
    driven.apply(10_000, driven.entry(100, "pii.access"))
    driven.apply(FAR_MS)
    driven.step()
    driven.crash()
    driven.write(FAR_MS + 1_000, driven.entry(FAR_MS // 100, "audit.log", trace=B))
    driven.source_offset = 5
    made_again(settings, "facts")
    if is_with_positions:
        made_again(settings, "checkpoints")

    driven, warned = go_on(driven)

    assert 1 == len(warned), warned
    assert sorted([A.hex(), D.hex()]) == sorted(trace for trace, _, _ in driven.signals())
    lost = [gap for one in driven.verdicts() if isinstance(one, Coverage) for at in one.sources for gap in at.lost]
    assert [(2, 5)] == lost
    assert any("offsets 2 to 5 were deleted" in said for said in gaps(driven))
    assert any(said.startswith("reading restarted at facts 0") for said in gaps(driven))
