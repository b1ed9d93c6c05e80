"""Builds the report on a period: `report(request, gathered, history, evidence)`.

In: sums of the period, and the rules. Out: a `Report`. Pure. It makes a statement about the whole period only if each
rule judged all of it, none of its input was lost, and every file of the evidence could be read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from streams.evidence.report import coverage, readings, rules, silence
from streams.evidence.report.coverage import SourceSum
from streams.evidence.report.gathered import Gathered
from streams.evidence.report.history import History
from streams.evidence.report.model import Evidence, Input, Judged, Report, ReportRequest, RuleReport, SourceInput
from streams.evidence.report.readings import Resolved
from streams.pages.words import amount, duration, span, was


def report(request: ReportRequest, gathered: Gathered, history: History, evidence: Evidence) -> Report:
    """Return the report."""
    resolved = readings.resolve(gathered, request.from_ms)
    judged, taken = _judged(request, gathered, resolved), _input(gathered)
    doubts = _doubts(judged, taken, evidence, gathered)
    has_all_input = taken.is_whole and not any(each.unreadable_count for each in gathered.backfills.values())
    of_rules = [*rules.reports(request, gathered, resolved, history, doubts, has_all_input=has_all_input)]
    return Report(
        made_ms=request.made_ms,
        from_ms=request.from_ms,
        to_ms=request.to_ms,
        period=duration(request.to_ms - request.from_ms),
        control=request.control,
        statement=_overall(request, of_rules, doubts),
        is_whole=doubts is None and bool(of_rules) and not _partial(request, of_rules),
        evidence=evidence,
        judged=judged,
        input=taken,
        controls=[*rules.controls(request, of_rules)],
        rules=of_rules,
        rule_sets=[active for active in history.activations if active.from_ms < request.to_ms],
        silent_services=[*silence.services(gathered.services, gathered.unlisted_services, request.to_ms)],
        verify=request.verify,
    )


def _judged(request: ReportRequest, gathered: Gathered, resolved: Resolved) -> Judged:
    gaps = coverage.gaps(gathered.partitions, gathered.expected, request.from_ms, request.to_ms)
    first, end = request.from_ms // coverage.HOUR_MS, -(-request.to_ms // coverage.HOUR_MS)
    return Judged(
        period_ms=request.to_ms - request.from_ms,
        judged_ms=coverage.judged_ms(gaps, request.from_ms, request.to_ms),
        hours=end - first,
        hours_with_gaps=coverage.hours_not_judged(gaps),
        gaps=gaps,
        resets=resolved.resets,
    )


def _input(gathered: Gathered) -> Input:
    """Return the input; every facts partition reports the same source records, so they are not added up."""
    sources: dict[tuple[str, int, int], list[SourceSum]] = defaultdict(list)
    for partition in gathered.partitions.values():
        for key, source in partition.sources.items():
            sources[key].append(source)
    inputs = [_source(key, sums) for key, sums in sorted(sources.items())]
    known = [source.dead_letters for source in inputs if source.dead_letters is not None]
    return Input(
        traces_seen_estimate=sum(each.traces.estimate() for each in gathered.partitions.values()),
        windows_judged=sum(each.windows_judged for each in gathered.partitions.values()),
        sources=inputs,
        lost=sum(end - begin for source in inputs for begin, end in source.lost),
        undecodable=sum(known) if len(known) == len(inputs) and inputs else None,
        verdict_records_lost=gathered.lost,
    )


def _source(key: tuple[str, int, int], sums: Sequence[SourceSum]) -> SourceInput:
    known = [each.dead_letters for each in sums if each.dead_letters is not None]
    return SourceInput(
        topic=key[0],
        partition=key[1],
        epoch=key[2],
        from_offset=min(each.from_offset for each in sums),
        to_offset=max(each.to_offset for each in sums),
        lost=sorted({lost for each in sums for lost in each.lost}),
        dead_letters=max(known, default=None),
    )


def _doubts(judged: Judged, taken: Input, evidence: Evidence, gathered: Gathered) -> str | None:
    """Return why there is no statement about the whole period, as a sentence; None if there is one."""
    reasons = []
    if judged.gaps:
        lacking = duration(judged.period_ms - judged.judged_ms)
        reasons.append(f"{lacking} of {duration(judged.period_ms)} {was(lacking)} not judged ({_named(judged)})")
    if taken.lost:
        reasons.append(f"{amount(taken.lost, 'source record')} lost before they could be read")
    if taken.undecodable:
        reasons.append(f"{amount(taken.undecodable, 'source record')} could not be read and became dead letters")
    elif taken.undecodable is None and taken.sources:
        reasons.append("how many source records could not be read is not known")
    for origin, backfill in sorted(gathered.backfills.items()):
        if backfill.unreadable_count:
            reasons.append(f"{amount(backfill.unreadable_count, 'source record')} could not be read by {origin}")
    if taken.verdict_records_lost:
        reasons.append(f"{amount(taken.verdict_records_lost, 'verdict record')} lost before they were sealed")
    if evidence.unreadable:
        reasons.append(f"{amount(len(evidence.unreadable), 'file')} of the evidence could not be read")
    return "; ".join(reasons) or None


def _named(judged: Judged) -> str:
    named = ", ".join(span(gap.from_ms, gap.to_ms) for gap in judged.gaps[:3])
    return named if len(judged.gaps) <= 3 else f"{named} and {len(judged.gaps) - 3} more gaps"  # noqa: PLR2004


def _partial(request: ReportRequest, of_rules: Iterable[RuleReport]) -> list[str]:
    """Return the rules that judged only a part of the period, or nothing of it."""
    return [rule.id for rule in of_rules if rule.judged.judged_ms < request.to_ms - request.from_ms]


def _overall(request: ReportRequest, of_rules: Sequence[RuleReport], doubts: str | None) -> str:
    if not of_rules:
        return "No statement: no rule was in force."
    broken = sum(rule.counts.broken for rule in of_rules)
    undetermined = sum(rule.counts.undetermined for rule in of_rules)
    period = duration(request.to_ms - request.from_ms)
    left = f", {amount(undetermined, 'verdict')} undetermined" if undetermined else ""
    partial = _partial(request, of_rules)
    if doubts is None and partial:
        named = ", ".join(partial[:3]) + (f" and {len(partial) - 3} more" if partial[3:] else "")
        doubts = f"not every rule judged all of it ({named})"
    if doubts is None:
        return f"{amount(broken, 'violation')} over {period}{left}. All of the period was judged."
    return f"No statement on the whole period: {doubts}. In what was judged: {broken:,} broken{left}."
