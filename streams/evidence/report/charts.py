"""Computes the charts of a report: where bars begin and how long they are, as percentages that need no scale.

In: days, gaps and witnesses of the report. Out: what `charts.html.j2` and the waterfall of `parts.html.j2` draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from streams.evidence.report.model import Bar, DayCounts, Judged
from streams.inspect.waterfall import duration
from streams.pages.words import amount, day, span

LABELS = 9
"""The most days that are labelled: more would overlap on a narrow screen."""

_DENSE = 100
_KINDS = ("broken", "undetermined", "held")
_NAME_CHARS = 80


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a day's bar; `percent` is its share of the chart's height."""

    kind: str
    percent: float


@dataclass(frozen=True, slots=True)
class Day:
    """One day of a chart: its parts from the top down; `label` is empty for most days."""

    title: str
    label: str
    is_whole: bool
    parts: list[Part]


@dataclass(frozen=True, slots=True)
class DayChart:
    """A bar for each day; `scale` are the labelled heights, in percent, from the bottom."""

    label: str
    scale: list[tuple[int, str]]
    is_dense: bool
    days: list[Day]


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a period, in percent of it."""

    left: float
    width: float
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """A bar of a waterfall, in percent of the trace's time; `took` is empty if the duration is unknown."""

    name: str
    subject: str
    left: float
    width: float
    took: str


def days(counted: Sequence[DayCounts]) -> DayChart:
    """Return a bar per day with its verdicts."""
    most = max((one.held + one.broken + one.undetermined for one in counted), default=0)
    top = _round_up(most)
    every = max(1, -(-len(counted) // LABELS))
    sums = ", ".join(f"{sum(getattr(one, kind) for one in counted):,} {kind}" for kind in reversed(_KINDS))
    return DayChart(
        label=f"Verdicts a day: {sums} on {amount(len(counted), 'day')}, at most {most:,} on one",
        scale=[(height, _short(top * height // 100)) for height in (0, 50, 100) if top * height % 100 == 0],
        is_dense=len(counted) > _DENSE,
        days=[_day(one, top, is_labelled=at % every == 0) for at, one in enumerate(counted)],
    )


def gaps(judged: Judged, from_ms: int, to_ms: int) -> list[Stretch]:
    """Return the parts of the period that were not judged."""
    length_ms = max(to_ms - from_ms, 1)
    return [
        Stretch(
            left=(gap.from_ms - from_ms) * 100 / length_ms,
            width=(gap.to_ms - gap.from_ms) * 100 / length_ms,
            title=f"not judged: {span(gap.from_ms, gap.to_ms)}",
        )
        for gap in judged.gaps
    ]


def waterfall(witnesses: Sequence[Bar]) -> list[Witness]:
    """Return the witnesses of a broken trace on a time axis; witnesses without a start are left out."""
    placed = sorted((one for one in witnesses if one.start_ns is not None), key=lambda one: one.start_ns or 0)
    first_ns = min((one.start_ns or 0 for one in placed), default=0)
    last_ns = max(((one.start_ns or 0) + (one.duration_ns or 0) for one in placed), default=0)
    return [_witness(one, first_ns, max(last_ns - first_ns, 1)) for one in placed]


def _witness(one: Bar, first_ns: int, length_ns: int) -> Witness:
    name = f"{one.service} · {one.name}" if one.service else one.name
    left = ((one.start_ns or 0) - first_ns) * 100 / length_ns
    return Witness(
        name=name if len(name) <= _NAME_CHARS else f"{name[: _NAME_CHARS - 1]}…",
        subject=one.subject,
        left=min(left, 99.0),
        width=max((one.duration_ns or 0) * 100 / length_ns, 0.0),
        took="" if one.duration_ns is None else duration(one.duration_ns),
    )


def _day(one: DayCounts, top: int, *, is_labelled: bool) -> Day:
    name = day(one.day_ms)
    judged = "" if one.judged >= 1 else f", {one.judged:.1%} judged"
    return Day(
        title=f"{name}: {one.held} held, {one.broken} broken, {one.undetermined} undetermined{judged}",
        label=name[5:] if is_labelled else "",
        is_whole=one.judged >= 1,
        parts=[Part(kind, getattr(one, kind) * 100 / top) for kind in _KINDS if getattr(one, kind) > 0],
    )


def _round_up(count: int) -> int:
    """Return the end of a scale: 1, 2, 4, 5 or 10 times a power of ten."""
    size = 1
    while size * 10 < count:
        size *= 10
    return next(size * factor for factor in (1, 2, 4, 5, 10) if size * factor >= count)


def _short(count: int) -> str:
    for size, unit in ((1_000_000, "M"), (1000, "k")):
        if count >= size:
            return f"{count / size:g}{unit}"
    return str(count)
