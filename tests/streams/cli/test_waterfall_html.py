"""Tests the page of a signal."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

from streams.cli.waterfall_html import page
from streams.inspect.waterfall import Row, rows
from tests.support.findings import SIGNAL
from tests.support.spans import span
from topics.signals.finding import SignalWitness
from topics.times import rfc3339_clamped

EVIL = "<script>alert(1)</script>\"'"
CONTROL = "\x1b]0;a\x07\x00\x9b\u202e"


class Page(HTMLParser):
    """The elements and the text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes an element and what it would load."""
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in {"src", "href", "onclick"}]

    def handle_data(self, data: str) -> None:
        """Notes a text."""
        self.text += data


def test_page_shows_the_signal() -> None:
    """Message, rule, witnesses with attributes, and a bar for each span."""
    text = page(SIGNAL, rows([span("a", "", 0, 10), span("b", "a", 5, 10)], {b"b": ["pii.access"]}), [])
    found = Page(text)

    assert SIGNAL.message in found.text
    assert "user.id = u-17" in found.text
    assert f"{SIGNAL.uid}.1" in found.text
    assert found.tags.count("span") == 2
    assert text.count('<span class="bar"') == 2


def test_page_is_self_contained() -> None:
    """It has no scripts, pictures or addresses, so it can be mailed to an auditor."""
    found = Page(page(SIGNAL, rows([span("a")], {}), []))

    assert found.links == []
    assert not {"script", "link", "img", "iframe", "object"} & set(found.tags)


def test_names_are_escaped() -> None:
    """Names of spans, rules and attributes are always escaped."""
    witness = SignalWitness(
        subject=EVIL, span_id=b"a", name=EVIL, service=EVIL, start_ns=0, duration_ns=0, attributes={EVIL: EVIL}
    )
    signal = replace(
        SIGNAL, title=EVIL, message=EVIL, severity=EVIL, verdict=EVIL, missing=(EVIL,), witnesses=(witness,)
    )
    row = Row(
        depth=0,
        name=EVIL + CONTROL,
        service=EVIL,
        start_ns=0,
        duration_ns=1,
        is_log=False,
        is_error=False,
        subjects=(EVIL,),
    )

    text = page(signal, [row], [EVIL + CONTROL])
    found = Page(text)

    assert "script" not in found.tags
    assert found.links == []
    assert found.text.count(EVIL) >= 10
    assert [char for char in text if not char.isprintable() and char != "\n"] == []


def test_both_times_are_shown() -> None:
    """The two times are named, and differ by the time that the window was open."""
    times = f"happened {rfc3339_clamped(SIGNAL.happened_ms)}, judged at {rfc3339_clamped(SIGNAL.time_ms)}"

    assert times in Page(page(SIGNAL, [], [])).text
    assert SIGNAL.happened_ms < SIGNAL.time_ms


def test_page_of_an_incomplete_trace() -> None:
    """A page of an incomplete trace says so."""
    assert "otlp_spans has nothing" in Page(page(SIGNAL, [], ["otlp_spans has nothing"])).text


def test_huge_trace_is_truncated() -> None:
    """Past ten thousand spans the page says how many more there are."""
    text = page(
        SIGNAL,
        [Row(depth=0, name="a", service=None, start_ns=0, duration_ns=1, is_log=False, is_error=False, subjects=())]
        * 10_003,
        [],
    )

    assert "… and 3 more spans." in text
