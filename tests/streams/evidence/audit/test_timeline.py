"""Tests the page of what one actor did."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from msgspec.structs import replace as with_text

from streams.config.units import iso_ms
from streams.evidence.audit.timeline import page
from streams.evidence.audit.who import Completeness, Moment, Timeline, Who, timeline
from streams.evidence.report.model import Bar
from tests.support import chromium
from tests.support.html import Figures
from tests.support.quarter import DAY_MS, START_MS, Quarter

DAYS = 3
END_MS = START_MS + DAYS * DAY_MS
ACTOR = "user.id=u-3"
VERIFY = "betrace audit verify evidence/ --key ledger.pub"
WHOLE = Completeness(sealed_ms=END_MS, judged_to_ms=END_MS, unreadable=(), lost=0)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Timeline:
    """Four role changes by u-3 and one by another, two of its traces that broke a rule and one of another's."""
    root = tmp_path_factory.mktemp("e")
    store = Quarter(root, DAYS, broken={3, 26, 50}, audited={3, 8, 9, 28, 53}).make()
    return timeline(store, Who("user.id", "u-3"), START_MS, END_MS)


@pytest.mark.skipif(chromium.PROGRAM is None, reason="needs Chromium")
def test_a_browser_shows_the_moments(found: Timeline, tmp_path: Path) -> None:
    """In a browser the page logs nothing, requests nothing, and its sums match the moments."""
    file = tmp_path / "who.html"
    file.write_text(page(ACTOR, found, START_MS, END_MS, VERIFY))

    seen = chromium.see(file, tmp_path)

    assert [] == seen.console
    assert [] == seen.requests
    sums = {"Audit records": "4", "Broken": "2", "Other signals": "0", "Traces": "5", "Services": "2"}
    assert sums == Figures(seen.dom).found
    assert [4, 2] == [len(re.findall(f'<span class="kind">{kind}', seen.dom)) for kind in ("audit", "broken, high")]


@pytest.mark.skipif(chromium.PROGRAM is None, reason="needs Chromium")
def test_printed_page_is_complete(found: Timeline, tmp_path: Path) -> None:
    """Printed, each moment is on some sheet, and the first one names the actor."""
    file = tmp_path / "who.html"
    file.write_text(page(ACTOR, found, START_MS, END_MS, VERIFY))

    sheets = chromium.printed(file, tmp_path)

    assert ACTOR in sheets[0]
    clocks = re.findall(r"\d\d:\d\d:\d\d\.\d{3}", "".join(sheets))
    happened = ["03:00:00", "03:00:00", "08:00:00", "02:00:00", "04:00:00", "05:00:00"]
    judged = ["03:00:30", "02:00:30"]
    assert Counter([*happened, *judged]) <= Counter(clock[:8] for clock in clocks)


def test_both_names_of_a_user_are_one(found: Timeline) -> None:
    """Records of the trail use enduser.id, witnesses user.id."""
    assert {"audit", "broken"} == {moment.kind for moment in found.moments}


def test_moments_are_in_the_order_in_which_they_happened(found: Timeline) -> None:
    """A violation is shown at the time of the access, not of the verdict half a minute later."""
    times_ms = [moment.time_ms for moment in found.moments]

    assert sorted(times_ms) == times_ms
    delays_ms = {moment.judged_ms - moment.time_ms for moment in found.moments if moment.judged_ms is not None}
    assert {30_000} == delays_ms
    assert 2 == page(ACTOR, found, START_MS, END_MS, VERIFY).count("judged at ")


def test_completeness_is_shown(found: Timeline) -> None:
    """The page shows how far the evidence reaches, what cannot be read, and how to verify it."""
    text = Figures(page(ACTOR, found, START_MS, END_MS, VERIFY)).text
    gaps = Completeness(sealed_ms=None, judged_to_ms=None, unreadable=("seals/000/000/007.tlog",), lost=3)

    assert [f"Sealed up to {iso_ms(found.completeness.sealed_ms or 0)}"] == re.findall(r"Sealed up to [^,]*", text)
    assert VERIFY in text
    assert [
        "Nothing is sealed, nothing is judged: later events are not included.",
        "1 files cannot be read completely, such as seals/000/000/007.tlog.",
        "3 records were deleted before they were sealed.",
    ] == gaps.sentences()


def test_the_witnesses_of_a_broken_trace_are_shown(found: Timeline) -> None:
    """Witnesses are shown as a waterfall, as in the report."""
    text = page(ACTOR, found, START_MS, END_MS, VERIFY)

    assert 2 == text.count('<ol class="fall"')
    assert "export users" in text


def test_actor_without_records() -> None:
    """An actor without any record has a page that says so."""
    text = page("user.id=nobody", Timeline([], WHOLE), START_MS, END_MS, VERIFY)

    assert "Nothing is recorded about this actor in this period." in text
    assert ["How complete this is"] == re.findall("<h2>([^<]*)", text)


def test_hostile_text_is_only_text() -> None:
    """Content of traces never becomes markup, and the page loads nothing."""
    hostile = '"><script>alert(1)</script><img src=x onerror=alert(1)>'
    control = f"\x1b[2J\x00\u202e{hostile}"
    bar = Bar(subject="s", name="n", service=None, start_ns=1, duration_ns=2, attributes={})
    witness = with_text(bar, subject=hostile, name=hostile, service=hostile)
    moment = Moment(
        time_ms=START_MS,
        kind=hostile,
        what=hostile,
        service=control,
        trace_id=hostile,
        details=((control, hostile),),
        message=hostile,
        severity=hostile,
        witnesses=(witness,),
        judged_ms=START_MS,
    )

    text = page(hostile, Timeline([moment], WHOLE), START_MS, END_MS, VERIFY)

    assert [] == re.findall(r"<script|<link|<img|<iframe|url\(|@import|https?:", text)
    assert 10 < Figures(text).text.count(hostile)
    assert [] == [char for char in text if not char.isprintable() and char != "\n"]
