"""Draws the charts of a report as inline SVG, which loads nothing and prints as it looks.

In: days, gaps and witnesses of the report. Out: SVG text, every text in it escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from streams.evidence.report.model import Bar, DayCounts, Judged
from streams.evidence.report.words import day, span
from streams.inspect.waterfall import duration

WIDTH = 720
_PLOT = 96
_LEFT = 46
_FOOT = 18
_HEAD = 8
_LEAST = 2.5
"""The minimum height of a part of a bar: one broken trace among a million must be visible."""

_PARTS = (("held", "held"), ("undetermined", "undetermined"), ("broken", "broken"))
_ROW = 20
_LABEL = 250


def days(counted: Sequence[DayCounts]) -> str:
    """Return a bar per day with its verdicts; days that were not judged completely are hatched."""
    most = max((one.held + one.broken + one.undetermined for one in counted), default=0)
    top = _round_up(most)
    step = (WIDTH - _LEFT) / max(len(counted), 1)
    parts = [_axis(top)]
    for at, one in enumerate(counted):
        parts += _day(one, _LEFT + at * step, step, top)
    every = max(1, -(-len(counted) // 9))
    for at in range(0, len(counted), every):
        x = _LEFT + (at + 0.5) * step
        parts.append(f'<text class="tick" x="{x:.1f}" y="{_HEAD + _PLOT + 13}">{day(counted[at].day_ms)[5:]}</text>')
    height = _HEAD + _PLOT + _FOOT
    shape = f'viewBox="0 0 {WIDTH} {height}" role="img" aria-label="Verdicts a day"'
    return f'<svg class="days" {shape}>{"".join(parts)}</svg>'


def timeline(judged: Judged, from_ms: int, to_ms: int) -> str:
    """Return the period as a bar in which the parts not judged stand out."""
    length_ms = max(to_ms - from_ms, 1)
    parts = [f'<rect class="held" x="0" y="0" width="{WIDTH}" height="14" rx="2"/>']
    for gap in judged.gaps:
        x = (gap.from_ms - from_ms) / length_ms * WIDTH
        width = max((gap.to_ms - gap.from_ms) / length_ms * WIDTH, _LEAST)
        title = f"not judged: {span(gap.from_ms, gap.to_ms)}"
        parts.append(
            f'<rect class="gap" x="{min(x, WIDTH - width):.2f}" y="0" width="{width:.2f}" height="14">'
            f"<title>{title}</title></rect>"
        )
    return f'<svg class="line" viewBox="0 0 {WIDTH} 14" role="img" aria-label="What was judged">{"".join(parts)}</svg>'


def waterfall(witnesses: Sequence[Bar]) -> str:
    """Return the witnesses of a broken trace on a time axis; empty if none has a start."""
    placed = sorted((one for one in witnesses if one.start_ns is not None), key=lambda one: one.start_ns or 0)
    if not placed:
        return ""
    first = placed[0].start_ns or 0
    last = max((one.start_ns or 0) + (one.duration_ns or 0) for one in placed)
    rows = "".join(_bar(one, at, first, max(last - first, 1)) for at, one in enumerate(placed))
    height = len(placed) * _ROW
    return f'<svg class="fall" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="Spans in time">{rows}</svg>'


def _bar(one: Bar, at: int, first: int, length: int) -> str:
    room = WIDTH - _LABEL - 70
    x = _LABEL + ((one.start_ns or 0) - first) / length * room
    width = max((one.duration_ns or 0) / length * room, 3)
    x = min(x, WIDTH - 70 - width)
    took = "" if one.duration_ns is None else duration(one.duration_ns)
    name = f"{one.service} · {one.name}" if one.service else one.name
    y = at * _ROW
    return (
        f'<line class="grid" x1="0" x2="{WIDTH}" y1="{y + _ROW - 0.5}" y2="{y + _ROW - 0.5}"/>'
        f'<text x="0" y="{y + 14}">{escape(_cut(name, 44))}</text>'
        f'<rect class="span" x="{x:.1f}" y="{y + 5}" width="{width:.1f}" height="10" rx="1.5">'
        f"<title>{escape(one.subject)}</title></rect>"
        f'<text class="took" x="{WIDTH}" y="{y + 14}">{took}</text>'
    )


def _axis(top: int) -> str:
    lines = []
    for share in (0.0, 0.5, 1.0):
        y = _HEAD + _PLOT * (1 - share)
        lines.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH}" y1="{y:g}" y2="{y:g}"/>')
        if top * share == int(top * share):
            lines.append(f'<text class="scale" x="{_LEFT - 6}" y="{y + 3:g}">{_short(int(top * share))}</text>')
    return "".join(lines)


def _day(one: DayCounts, x: float, step: float, top: int) -> list[str]:
    width = max(step - min(2, step / 4), 0.5)
    parts = []
    if one.judged < 1:
        title = f"{day(one.day_ms)}: {one.judged:.1%} judged"
        parts.append(
            f'<rect class="hatch" x="{x:.2f}" y="{_HEAD}" width="{max(width, 1.5):.2f}" height="{_PLOT}">'
            f"<title>{title}</title></rect>"
        )
    y = float(_HEAD + _PLOT)
    said = f"{day(one.day_ms)}: {one.held} held, {one.broken} broken, {one.undetermined} undetermined"
    for kind, name in _PARTS:
        count = getattr(one, name)
        if count > 0:
            height = min(max(count / max(top, 1) * _PLOT, _LEAST), y - _HEAD + _LEAST)
            y -= height
            parts.append(
                f'<rect class="{kind}" x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{height:.2f}">'
                f"<title>{said}</title></rect>"
            )
    return parts


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


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
