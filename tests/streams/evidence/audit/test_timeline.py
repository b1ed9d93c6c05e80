"""The page of what one actor did."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from msgspec.structs import replace as with_text

from streams.evidence.audit.timeline import page
from streams.evidence.audit.who import Moment, Who, moments
from streams.evidence.report.model import Bar
from tests.support import chromium
from tests.support.html import Figures
from tests.support.quarter import DAY_MS, START_MS, Quarter

DAYS = 3
END_MS = START_MS + DAYS * DAY_MS
ACTOR = "user.id=u-3"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[Moment]:
    """Four changes of roles by u-3 and one by another, two of its traces that broke a rule and one of another's."""
    root = tmp_path_factory.mktemp("e")
    store = Quarter(root, DAYS, broken={3, 26, 50}, audited={3, 8, 9, 28, 53}).make()
    return moments(store, Who("user.id", "u-3"), START_MS, END_MS)


@pytest.mark.skipif(chromium.PROGRAM is None, reason="needs Chromium")
def test_a_browser_shows_the_moments(found: list[Moment], tmp_path: Path) -> None:
    """Opened in a browser the page says nothing on the console, asks for nothing, and its sums are the moments'."""
    file = tmp_path / "who.html"
    file.write_text(page(ACTOR, found, START_MS, END_MS))

    seen = chromium.see(file, tmp_path)

    assert [] == seen.console
    assert [] == seen.requests
    sums = {"Audit records": "4", "Broken": "2", "Other signals": "0", "Traces": "5", "Services": "2"}
    assert sums == Figures(seen.dom).found
    assert [4, 2] == [len(re.findall(f'<span class="kind">{kind}', seen.dom)) for kind in ("audit", "broken, high")]


@pytest.mark.skipif(chromium.PROGRAM is None, reason="needs Chromium")
def test_on_paper_everything_is_there(found: list[Moment], tmp_path: Path) -> None:
    """Printed, each moment is on some sheet, in order, and the first one says whom it is about."""
    file = tmp_path / "who.html"
    file.write_text(page(ACTOR, found, START_MS, END_MS))

    sheets = chromium.printed(file, tmp_path)

    assert ACTOR in sheets[0]
    clocks = re.findall(r"\d\d:\d\d:\d\d\.\d{3}", "".join(sheets))
    assert ["03:00:00", "03:00:30", "08:00:00", "02:00:30", "04:00:00", "05:00:00"] == [clock[:8] for clock in clocks]


def test_both_names_of_a_user_are_one(found: list[Moment]) -> None:
    """Records of the trail say enduser.id, witnesses user.id."""
    assert {"audit", "broken"} == {moment.kind for moment in found}
    assert found == sorted(found, key=lambda moment: moment.time_ms)


def test_the_witnesses_of_a_broken_trace_are_shown(found: list[Moment]) -> None:
    """As a waterfall, like in the report."""
    text = page(ACTOR, found, START_MS, END_MS)

    assert 2 == text.count('<svg class="fall"')
    assert "export users" in text


def test_nothing_is_said_of_nobody() -> None:
    """An actor of whom nothing is recorded has a page that says so."""
    text = page("user.id=nobody", [], START_MS, END_MS)

    assert "Nothing is recorded of this actor in this time." in text
    assert "<h2>" not in text


def test_hostile_text_is_only_text() -> None:
    """What a trace says never becomes markup, and nothing on the page would be loaded."""
    hostile = '"><script>alert(1)</script><img src=x onerror=alert(1)>'
    bar = Bar(subject="s", name="n", service=None, start_ns=1, duration_ns=2, attributes={})
    witness = with_text(bar, subject=hostile, name=hostile, service=hostile)
    moment = Moment(START_MS, hostile, hostile, hostile, hostile, ((hostile, hostile),), hostile, hostile, (witness,))

    text = page(hostile, [moment], START_MS, END_MS)

    assert [] == re.findall(r"<script|<link|<img|<iframe|url\(|@import|https?:", text)
    assert hostile in Figures(text).text
