"""Tests `betrace status` on a real Kafka, and what it prints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Producer

from streams.cli import main
from streams.cli.status import lines
from streams.config.settings import Settings
from streams.config.units import iso_ms
from streams.inspect.status import FactsRow, HeldBy, SourceRow, Status
from streams.rules import registry
from streams.rules.judging import RuleStart
from tests.support.driven import AUDITED, FEW, Driven, compiled
from tests.support.installation import installed

HELD = FactsRow(
    partition=1,
    clock_ms=7_000,
    held_by=HeldBy("spans", 2, 7_000),
    open_windows=4,
    rules="f00",
    lag=5,
    rebuild=6,
    margin=7,
    written_ms=9_000,
)
EMPTY = FactsRow(
    partition=0, clock_ms=None, held_by=None, open_windows=0, rules=None, lag=0, rebuild=0, margin=0, written_ms=None
)


def call(settings: Settings, *arguments: str) -> Result:
    """Runs `betrace status` in an installation."""
    where = {
        "BETRACE_BOOTSTRAP": settings.bootstrap,
        "BETRACE_PREFIX": settings.prefix,
        "BETRACE_SOURCE_TOPICS": ",".join(settings.source_topics),
    }
    return CliRunner(env=where).invoke(main, ["status", *arguments])


@pytest.mark.broker
def test_status_of_a_running_installation(kafka: str, fresh_prefix: str, tmp_path: Path) -> None:
    """The lag of the source topic, and the checkpoint's windows, clock and rules, are shown."""
    settings = installed(kafka, fresh_prefix, tmp_path)
    [topic] = settings.source_topics
    registry.push(settings, compiled(AUDITED), now_ms=1)
    producer = Producer({**settings.client()})
    for _ in range(3):
        producer.produce(topic, b"x", partition=0)
    producer.flush()
    driven = Driven(settings)
    driven.apply(9_000, driven.entry(80, "pii.access"))
    driven.apply(50_000, driven.entry(480, "pii.access", trace=b"b" * 16))
    driven.step()
    driven.apply(51_000)

    result = call(settings, "--format", "json")

    said = json.loads(result.stdout)
    assert (compiled(AUDITED).fingerprint, 1) == (said["active_rules"], said["rules"])
    assert {"topic": topic, "partition": 0, "committed": None, "end": 3, "lag": 3} == said["sources"][0]
    first, second = said["facts"]
    held = {"topic": topic, "partition": 0, "watermark_ms": 50_000}
    assert [50_000, held, 1] == [first[name] for name in ("clock_ms", "held_by", "open_windows")]
    assert first["lag"] >= 1
    assert first["rebuild"] >= first["lag"]
    assert second["written_ms"] is None
    assert {"ingest": 0, "sessions": 0} == said["workers"]
    assert [("audited", None)] == [(each["rule"], each["from_ms"]) for each in said["judging"]]
    stopped = "no worker of ingest or of sessions runs: nothing below advances until one does"
    assert ["workers: ingest 0, sessions 0", stopped] == call(settings).stdout.splitlines()[:2]


@pytest.mark.broker
def test_status_says_from_when_rules_judge(kafka: str, fresh_prefix: str, tmp_path: Path) -> None:
    """A rule waits until every facts partition has it everywhere; then it judges from the latest of their times."""
    settings = installed(kafka, fresh_prefix, tmp_path)
    registry.push(settings, compiled(AUDITED), now_ms=1)
    driven = Driven(settings)
    at_work(driven, 10_000)
    registry.push(settings, compiled(f"{AUDITED}\n{FEW}"), now_ms=2)
    pushed = call(settings).stdout
    driven.rules = compiled(f"{AUDITED}\n{FEW}")
    at_work(driven, 20_000)

    known = call(settings).stdout
    said = json.loads(call(settings, "--format", "json").stdout)["judging"]

    assert "  1 rule (few) judges nothing yet: it waits for every source partition\n" in pushed
    assert "  1 rule (audited) judges every trace\n" in pushed
    [few] = [each for each in said if each["rule"] == "few"]
    assert f"  1 rule (few) judges traces that begin from {iso_ms(few['from_ms'])} on\n" in known
    reach_ms = settings.gap_ms + settings.lateness_ms
    assert reach_ms + 10_000 < few["from_ms"] <= reach_ms + 10_000 + settings.out_of_order_ms + 100


