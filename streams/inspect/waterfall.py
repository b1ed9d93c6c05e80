"""Orders the spans of one trace for a waterfall: `rows(spans, subjects) -> rows`.

In: spans in any order, and which of them are witnesses. Out: one row per span, parents before children, siblings by
start. Every span appears once, whatever its parents claim: a span whose parent is unknown, or that is its own ancestor,
is the root of its own tree.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dsl import Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One span or log record; `subjects` are the rule's subjects that it is a witness for.

    `duration_ns` is None for a log record, and for a span without an end or that ends before it starts.
    """

    depth: int
    name: str
    service: str | None
    start_ns: int | None
    duration_ns: int | None
    is_log: bool
    is_error: bool
    subjects: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Extent:
    """The time span of a trace, in Unix ns."""

    first_ns: int
    last_ns: int

    def bar(self, row: Row, width: int) -> tuple[int, int] | None:
        """Return the start and the length of a row's bar in `width` columns, at least one long; None without a start.

        >>> what = {"name": "a", "service": None, "depth": 0, "is_log": False, "is_error": False, "subjects": ()}
        >>> Extent(0, 100).bar(Row(start_ns=50, duration_ns=25, **what), 20)
        (10, 5)
        """
        if row.start_ns is None:
            return None
        total_ns = max(self.last_ns - self.first_ns, 1)
        start = min((row.start_ns - self.first_ns) * width // total_ns, width - 1)
        length = max((row.duration_ns or 0) * width // total_ns, 1)
        return start, min(length, width - start)


def rows(spans: Iterable[Span], subjects: Mapping[bytes, Sequence[str]]) -> list[Row]:
    """Return the rows; of spans with the same identity (a Collector may send twice) keep the first."""
    known: dict[bytes, Span] = {}
    for span in spans:
        known.setdefault(span.identity or span.span_id, span)
    children: dict[bytes, list[Span]] = {}
    ids = {span.span_id for span in known.values() if not span.is_log}
    for span in sorted(known.values(), key=_order):
        parent = _parent(span)
        children.setdefault(parent if parent in ids else b"", []).append(span)
    return [_row(span, depth, subjects) for span, depth in _walk(children, known.values())]


def extent(shown: Sequence[Row]) -> Extent:
    """Return the time from the first start to the last end."""
    starts = [row.start_ns for row in shown if row.start_ns is not None]
    ends = [row.start_ns + (row.duration_ns or 0) for row in shown if row.start_ns is not None]
    return Extent(min(starts, default=0), max(ends, default=0))


def duration(time_ns: int) -> str:
    """Return a duration for people.

    >>> duration(1_500), duration(25_000_000), duration(2_345_000_000)
    ('1.5µs', '25ms', '2.35s')
    """
    for unit, size in (("s", 1_000_000_000), ("ms", 1_000_000), ("µs", 1_000)):
        if time_ns >= size:
            return f"{time_ns / size:.3g}{unit}" if time_ns < 100 * size else f"{time_ns / size:.0f}{unit}"
    return f"{time_ns}ns"


def _order(span: Span) -> tuple[int, bytes]:
    return (span.start_ns or 0, span.identity or span.span_id)


def _parent(span: Span) -> bytes:
    """Return the id of the parent; that of a log record is the span it was written in."""
    return span.span_id if span.is_log else span.parent_id


def _walk(children: Mapping[bytes, list[Span]], everything: Iterable[Span]) -> list[tuple[Span, int]]:
    walked: list[tuple[Span, int]] = []
    visited: set[int] = set()
    # Spans that are their own ancestors are reachable from no root: they come last, each once.
    for root in (*children.get(b"", ()), *sorted(everything, key=_order)):
        stack = [(root, 0)]
        while stack:
            span, depth = stack.pop()
            if id(span) in visited:
                continue
            visited.add(id(span))
            walked.append((span, depth))
            below = () if span.is_log or not span.span_id else children.get(span.span_id, ())
            stack.extend((child, depth + 1) for child in reversed(below))
    return walked


def _row(span: Span, depth: int, subjects: Mapping[bytes, Sequence[str]]) -> Row:
    service = span.resource.get("service.name")
    took_ns = None if span.start_ns is None or span.end_ns is None else span.end_ns - span.start_ns
    return Row(
        depth=depth,
        name=span.name,
        service=service if isinstance(service, str) else None,
        start_ns=span.start_ns,
        duration_ns=None if took_ns is None or took_ns < 0 or span.is_log else took_ns,
        is_log=span.is_log,
        is_error=span.status == "error",
        subjects=tuple(dict.fromkeys(subjects.get(span.identity or span.span_id, ()))),
    )
