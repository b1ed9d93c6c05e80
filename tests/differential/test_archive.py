"""Queries on an archive against the engine that reads the same records: the same verdicts, with the same evidence."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from dsl import RuleSet, Verdict, judge, load
from streams.archive.query import ArchiveRequest, judge_archive
from streams.projection.project import Projector
from streams.windows.chain import Bounds
from streams.windows.close import Close
from tests.differential import histories
from tests.differential.histories import LOGS, SPANS, START_MS, Form, Step, compiled, write
from tests.support import archive_windows, paths
from topics.embedded import capture
from topics.records.facts import TICK_MS

CAPTURES = paths.CAPTURES
RULES = paths.RULES
BOUNDS = Bounds(gap=4, lateness=8, max_duration=9)

Verdicts = tuple[str, Verdict, int, int]
"""A rule's id and verdict, and the bounds of the window in ms."""

Told = list[tuple[Verdicts, tuple[tuple[str, ...], tuple[str, ...], bool], tuple[object, ...], str]]


def told(closes: Iterable[Close], rules: RuleSet) -> dict[bytes, Told]:
    """All that is said of each trace, window by window: verdicts, reasons, evidence and bounds."""
    said: dict[bytes, Told] = {}
    for close in closes:
        for at in judge(rules, close.chain.facts, whole=close.whole):
            bounds = (close.window.first * TICK_MS, close.window.last * TICK_MS)
            counts = (close.window.span_count, close.window.root_seen, close.reason, close.closed_ms, close.whole)
            shown = repr([close.chain.facts[atom] for _, atom in at.subjects] + close.chain.sources)
            why = (at.missing, at.present, at.excepted)
            verdict = (at.rule.id, at.verdict, *bounds)
            said.setdefault(close.trace_id, []).append((verdict, why, counts, shown))
    return said


def assert_same(url: str, request: ArchiveRequest) -> dict[bytes, Told]:
    """The query says what the engine says, in full and in brief; returns what that is."""
    rules = request.projector.rules
    expected = told(archive_windows.closes(url, request), rules)
    for in_full in (True, False):
        answer = judge_archive(url, replace(request, in_full=in_full))
        said = [(at.trace_id, (at.rule_id, at.verdict, at.first_ms, at.last_ms)) for at in answer.verdicts]
        actual = told(answer.closes, rules)

        brief = expected.keys() - actual.keys()
        assert {trace_id: expected[trace_id] for trace_id in actual} == actual
        assert sorted((trace, line[0]) for trace in brief for line in expected[trace]) == sorted(said)
        assert not any(line[1][2] for trace in brief for line in expected[trace])
    return expected


# An example makes files: it takes as long as three of the other properties.
@settings(max_examples=settings().max_examples // 3)
@given(
    histories.forms,
    histories.histories,
    st.integers(1, 4),
    st.none() | st.integers(0, 3_000),
)
def test_any_rule_on_any_archive(
    forms: list[Form],
    history: list[Step],
    cut_every: int,
    clock_ms: int | None,
) -> None:
    """Whatever the rules, the spans and the files they lie in, the query says what the engine says."""
    rules = compiled(forms)
    clock = None if clock_ms is None else START_MS + clock_ms
    with tempfile.TemporaryDirectory() as directory:
        write(directory, history, cut_every)

        expected = assert_same(directory, ArchiveRequest(projector=Projector(rules), bounds=BOUNDS, clock_ms=clock))

    for verdict in {line[0][1] for lines in expected.values() for line in lines}:
        event(f"{verdict}")


@pytest.mark.parametrize("name", ["keyed", "unkeyed"])
@pytest.mark.parametrize("rule_file", [CAPTURES / "demo.rules", CAPTURES / "later.rules"])
def test_captures(tmp_path: Path, name: str, rule_file: Path) -> None:
    """Of what real applications sent through a real Collector, the query says what the engine says."""
    history = [
        (100, number % 2, (topic, frame.value))
        for topic, kind in ((SPANS, "spans"), (LOGS, "logs"))
        for number, frame in enumerate(capture.read(CAPTURES / f"{name}_{kind}.bin.gz"))
    ]
    write(str(tmp_path), history, cut_every=200)
    rules, _ = load([rule_file])
    bounds = Bounds.of_ms(gap_ms=30_000, lateness_ms=600_000, max_duration_ms=3_600_000)

    assert assert_same(str(tmp_path), ArchiveRequest(projector=Projector(rules), bounds=bounds))
    assert assert_same(str(tmp_path), ArchiveRequest(projector=Projector(rules), bounds=BOUNDS))