def at_work(driven: Driven, watermark_ms: int) -> None:
    """Both facts partitions process a message and commit a step."""
    for number in (0, 1):
        driven.apply(watermark_ms, number=number)
    driven.step()


@pytest.mark.broker
def test_status_without_topics_names_the_command(kafka: str, fresh_prefix: str, tmp_path: Path) -> None:
    """Without an installation the message names the topic and the command."""
    settings = Settings(bootstrap=kafka, prefix=fresh_prefix, state_dir=tmp_path)

    result = call(settings)

    assert 3 == result.exit_code
    assert f"{fresh_prefix}rules cannot be read" in result.stderr


def test_clock_that_is_furthest_behind_is_named() -> None:
    """The table names the source partition that holds the clock, and ages are relative to now."""
    found = Status(
        active_rules="f00",
        rules=3,
        sources=[SourceRow(topic="spans", partition=2, committed=10, end=15, lag=5)],
        facts=[HELD],
    )

    assert [
        "active rules: f00 (3 rules)",
        "clock: 2.0s behind at the checkpoint, 1.0s ago; held by spans[2]",
        "",
        "FACTS  CLOCK  HELD BY   OPEN WINDOWS  LAG  REBUILD  MARGIN  CHECKPOINT",
        "1      3.0s   spans[2]  4             5    6        7       1.0s",
        "",
        "SOURCE    COMMITTED  END  LAG",
        "spans[2]  10         15   5",
    ] == lines(found, 10_000)


def test_rules_are_named_by_when_they_judge() -> None:
    """Below the active rules is from when they judge, or that this is unknown."""
    starts = [RuleStart("a", "f0", 0), RuleStart("b", "f1", None)]

    known, unknown = (
        lines(Status(active_rules="f00", rules=2, sources=[], facts=[], workers={}, judging=each), 10_000)[1:-5]
        for each in (starts, None)
    )

    assert [
        "  1 rule (b) judges nothing yet: it waits for every source partition",
        "  1 rule (a) judges every trace",
    ] == known
    assert ["from when they judge is unknown: a checkpoint is of another version"] == unknown


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ([EMPTY], "clock: sessions has written no checkpoint yet"),
        (
            [
                HELD,
                FactsRow(
                    partition=0,
                    clock_ms=None,
                    held_by=HeldBy("logs", 0, None),
                    open_windows=0,
                    rules=None,
                    lag=0,
                    rebuild=0,
                    margin=0,
                    written_ms=9_000,
                ),
            ],
            "clock: not started, waiting for the first watermark of logs[0]",
        ),
        (
            [
                FactsRow(
                    partition=0,
                    clock_ms=None,
                    held_by=None,
                    open_windows=0,
                    rules=None,
                    lag=0,
                    rebuild=0,
                    margin=0,
                    written_ms=9_000,
                )
            ],
            "clock: no source partition is known",
        ),
    ],
)
def test_reason_for_a_missing_clock(rows: list[FactsRow], line: str) -> None:
    """The reason for a missing clock is shown."""
    assert line == lines(Status(active_rules=None, rules=0, sources=[], facts=rows), 10_000)[1]


@pytest.mark.parametrize(
    ("workers", "lag", "expected"),
    [
        (
            {"ingest": 2, "sessions": 1},
            0,
            ["workers: ingest 2, sessions 1", "idle: every record is read, and no window is open"],
        ),
        ({"ingest": 2, "sessions": 1}, 1, ["workers: ingest 2, sessions 1"]),
        (
            {"ingest": 1, "sessions": 0},
            0,
            [
                "workers: ingest 1, sessions 0",
                "no worker of sessions runs: nothing below advances until one does",
            ],
        ),
        (
            {"ingest": None, "sessions": 1},
            1,
            ["workers: ingest unknown: DESCRIBE on the group is not allowed, sessions 1"],
        ),
    ],
)
def test_workers_are_named(workers: dict[str, int | None], lag: int, expected: list[str]) -> None:
    """Whether workers run, and whether they have something to do, is shown first."""
    found = Status(
        active_rules=None,
        rules=0,
        sources=[SourceRow(topic="spans", partition=2, committed=10, end=10 + lag, lag=lag)],
        facts=[],
        workers=workers,
    )

    assert [*expected, "active rules: none (0 rules)"] == lines(found, 10_000)[: len(expected) + 1]
