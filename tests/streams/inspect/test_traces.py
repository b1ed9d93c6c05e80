"""Iterating over an archive and a file; `tests/broker/test_traces.py` does so over a topic."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dsl import Verdict, compile_texts, judge_trace, load
from streams.archive.rows import RawRecord
from streams.archive.store import Store
from streams.archive.write import PartitionWriter
from streams.errors import ConfigError, RecordError
from streams.inspect import traces
from tests.support import recorded_archive
from tests.support.paths import CAPTURES

RULES, _ = compile_texts({"a.rules": "// id: audited\nwhen { pii.access } always { audit.log }"})


def test_parts_of_an_archive_name_their_records(tmp_path: Path) -> None:
    """Each part has the record it is from, and a period limits the records."""
    recorded_archive.write(str(tmp_path))
    rules, _ = load([CAPTURES / "demo.rules"])
    start_ms = recorded_archive.START_MS

    every = list(traces.from_archive(str(tmp_path), rules))
    two = list(traces.from_archive(str(tmp_path), rules, from_ms=start_ms + 1, to_ms=start_ms + 3))

    assert {"otlp_logs[0]@1", "otlp_logs[0]@2", "otlp_spans[0]@1", "otlp_spans[0]@2"} == {each.source for each in two}
    assert {start_ms + 1, start_ms + 2} == {each.timestamp_ms for each in two}
    assert two == [each for each in every if each.source in {part.source for part in two}]


def test_records_that_are_not_otlp(tmp_path: Path) -> None:
    """They are listed for whoever asks, and an error otherwise."""
    writer = PartitionWriter(store=Store.at(str(tmp_path)), topic="spans", partition=3, first_offset=7, topic_id="id")
    writer.add(RawRecord("spans", 3, 7, recorded_archive.START_MS, None, b"\xff no request"))
    writer.cut(8)
    unread: list[str] = []

    assert [] == list(traces.from_archive(str(tmp_path), RULES, unread=unread))
    assert [True] == [line.startswith("spans[3]@7: ") for line in unread]
    with pytest.raises(RecordError):
        list(traces.from_archive(str(tmp_path), RULES))


def test_traces_of_a_file_are_judged(tmp_path: Path) -> None:
    """The spans of a trace come together, wherever they are in the file."""
    lines = [
        {"trace_id": f"{trace:032x}", "name": name}
        for trace, name in ((1, "pii.access"), (2, "pii.access"), (3, "GET /"), (1, "audit.log"))
    ]
    file = tmp_path / "spans.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))

    spans = traces.by_trace(traces.from_file(file, RULES))

    verdicts = {trace_id[-1]: [each.verdict for each in judge_trace(RULES, of)] for trace_id, of in spans.items()}
    assert {1: [Verdict.HELD], 2: [Verdict.BROKEN], 3: []} == verdicts


def test_lines_that_are_not_spans(tmp_path: Path) -> None:
    """They are listed for whoever asks, and an error otherwise."""
    file = tmp_path / "spans.jsonl"
    file.write_text('{"name": "pii.access"}\n{\n')
    unread: list[str] = []

    [part] = traces.from_file(file, RULES, unread=unread)

    assert ["pii.access"] == [span.name for span in part.spans]
    assert [f"{file}:2: not json: input data was truncated"] == unread
    with pytest.raises(ConfigError, match=r"spans\.jsonl:2"):
        list(traces.from_file(file, RULES))
