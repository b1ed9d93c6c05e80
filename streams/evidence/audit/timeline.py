"""Renders what one actor did as a self-contained HTML page: `page(actor, found, from_ms, to_ms, verify)`.

In: a timeline, and the command that verifies the evidence. Out: HTML without scripts and without requests. Every sum on
it is in an element with a `data-figure`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from streams.evidence.audit.who import Moment, Timeline
from streams.evidence.report import charts
from streams.pages import render
from streams.pages.words import amount, minute

AUDIT = "audit"
_MARKS = {AUDIT: "audit", "broken": "bad", "undetermined": "doubt"}
_SECOND_MS = 1000
_TEMPLATE = Path(__file__).with_name("timeline.html.j2")


def page(actor: str, timeline: Timeline, from_ms: int, to_ms: int, verify: str) -> str:
    """Return the page."""
    counts = _counts(timeline.moments)
    return render(
        _TEMPLATE,
        actor=actor,
        from_ms=_whole_second(from_ms),
        to_ms=_whole_second(to_ms),
        counts=counts,
        sentence=_sentence(timeline.moments, counts["Broken"]),
        days=[(day_ms, [*moments]) for day_ms, moments in groupby(timeline.moments, _day_of)],
        completeness=" ".join(timeline.completeness.sentences()),
        verify=verify,
        bars_of=charts.waterfall,
        mark=lambda moment: _MARKS.get(moment.kind, "other"),
    )


def _counts(moments: Sequence[Moment]) -> dict[str, int]:
    return {
        "Audit records": sum(moment.kind == AUDIT for moment in moments),
        "Broken": sum(moment.kind == "broken" for moment in moments),
        "Other signals": sum(moment.kind not in {AUDIT, "broken"} for moment in moments),
        "Traces": len({moment.trace_id for moment in moments if moment.trace_id}),
        "Services": len({moment.service for moment in moments if moment.service}),
    }


def _sentence(moments: Sequence[Moment], broken_count: int) -> str:
    """Return the summary in a sentence.

    >>> _sentence([], 0)
    'Nothing is recorded about this actor in this period.'
    """
    if not moments:
        return "Nothing is recorded about this actor in this period."
    first, last = (minute(_whole_second(moment.time_ms)) for moment in (moments[0], moments[-1]))
    when = f"at {first}" if first == last else f"from {first} to {last}"
    broken = f"{amount(broken_count, 'signal')} of a broken rule" if broken_count else "no rule was broken"
    return f"{amount(len(moments), 'moment')} {when} UTC; {broken}."


def _day_of(moment: Moment) -> int:
    return moment.time_ms // 86_400_000 * 86_400_000


def _whole_second(time_ms: int) -> int:
    return time_ms // _SECOND_MS * _SECOND_MS
