"""Renders the report as one self-contained HTML page; `report.html.j2` has its text, this module computes its figures.

In: the report. Out: HTML. Every figure is in an element whose `data-figure` is its path in the JSON, so that the two
can be compared.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from streams.evidence.report import charts
from streams.evidence.report.model import BackfillReport, Bar, Report, RuleReport, SourceInput
from streams.pages import render
from streams.pages.words import amount, was

ROWS = 12
"""The most rows of a table of gaps or lost input; the JSON has all."""

_TEMPLATE = Path(__file__).with_name("report.html.j2")


def page(report: Report) -> str:
    """Return the page."""
    sums = _sums(report.rules)
    return render(
        _TEMPLATE,
        report=report,
        made_ms=report.made_ms // 60_000 * 60_000,
        last_day_ms=max(report.to_ms - 1, report.from_ms),
        kind="bad" if sums["broken"] else "good" if report.is_whole else "doubt",
        sums=sums,
        gaps=charts.gaps(report.judged, report.from_ms, report.to_ms),
        silent_rules=[rule for rule in report.rules if rule.silence is not None],
        partial_rules=[rule for rule in report.rules if rule.judged.judged_ms < report.judged.period_ms],
        read_twice=max((rule.judged.read_twice for rule in report.rules), default=0),
        missing_input=[*_lost(report.input.sources), *_undecodable(report.input.sources)],
        compare=f"betrace evidence compare {shlex.quote(report.evidence.place)} coverage.jsonl --key ledger.pub",
        most=ROWS,
        attributes=_attributes,
        bars_of=charts.waterfall,
        changes=lambda rule: _changes(rule, report),
        chart_of=charts.days,
        left_out=_left_out,
    )


def _sums(rules: Sequence[RuleReport]) -> dict[str, int]:
    """Return the verdicts of all rules."""
    sums = {name: sum(getattr(rule.counts, name) for rule in rules) for name in ("held", "broken", "undetermined")}
    return {**sums, "applicable": sum(sums.values())}


def _lost(sources: Sequence[SourceInput]) -> Iterable[tuple[SourceInput, str, int]]:
    for source in sources:
        for begin, end in source.lost:
            yield source, f"lost: {begin:,} to {end - 1:,}", end - begin


def _undecodable(sources: Sequence[SourceInput]) -> Iterable[tuple[SourceInput, str, int]]:
    for source in sources:
        if source.dead_letters:
            offsets = f"{source.from_offset:,} to {source.to_offset - 1:,}"
            yield source, f"could not be decoded, of {offsets}", source.dead_letters


def _left_out(backfill: BackfillReport) -> str:
    """Return what a backfill did not judge; empty if it judged everything."""
    reasons = [
        f"{amount(count, 'trace')} {was(amount(count, 'trace'))} left out: {why}"
        for count, why in (
            (backfill.half_seen, "there before the records that were read"),
            (backfill.unfinished, "not over when it was made"),
        )
        if count
    ]
    if backfill.undecodable:
        reasons.append(f"{amount(backfill.undecodable, 'source record')} could not be read")
    return "; ".join(reasons)


def _attributes(witnesses: Sequence[Bar]) -> list[str]:
    """Return the attributes of witnesses, each once."""
    return [*dict.fromkeys(f"{name} = {value}" for one in witnesses for name, value in one.attributes.items())]


def _changes(rule: RuleReport, report: Report) -> str:
    """Return how often a rule changed in the period."""
    changes = [one for one in rule.versions if report.from_ms <= one.from_ms < report.to_ms]
    if not changes:
        return "It did not change in the period."
    return f"It changed {amount(len(changes), 'time')} in the period."
