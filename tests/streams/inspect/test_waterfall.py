"""Tests the order and the positions of a waterfall."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsl import Span
from streams.inspect.waterfall import Extent, Row, duration, extent, rows
from tests.support.spans import span


def log(name: str, inside: str, start_ns: int = 0) -> Span:
    """A log record written in a span."""
    return Span(name, inside.encode(), start_ns=start_ns, is_log=True, identity=f"log {name}".encode())


def outline(*spans: Span) -> list[tuple[int, str]]:
    """Depth and name of each row."""
    return [(row.depth, row.name) for row in rows(spans, {})]


def test_parents_come_before_children() -> None:
    """A tree is walked depth first, siblings by start, log records in their span."""
    actual = outline(
        span("d", "b", 4), span("c", "a", 5), span("b", "a", 2), span("a", start_ns=1), log("written", "b", 3)
    )

    assert actual == [(0, "a"), (1, "b"), (2, "written"), (2, "d"), (1, "c")]


def test_unknown_parent_begins_a_tree() -> None:
    """A span whose parent is outside the range is shown at the left."""
    assert outline(span("b", "gone", 2), span("a", start_ns=1)) == [(0, "a"), (0, "b")]


@pytest.mark.parametrize("parents", [{"a": "a"}, {"a": "b", "b": "a"}, {"a": "c", "b": "a", "c": "b"}])
def test_own_ancestors_are_shown_once(parents: dict[str, str]) -> None:
    """Spans in a cycle have no root and are shown nevertheless."""
    actual = outline(*(span(name, parent) for name, parent in parents.items()))

    assert sorted(name for _, name in actual) == sorted(parents)


def test_sent_twice_is_shown_once() -> None:
    """A Collector may deliver a span twice."""
    assert outline(span("a"), span("a")) == [(0, "a")]


def test_deep_trace() -> None:
    """A chain of ten thousand spans is shown like any other."""
    spans = [span(str(n), str(n - 1) if n else "") for n in range(10_000)]

    assert outline(*spans)[-1] == (9_999, "9999")


def test_row_says_what_it_witnesses() -> None:
    """A row has its rule's subjects, its error, its service and its duration."""
    spans = [Span("a", b"a", b"", 5, 9, identity=b"a", status="error", resource={"service.name": "shop"})]

    [actual] = rows(spans, {b"a": ["pii.access", "pii.access", "export"]})

    assert actual == Row(
        depth=0,
        name="a",
        service="shop",
        start_ns=5,
        duration_ns=4,
        is_log=False,
        is_error=True,
        subjects=("pii.access", "export"),
    )


@pytest.mark.parametrize(("start_ns", "end_ns"), [(None, 5), (5, None), (6, 5)])
def test_no_duration(start_ns: int | None, end_ns: int | None) -> None:
    """A span that ends before it starts, or lacks a time, has no duration."""
    [actual] = rows([span("a", "", start_ns, end_ns)], {})

    assert actual.duration_ns is None


_names = st.sampled_from("abcdefgh")
_spans = st.lists(
    st.builds(
        span, _names, st.just("") | _names, st.none() | st.integers(0, 1 << 64), st.none() | st.integers(0, 1 << 64)
    )
)


@given(_spans, st.integers(1, 200))
def test_any_trace_fits_its_width(spans: list[Span], width: int) -> None:
    """Whatever spans claim, each is shown once, with its bar inside the chart."""
    actual = rows(spans, {})

    assert sorted(row.name for row in actual) == sorted({each.name for each in spans})
    for row in actual:
        place = extent(actual).bar(row, width)
        assert (place is None) == (row.start_ns is None)
        assert place is None or (0 <= place[0] and 1 <= place[1] and sum(place) <= width)


def test_empty_trace_has_an_extent() -> None:
    """Without any span there is still a valid chart."""
    assert extent([]) == Extent(0, 0)


@pytest.mark.parametrize(
    ("time_ns", "expected"),
    [(0, "0ns"), (999, "999ns"), (1000, "1µs"), (999_999, "1000µs"), (1_000_000, "1ms"), (3_600_000_000_000, "3600s")],
)
def test_duration(time_ns: int, expected: str) -> None:
    """A duration has three digits and a unit."""
    assert duration(time_ns) == expected
