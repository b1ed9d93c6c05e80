"""Records that no client can read, on a real Kafka: they are lost, and nothing else is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from confluent_kafka import Producer
from msgspec.structs import replace

from streams.config.settings import Settings
from streams.rules import registry
from tests.support import bombs
from tests.support.findings import FINDING
from tests.support.ingesting import Site, holes, record, rules
from tests.support.installation import installed
from tests.support.program import RUN_S, Program
from topics.records import signals, verdicts
from topics.records.signals import SignalFormat
from topics.records.verdicts import Coverage
from topics.signals.finding import SourceRange

pytestmark = pytest.mark.broker


def test_ingest_skips_an_unreadable_batch(kafka: str, fresh_prefix: str, tmp_path: Path) -> None:
    """A batch that cannot be inflated is a lost range of its partition, and the records after it are read."""
    site = Site.made(kafka, fresh_prefix, tmp_path, {"spans": 2}, message_timestamp_type="LogAppendTime")
    site.write(site.spans, 0, range(3))
    bombs.send(kafka, site.spans, count=7)
    site.write(site.spans, 0, range(3, 5))
    bombs.send(kafka, site.spans)
    site.write(site.spans, 0, [5])
    site.write(site.spans, 1, [6])

    site.ingest_all(7)

    assert {(site.spans, 0): [*range(6)], (site.spans, 1): [6]} == site.hits()
    lost = {(section.partition, gap) for section in site.sections() for gap in section.lost}
    assert ({(0, (3, 10)), (0, (12, 13))}, []) == (lost, holes(site.sections()))
    assert {14} == {commit.offset for (_, number), commit in site.committed().items() if number == 0}


def test_run_and_replay_skip_unreadable_batches(kafka: str, fresh_prefix: str, tmp_path: Path) -> None:
    """Live and replay reach the end with the same results; the evidence and the replay's output show what is lost."""
    program = Program(kafka, fresh_prefix, tmp_path / "state")
    program.make_sources(2, "LogAppendTime")
    bombs.send(kafka, program.spans_topic)
    program.play("keyed_spans", "keyed_logs")

    ended = program.run_until_idle()
    replayed = replay(program)

    records = [verdicts.decode(frame.value) for frame in program.records("verdicts")]
    lost = {gap for each in records if isinstance(each, Coverage) for source in each.sources for gap in source.lost}
    assert ({(0, 1)}, 1) == (lost, ended.totals()["offsets_lost"])
    assert program.revisions()
    assert program.revisions() == revisions(replayed.stdout)
    assert f"{program.spans_topic}[0] cannot be read from offset 0 to 1 (Decompression" in replayed.stderr


def test_tools_skip_unreadable_batches(kafka: str, fresh_prefix: str, tmp_path: Path) -> None:
    """Commands for signals, traces and dead letters report the records that cannot be read, and show the others."""
    settings = installed(kafka, fresh_prefix, tmp_path)
    [spans] = settings.source_topics
    registry.push(settings, rules(), now_ms=1)
    for name in ("signals", "dead_letters"):
        bombs.send(kafka, settings.topic(name))
    producer = Producer({"bootstrap.servers": kafka})
    producer.produce(spans, record(0), partition=0)
    producer.flush()
    bombs.send(kafka, spans, count=3)
    producer.produce(spans, record(0), partition=0)
    written = signals.record(
        replace(FINDING, sources=[SourceRange(spans, 0, 0, 4)]), logged_ms=7, source="s", format=SignalFormat.OCSF
    )
    producer.produce(settings.topic("signals"), written.value, written.key, 0, headers=[*written.headers])
    place: list[tuple[str, str | bytes | None]] = [
        ("topic", spans.encode()),
        ("partition", b"0"),
        ("offset", b"9"),
        ("reason", b"not json"),
    ]
    producer.produce(settings.topic("dead_letters"), b"", partition=0, headers=place)
    producer.flush()

    shown = call(settings, "signals", "show", written.key.decode())
    tailed = call(settings, "signals", "tail", "--from", "earliest", "--once", "--format", "json")
    explained = call(settings, "explain", f"{1:032x}", "--source-topics", spans)
    letters = call(settings, "dead-letters", "list")

    assert {(settings.topic("signals"), 0, 0, 1), (spans, 0, 1, 4)} == passed(shown)
    assert ([written.value], {(settings.topic("signals"), 0, 0, 1)}) == (
        tailed.stdout.encode().splitlines(),
        passed(tailed),
    )
    assert {(settings.topic("signals"), 0, 0, 1), (spans, 0, 1, 4)} == passed(explained)
    assert explained.stdout.startswith("2 spans in 2 records")
    assert 9 == json.loads(letters.stdout)["offset"]
    assert {(settings.topic("dead_letters"), 0, 0, 1)} == passed(letters)


def test_questions_about_the_past_skip_unreadable_batches(kafka: str, fresh_prefix: str, tmp_path: Path) -> None:
    """`attributes` and `find` report on stderr, once, what cannot be read; only results are on stdout."""
    settings = installed(kafka, fresh_prefix, tmp_path)
    [spans] = settings.source_topics
    producer = Producer({"bootstrap.servers": kafka})
    producer.produce(spans, record(0), partition=0)
    producer.flush()
    bombs.send(kafka, spans, count=3)
    producer.produce(spans, record(0), partition=0)
    producer.flush()
    options = ["--source-topics", spans, "--from", "earliest", "--format", "json"]

    listed = call(settings, "attributes", *options)
    found = call(settings, "find", "pii.access", *options, "--processes", "1")

    names = {line["name"]: line["spans"] for line in map(json.loads, listed.stdout.splitlines())}
    assert 2 == names["pii.access"]
    assert [f"{1:032x}"] == [json.loads(line)["trace_id"] for line in found.stdout.splitlines()]
    for done in (listed, found):
        assert '"event": "a record cannot be read, fetching it again"' in done.stderr
        assert 1 == done.stderr.count(f"{spans}[0] cannot be read from offset 1 to 4 (Decompression")


def call(settings: Settings, *words: str) -> subprocess.CompletedProcess[str]:
    """Runs a command, which ends well."""
    where = ["--bootstrap", settings.bootstrap, "--prefix", settings.prefix]
    command = [sys.executable, "-m", "streams.cli", *words, *where]
    done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_S, check=False)
    assert done.returncode == 0, done.stderr
    return done


def passed(done: subprocess.CompletedProcess[str]) -> set[tuple[str, int, int, int]]:
    """Topic, partition and offsets of what a command warned that it skipped."""
    said = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    return {
        (one["topic"], one["partition"], one["offset"], one["to_offset"])
        for one in said
        if one["event"] == "records cannot be read, skipped"
    }


def replay(program: Program) -> subprocess.CompletedProcess[str]:
    """All that is there, with the options of the run."""
    where = ["--bootstrap", program.bootstrap, "--prefix", program.prefix, "--from", "earliest", "--gap", "2s"]
    sources = ["--source-topics", f"{program.spans_topic},{program.logs_topic}", "--out-of-order", "500ms"]
    command = [sys.executable, "-m", "streams.cli", "replay", "--rules", str(program.rules), *where, *sources]
    return subprocess.run(command, capture_output=True, text=True, timeout=RUN_S, check=False)


def revisions(lines: str) -> list[tuple[str, int, str]]:
    """As `Program.revisions`, of what a replay printed."""
    found = [json.loads(line) for line in lines.splitlines()]
    return sorted(
        (one["finding_info"]["uid"], one["unmapped"]["betrace"]["revision"], one["unmapped"]["betrace"]["verdict"])
        for one in found
    )
