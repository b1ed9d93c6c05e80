"""Tests the page for auditors."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streams.cli.evidence_report import build
from streams.evidence.report.model import Bar, Report, encode
from streams.evidence.report.page import page
from tests.support import chromium
from tests.support.html import Figures
from tests.support.quarter import START_MS, Quarter


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """A few days with everything that a report can show."""
    quarter = Quarter(tmp_path_factory.mktemp("e"), 4, broken={3, 50}, not_judged={30}, lost=(5_100, 5_140))
    quarter.make()
    return build(str(quarter.root), START_MS, None, None)


def at(data: Any, path: str) -> object:  # noqa: ANN401, whatever JSON holds
    """Returns the value at a path of the JSON."""
    for part in path.split("/"):
        data = data[int(part)] if isinstance(data, list) else data[part]
    return data


@pytest.mark.skipif(chromium.PROGRAM is None, reason="needs Chromium")
def test_a_browser_shows_the_figures_of_the_json(report: Report, tmp_path: Path) -> None:
    """In a browser the page logs nothing, requests nothing, and its figures match the JSON."""
    file = tmp_path / "report.html"
    file.write_text(page(report))

    seen = chromium.see(file, tmp_path)

    data = json.loads(encode(report))
    figures = Figures(seen.dom)
    assert [] == seen.console
    assert [] == seen.requests
    assert 30 < len(figures.found)
    for path, text in figures.found.items():
        value = at(data, path)
        assert figures.values[path] == ("" if value is None else repr(value))
        if isinstance(value, int):
            assert text == f"{value:,}"


@pytest.mark.skipif(chromium.PROGRAM is None, reason="needs Chromium")
def test_printed_page_begins_with_what_was_not_judged(report: Report, tmp_path: Path) -> None:
    """Printed, the statement, gaps and lost input are on the first sheet, and rules begin on a new sheet."""
    file = tmp_path / "report.html"
    file.write_text(page(report))

    first, *others = chromium.printed(file, tmp_path)

    for told in ("Operation of controls over 4 days", "was not judged", "40 source records lost", "Coverage"):
        assert told in " ".join(first.split())
    assert "Fingerprint" not in first
    assert "Rules\n" in others[0].partition("An agent deletes nothing")[0]
    assert all(f"{at} / {len(others) + 1}" in sheet for at, sheet in enumerate([first, *others], 1))
    assert "How to verify" in "".join(others)


def test_page_is_self_contained(report: Report) -> None:
    """It has nothing that a browser would load."""
    text = page(report)

    assert [] == re.findall(r"<script|<link|<img|<iframe|\bsrc=|url\(|@import|https?:", text)


def test_gaps_precede_the_rules(report: Report) -> None:
    """Gaps and lost input precede the rules, in words and as figures."""
    first, _, _ = Figures(page(report)).text.partition("Rules\n")

    for told in ("1 hour of 4 days was not judged", "2026-01-02 06:00 to 07:00", "40 source records lost", "5,100 to"):
        assert told in first
    assert "violations over" not in Figures(page(report)).text


def test_hostile_text_is_only_text(report: Report) -> None:
    """Content of traces and rules never becomes markup."""
    hostile = '"><script>alert(1)</script><img src=x onerror=alert(1)>'
    [rule] = [one for one in report.rules if one.broken_traces]
    control_characters = "\x1b[2J\x00\x9b\u202e"
    bar = Bar(subject=hostile, name=hostile, service=hostile, start_ns=1, duration_ns=-5, attributes={hostile: hostile})
    trace = msgspec.structs.replace(
        rule.broken_traces[0], message=hostile + control_characters, trace_id=hostile, witnesses=[bar]
    )
    changed = msgspec.structs.replace(
        rule, id=hostile, title=hostile, owner=hostile, text=hostile, controls=[hostile], broken_traces=[trace]
    )
    control = msgspec.structs.replace(report.controls[0], control=hostile, rules=[hostile])

    text = page(msgspec.structs.replace(report, rules=[changed], controls=[control], statement=hostile))

    assert "<script" not in text
    assert "<img" not in text
    assert 8 < Figures(text).text.count(hostile)
    assert [] == [char for char in text if not char.isprintable() and char != "\n"]


def test_a_table_names_its_columns(report: Report) -> None:
    """A screen reader and a second sheet of paper have the head of each table."""
    text = page(report)

    columns = text.count("<table") - text.count('<table class="pairs"')
    assert 6 < columns == text.count("<thead>")
    assert text.count("<table") == text.count("<caption>")
    assert "<th>" not in text


def test_charts_have_their_figures_as_text(report: Report) -> None:
    """A screen reader reads the sums of a chart, and its bars differ by more than their colour."""
    text = page(report)

    assert 'aria-label="Verdicts a day: 11,255 held, 0 undetermined, 2 broken on 4 days, at most' in text
    assert 'aria-label="Judged: 98.96 % of the period, with 1 gap"' in text


def test_page_states_what_it_cannot_prove(report: Report) -> None:
    """The page states what the ledger's operator could hide, how to detect it, and that pushers name themselves."""
    shown = page(report)

    assert "What this cannot prove: whoever runs the ledger" in shown
    assert f"betrace evidence compare {report.evidence.place} coverage.jsonl --key ledger.pub" in shown
    assert 2 <= shown.count("as named by the pusher")


@pytest.mark.skipif(chromium.PROGRAM is None, reason="needs Chromium")
def test_a_narrow_screen_shows_the_page_whole(report: Report, tmp_path: Path) -> None:
    """The page is no broader than a window of 400 pixels: its tables scroll."""
    file = tmp_path / "report.html"
    file.write_text(page(report))

    assert 0 == chromium.overflow(file, tmp_path, 400)
