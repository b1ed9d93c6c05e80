"""Renders a signal and the waterfall of its trace as one self-contained HTML page: `waterfall.html.j2`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from streams.inspect import waterfall
from streams.inspect.waterfall import Extent, Row
from streams.pages import render
from topics.signals.digest import Digest

ROWS = 10_000
INDENTS = 40
_PARTS = 10_000
_TEMPLATE = Path(__file__).with_name("waterfall.html.j2")
_KINDS = {
    "critical": "bad",
    "high": "bad",
    "medium": "doubt",
    "broken": "bad",
    "undetermined": "doubt",
    "held": "good",
    "not_applicable": "good",
}
"""How the words for severities and verdicts are coloured; others are not."""


def page(signal: Digest, rows: Sequence[Row], gone: Sequence[str]) -> str:
    """Return the page, with at most 10,000 spans; `gone` lists the records that are no longer on their topics."""
    extent = waterfall.extent(rows)
    return render(
        _TEMPLATE,
        signal=signal,
        severity_kind=_KINDS.get(signal.severity, ""),
        verdict_kind=_KINDS.get(signal.verdict, ""),
        sources=[f"{at.topic} {at.partition}: {at.first_offset}-{at.last_offset}" for at in signal.sources],
        gone=gone,
        rows=[(row, _lane(row, extent)) for row in rows[:ROWS]],
        more=len(rows[ROWS:]),
        indents=INDENTS,
        took=waterfall.duration,
    )


def _lane(row: Row, extent: Extent) -> tuple[float, float] | None:
    """Return where the bar of a row begins and how long it is, in percent; None without a start."""
    bar = extent.bar(row, _PARTS)
    return None if bar is None else (bar[0] * 100 / _PARTS, bar[1] * 100 / _PARTS)
