"""Renders what one actor did as a self-contained HTML page: `page(actor, found, from_ms, to_ms, verify)`.

In: a timeline, and the command that verifies the evidence. Out: HTML without scripts and without requests. Every sum on
it is in an element with a `data-figure`.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import groupby

from streams.evidence.audit.who import Completeness, Moment, Timeline
from streams.evidence.report import charts
from streams.evidence.report.style import STYLE
from streams.evidence.report.words import amount, day, minute, span
from topics.times import rfc3339_clamped

AUDIT = "audit"
_MARKS = {AUDIT: "", "broken": "broken-one", "undetermined": "doubt-one"}
_SECOND_MS = 1000


def page(actor: str, timeline: Timeline, from_ms: int, to_ms: int, verify: str) -> str:
    """Return the page."""
    days = "".join(_day(time_ms, [*moments]) for time_ms, moments in groupby(timeline.moments, _day_of))
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{escape(actor)}</title>
<style>{STYLE}</style>
<main><header><p class="kicker">Incident view</p><h1>{escape(actor)}</h1>
<p class="soft">{span(_whole_second(from_ms), _whole_second(to_ms))} UTC</p></header>
{_summary(timeline.moments)}
{days}{_complete(timeline.completeness, verify)}</main>
</html>
"""


def _complete(completeness: Completeness, verify: str) -> str:
    sentences = escape(" ".join(completeness.sentences()))
    return f"<h2>How complete this is</h2><p>{sentences}</p><p>To verify it: <code>{escape(verify)}</code></p>"


def _summary(moments: Sequence[Moment]) -> str:
    counts = {
        "Audit records": sum(moment.kind == AUDIT for moment in moments),
        "Broken": sum(moment.kind == "broken" for moment in moments),
        "Other signals": sum(moment.kind not in {AUDIT, "broken"} for moment in moments),
        "Traces": len({moment.trace_id for moment in moments if moment.trace_id}),
        "Services": len({moment.service for moment in moments if moment.service}),
    }
    tiles = "".join(
        f'<div><dt>{name}<dd><span data-figure="{name}">{count:,}</span></div>' for name, count in counts.items()
    )
    kind = "bad" if counts["Broken"] else "good"
    return (
        f'<p class="statement {kind}">{escape(_sentence(moments, counts["Broken"]))}</p><dl class="tiles">{tiles}</dl>'
    )


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


def _day(time_ms: int, moments: Sequence[Moment]) -> str:
    return f'<h2>{day(time_ms)}</h2><ol class="moments">{"".join(map(_moment, moments))}</ol>'


def _day_of(moment: Moment) -> int:
    return moment.time_ms // 86_400_000 * 86_400_000


def _moment(moment: Moment) -> str:
    kind = moment.kind if moment.severity is None else f"{moment.kind}, {moment.severity}"
    judged = [] if moment.judged_ms is None else [f"judged at {rfc3339_clamped(moment.judged_ms)}"]
    where = " · ".join(
        [
            *judged,
            *([escape(moment.service)] if moment.service else []),
            f"trace <code>{escape(moment.trace_id or 'none')}</code>",
        ]
    )
    message = "" if moment.message is None else f"<p>{escape(moment.message)}</p>"
    pairs = "".join(f"<dt>{escape(name)}<dd>{escape(value)}" for name, value in moment.details)
    return (
        f'<li class="{_MARKS.get(moment.kind, "other-one")}"><time>{_clock(moment.time_ms)}</time>'
        f'<p><b>{escape(moment.what)}</b><span class="kind">{escape(kind)}</span></p>{message}'
        f'<p class="soft small">{where}</p>{charts.waterfall(moment.witnesses)}<dl class="pairs">{pairs}</dl></li>'
    )


def _clock(time_ms: int) -> str:
    return rfc3339_clamped(time_ms)[11:-1]


def _whole_second(time_ms: int) -> int:
    return time_ms // _SECOND_MS * _SECOND_MS
