"""Records that no client can read, on a real Kafka: they are lost, and nothing else is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import bombs
from tests.support.ingesting import Site, holes
from tests.support.program import RUN_S, Program
from topics.records import verdicts
from topics.records.verdicts import Coverage

pytestmark = pytest.mark.broker


def test_ingest_passes_over_what_it_cannot_read(kafka: str, fresh_prefix: str, tmp_path: Path) -> None:
    """A batch that cannot be inflated is a lost range of its partition, and what follows it is read."""
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


def test_run_and_replay_go_on(kafka: str, fresh_prefix: str, tmp_path: Path) -> None:
    """Live and replay come to the end and say the same; evidence and the replay's user are told what is lost."""
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
