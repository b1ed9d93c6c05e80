"""Tests `betrace replay --archive`: what SQL answers, what the engine must read, and invalid archives.

Replay of Kafka is in `tests/broker/test_replay.py`; `tests/differential/test_queried.py` compares SQL with the engine.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from streams.archive.rows import RawRecord
from streams.archive.store import Store
from streams.archive.write import PartitionWriter
from streams.cli import main
from tests.support.otlp_requests import trace_request

START_MS = 1_700_000_000_000
TEXT = '// "Access is audited"\nwhen { pii.access } always { audit.log }\n'


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """A file of one rule."""
    path = tmp_path / "a.rules"
    path.write_text(TEXT)
    return path


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """An empty directory for an archive."""
    path = tmp_path / "archive"
    path.mkdir()
    return path


def write(archive: Path, *records: tuple[int, str, int], first_offset: int = 0) -> Path:
    """Archives records, each a time in ms after the start, a span name and a trace; returns the last file."""
    store = Store.at(str(archive))
    writer = PartitionWriter(store=store, topic="otlp_spans", partition=0, first_offset=first_offset, topic_id="id")
    for offset, (after_ms, name, trace) in enumerate(records, first_offset):
        span = Span(trace_id=bytes([trace]) * 16, span_id=bytes([offset + 1]) * 8, name=name)
        writer.add(RawRecord("otlp_spans", 0, offset, START_MS + after_ms, None, trace_request(span)))
    written = writer.cut(first_offset + len(records))
    return Path(store.path(written[-1].file))


def replay(archive: Path, rules: Path, *options: str) -> Result:
    """Runs `betrace replay` on the whole archive."""
    where = ["--archive", str(archive), "--rules", str(rules), "--from", "earliest", "--processes", "1"]
    return CliRunner().invoke(main, ["replay", *where, *options])


def test_archive_is_replayed_with_sql(archive: Path, rules: Path) -> None:
    """The summary, the signals and the exit code are those of a replay; the statement summarises the result."""
    write(archive, (0, "pii.access", 1), (5, "audit.log", 1), (9, "pii.access", 2))

    summary, signals = replay(archive, rules, "--summary"), replay(archive, rules)

    [counted] = [json.loads(line) for line in summary.stdout.splitlines()]
    assert (1, 2, 1, 1) == (summary.exit_code, *(counted[name] for name in ("chains", "held", "broken")))
    assert '1 of 2 traces broke "Access is audited" between the beginning and ' in counted["statement"]
    [signal] = [json.loads(line) for line in signals.stdout.splitlines()]
    assert (1, "02" * 16) == (signals.exit_code, signal["unmapped"]["betrace"]["trace_id"])
    assert "3 spans, 0 unreadable records; 2 chains of windows judged, rules broken 1 times\n" == signals.stderr


@pytest.mark.parametrize("reads", ["a query", "every record"])
def test_a_rule_in_shadow_shows_its_traces(archive: Path, rules: Path, reads: str) -> None:
    """Signals of a rule in shadow are printed and marked, in the table and as JSON, however the archive is read."""
    rules.write_text(TEXT.replace("\n", "\n// mode: shadow\n", 1))
    write(archive, (9_000, "pii.access", 1), (0 if reads == "every record" else 9_001, "noise", 2))

    table, lines = replay(archive, rules, "--format", "text"), replay(archive, rules)

    assert (1, 1) == (table.exit_code, lines.exit_code)
    assert (reads == "every record") == ("record by record" in lines.stderr)
    [_, row] = table.stdout.splitlines()
    assert "broken, shadow" in row
    assert "01" * 16 in row
    [signal] = [json.loads(line) for line in lines.stdout.splitlines()]
    said = signal["unmapped"]["betrace"]
    assert ("broken", "shadow") == (said["verdict"], said["mode"])


def test_engine_replays_what_sql_cannot(archive: Path, rules: Path) -> None:
    """If record times go back too far, every record is read, which is reported; the exit code says nothing broke."""
    write(archive, (9_000, "pii.access", 1), (0, "audit.log", 1))

    done = replay(archive, rules, "--summary")

    assert (0, 1) == (done.exit_code, json.loads(done.stdout)["held"])
    assert "archive record by record, which takes longer: record times go back by 9000ms" in done.stderr
    assert "2 spans in 2 records, 0 unreadable records; 1 chains of windows judged" in done.stderr


@pytest.mark.parametrize("reads", ["a query", "every record"])
def test_rule_that_applies_to_nothing_names_what_was_never_seen(archive: Path, rules: Path, reads: str) -> None:
    """A rule that never applied says which of its names no span had, however the archive is read; others do not."""
    never = "// id: never\nwhen { pii.access.where(amount > 5) } always { refund }\n"
    rules.write_text(f"{TEXT}\n{never}\n// id: seen\nwhen {{ audit.log and not pii.access }} always {{ pii.access }}\n")
    write(archive, (9_000, "pii.access", 1), (0 if reads == "every record" else 9_001, "audit.log", 1))

    done = replay(archive, rules, "--summary")

    assert (reads == "every record") == ("record by record" in done.stderr)
    said = [line for line in done.stderr.splitlines() if "applies to no trace" in line]
    assert ["never applies to no trace: nothing that was read has amount on pii.access, refund"] == said


def test_files_that_are_missing(archive: Path, rules: Path) -> None:
    """Missing records are reported with advice; a rule that they could prove wrong is undetermined."""
    write(archive, (0, "other", 1))
    write(archive, (9, "pii.access", 2), first_offset=5)

    done = replay(archive, rules, "--summary")

    assert (0, 1) == (done.exit_code, json.loads(done.stdout)["undetermined"])
    assert "records of otlp_spans[0] are gone from 2023-11-14T22:13:18.000Z to 2023-11-14T22:13:22.009Z" in done.stderr
    assert "restore the missing files" in done.stderr


def test_no_archive(archive: Path, rules: Path) -> None:
    """An empty or missing directory is reported as no archive."""
    for path in (archive, archive / "nothing"):
        done = replay(path, rules)

        assert (2, "") == (done.exit_code, done.stdout)
        assert f"there is no archive at {path}: give the directory or URL" in done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--to", "2001-01-01T00:00:00Z"], "its records are from the hours 2023-11-14T22:00:00.000Z to 2023-11-14T22"),
        (["--source-topics", "more"], "has no record of more: it has otlp_spans: name them with --source-topics"),
    ],
)
def test_nothing_archived_in_the_requested_period(archive: Path, rules: Path, options: list[str], message: str) -> None:
    """For a time or topic that is not archived, the message lists what is."""
    write(archive, (0, "pii.access", 1))

    done = replay(archive, rules, *options)

    assert (2, "") == (done.exit_code, done.stdout)
    assert message in done.stderr


@pytest.mark.parametrize("damage", ["cut", "overwritten"])
def test_damaged_file(archive: Path, rules: Path, damage: str) -> None:
    """A damaged Parquet file is named, with advice."""
    path = write(archive, (0, "pii.access", 1))
    size_bytes = path.stat().st_size
    if damage == "cut":
        os.truncate(path, size_bytes // 2)
    else:
        path.write_bytes(b"\xff" * size_bytes)

    done = replay(archive, rules)

    assert (3, "") == (done.exit_code, done.stdout)
    assert path.name in done.stderr
    assert "restore a damaged file from a backup, or delete it" in done.stderr
