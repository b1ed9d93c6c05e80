"""Builds the statements about each rule in a period, and about each control that rules name.

In: sums of the period, the rules and their history, and why there is no statement about the whole period, if so. Out:
`RuleReport`s and `ControlReport`s. Pure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

from msgspec.structs import replace

from dsl import Rule
from dsl.judge.ruleset import Mode
from streams.evidence.report import coverage, silence
from streams.evidence.report.coverage import Gap, PartitionCoverage, missing
from streams.evidence.report.gathered import DAY_MS, Counts, Gathered
from streams.evidence.report.history import History, Version, control_key, control_name
from streams.evidence.report.model import (
    BackfillReport,
    ControlReport,
    DayCounts,
    ExceptionInForce,
    ReportRequest,
    RuleReport,
    Silence,
    Span,
)
from streams.evidence.report.model import RuleJudged as Judged
from streams.evidence.report.readings import Resolved, RuleJudged
from streams.evidence.report.traces import broken
from streams.pages.words import amount, duration, span
from topics.signals.digest import Digest

MOST_TRACES = 100
"""The most broken traces of a rule that are shown; all are counted."""

_HELD = frozenset({"held", "not_applicable"})


def reports(
    request: ReportRequest,
    gathered: Gathered,
    resolved: Resolved,
    history: History,
    doubts: str | None,
    *,
    has_all_input: bool,
) -> Iterable[RuleReport]:
    """Yield each rule that was in force or judged in the period, and that names the requested control.

    `doubts` is why there is no statement about the whole period, None if there is. `has_all_input`: no input of what
    was judged is missing.
    """
    known = history.latest(request.to_ms)
    signals: dict[str, list[Digest]] = defaultdict(list)
    for signal in gathered.signals.values():
        if signal.verdict not in _HELD:
            signals[signal.rule_id].append(signal)
    sums = _sums(request, gathered, resolved)
    for rule_id in sorted({*known, *sums, *signals}):
        rule, versions = known.get(rule_id), history.versions(rule_id)
        if request.control is not None and not _is_of(rule, request.control):
            continue
        is_in_force = any(_overlaps(one, request) for one in versions) or not history.activations
        own = sums.get(rule_id) or _Sum(gaps=_none(request, gathered))
        if is_in_force or own.fingerprints or signals[rule_id]:
            made = _rule(request, own, versions, rule_id, rule, signals[rule_id], doubts, has_all_input=has_all_input)
            yield replace(made, backfills=[*_backfills(request, gathered, own)])


@dataclass(slots=True, kw_only=True)
class _Sum:
    """What one rule judged, all its versions together; `gaps` are the times of the period that it did not judge."""

    gaps: list[Gap]
    fingerprints: list[str] = field(default_factory=list)
    modes: set[str] = field(default_factory=set)
    days: defaultdict[int, Counts] = field(default_factory=lambda: defaultdict(Counts))
    before: defaultdict[int, Counts] = field(default_factory=lambda: defaultdict(Counts))
    read_twice: int = 0
    backfilled: defaultdict[str, defaultdict[int, PartitionCoverage]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(PartitionCoverage))
    )


def _sums(request: ReportRequest, gathered: Gathered, resolved: Resolved) -> dict[str, _Sum]:
    """Return the sums by rule id, without rules that did nothing in the period."""
    by_id: defaultdict[str, dict[str, RuleJudged]] = defaultdict(dict)
    for (rule_id, fingerprint), judged in resolved.rules.items():
        by_id[rule_id][fingerprint] = judged
    return {rule_id: _sum(request, gathered, versions) for rule_id, versions in by_id.items()}


def _sum(request: ReportRequest, gathered: Gathered, versions: Mapping[str, RuleJudged]) -> _Sum:
    partitions: defaultdict[int, PartitionCoverage] = defaultdict(PartitionCoverage)
    for judged in versions.values():
        for partition, times in judged.times.items():
            partitions[partition].judged += times
    total = _Sum(gaps=coverage.gaps(partitions, gathered.expected, request.from_ms, request.to_ms))
    for fingerprint, judged in sorted(versions.items()):
        if judged.days or any(_is_in(time, request) for times in judged.times.values() for time in times):
            total.fingerprints.append(fingerprint)
            total.modes |= judged.modes
        for day, counts in judged.days.items():
            total.days[day].add(counts)
        for day, counts in judged.before.items():
            total.before[day].add(counts)
        for origin, by_partition in judged.backfilled.items():
            for partition, times in by_partition.items():
                total.backfilled[origin][partition].judged += times
        total.read_twice += sum(request.from_ms <= at < request.to_ms for at in judged.read_twice)
    return total


def _is_in(time: tuple[int, int], request: ReportRequest) -> bool:
    return time[0] < request.to_ms and time[1] > request.from_ms


def _none(request: ReportRequest, gathered: Gathered) -> list[Gap]:
    return coverage.gaps({}, gathered.expected, request.from_ms, request.to_ms)


def _overlaps(version: Version, request: ReportRequest) -> bool:
    return version.from_ms < request.to_ms and (version.to_ms is None or version.to_ms > request.from_ms)


def _rule(
    request: ReportRequest,
    own: _Sum,
    versions: list[Version],
    rule_id: str,
    rule: Rule | None,
    signals: list[Digest],
    doubts: str | None,
    *,
    has_all_input: bool,
) -> RuleReport:
    total = Counts()
    for counts in own.days.values():
        total.add(counts)
    judged = _judged(request, own)
    is_whole = doubts is None and judged.judged_ms == request.to_ms - request.from_ms
    signals.sort(key=lambda signal: (-signal.time_ms, signal.uid))
    return RuleReport(
        id=rule_id,
        title=rule.title if rule else signals[0].title if signals else rule_id,
        severity=rule.severity.value if rule else signals[0].severity if signals else None,
        owner=rule.owner if rule else None,
        controls=[*rule.controls] if rule else [],
        text=rule.text if rule else None,
        fingerprints=own.fingerprints,
        is_shadow=rule is not None and rule.mode is Mode.SHADOW,
        counts=total,
        applicable=total.applicable,
        judged=judged,
        pass_rate=_ratio(total),
        silence=_silence(request, own),
        statement=_statement(request, total, judged, doubts, has_all_input=has_all_input),
        is_proven=is_whole and total.held == total.applicable > 0,
        is_whole=is_whole,
        days=[
            DayCounts(
                day_ms=day * DAY_MS,
                held=own.days[day].held,
                broken=own.days[day].broken,
                undetermined=own.days[day].undetermined,
                judged=share,
            )
            for day, share in _shares(request, own.gaps).items()
        ],
        versions=versions,
        exceptions=[*_exceptions(rule, request.to_ms)],
        signals=len(signals),
        broken_traces=[broken(signal) for signal in signals[:MOST_TRACES]],
    )


def _judged(request: ReportRequest, own: _Sum) -> Judged:
    times = missing([(gap.from_ms, gap.to_ms) for gap in own.gaps], request.from_ms, request.to_ms)
    judged_ms = sum(end - begin for begin, end in times)
    return Judged(
        judged_ms=judged_ms,
        coverage=judged_ms / (request.to_ms - request.from_ms),
        times=[Span(begin, end) for begin, end in times],
        read_twice=own.read_twice,
    )


def _backfills(request: ReportRequest, gathered: Gathered, own: _Sum) -> Iterable[BackfillReport]:
    """Yield what backfills judged of the period in every facts partition."""
    for origin, partitions in sorted(own.backfilled.items()):
        backfill = gathered.backfills[origin]
        gaps = coverage.gaps(partitions, gathered.expected, request.from_ms, request.to_ms)
        times = missing([(gap.from_ms, gap.to_ms) for gap in gaps], request.from_ms, request.to_ms)
        yield BackfillReport(
            origin=origin,
            by=backfill.by,
            made_ms=backfill.made_ms,
            times=[Span(begin, end) for begin, end in times],
            undecodable=backfill.unreadable_count,
            half_seen=backfill.half_seen,
            unfinished=backfill.unfinished,
        )


def _silence(request: ReportRequest, own: _Sum) -> Silence | None:
    """Return the silence of a rule that has no trace in the last two days but had some in the fortnight before."""
    counted: defaultdict[int, int] = defaultdict(int)
    for days in (own.before, own.days):
        for day, counts in days.items():
            counted[day] += counts.applicable
    recent = silence.exercised([day for day, applicable in counted.items() if applicable > 0], request.to_ms)
    if not recent:
        return None
    return Silence(since_ms=(recent[-1] + 1) * DAY_MS, applicable_before=sum(counted[day] for day in recent))


def _statement(
    request: ReportRequest, total: Counts, judged: Judged, doubts: str | None, *, has_all_input: bool
) -> str:
    period = duration(request.to_ms - request.from_ms)
    held = f"{total.held:,} of {amount(total.applicable, 'trace')} held"
    left = f", {total.undetermined:,} undetermined" if total.undetermined else ""
    result = f"{total.broken:,} broken, {held}{left}."
    if not judged.judged_ms:
        outside = f" Verdicts outside the times that it judged: {result}" if total.applicable else ""
        return f"No statement: the rule judged nothing of {period} completely.{outside}"
    if judged.judged_ms < request.to_ms - request.from_ms:
        named = _named(judged.times)
        if total.applicable:
            result = f"In what was judged: {result}"
        elif has_all_input:
            result = "In that time it applied to no trace."
        else:
            result = "It applied to none of the traces that were read in that time, and some records were not read."
        return f"No statement on all {period}: the rule judged {duration(judged.judged_ms)} of it ({named}). {result}"
    if doubts is not None:
        result = f"In what was judged: {result}" if total.applicable else ""
        return f"No statement on all {period}, see what was not judged. {result}".strip()
    if not total.applicable:
        return f"Over {period} the rule applied to no trace."
    return f"{amount(total.broken, 'violation')} over {period}: {held}{left}."


def _named(times: Sequence[Span]) -> str:
    named = ", ".join(span(time.from_ms, time.to_ms) for time in times[:3])
    return named if len(times) <= 3 else f"{named} and {len(times) - 3} more"  # noqa: PLR2004


def _ratio(total: Counts) -> float | None:
    return total.held / total.applicable if total.applicable > 0 else None


def _is_of(rule: Rule | None, control: str) -> bool:
    return rule is not None and control_key(control) in {control_key(one) for one in rule.controls}


def _shares(request: ReportRequest, gaps: Sequence[Gap]) -> dict[int, float]:
    """Return the share of each day, within the period, that was judged."""
    shares = {}
    first = 0
    for day in range(request.from_ms // DAY_MS, -(-request.to_ms // DAY_MS)):
        begin_ms, end_ms = max(day * DAY_MS, request.from_ms), min((day + 1) * DAY_MS, request.to_ms)
        while first < len(gaps) and gaps[first].to_ms <= begin_ms:
            first += 1
        lacking_ms = 0
        for gap in gaps[first:]:
            if gap.from_ms >= end_ms:
                break
            lacking_ms += min(gap.to_ms, end_ms) - max(gap.from_ms, begin_ms)
        shares[day] = 1 - lacking_ms / (end_ms - begin_ms)
    return shares


def _exceptions(rule: Rule | None, to_ms: int) -> Iterable[ExceptionInForce]:
    today: date = datetime.fromtimestamp(to_ms // 1000, UTC).date()
    for each in rule.exceptions if rule else ():
        yield ExceptionInForce(
            where=each.where,
            owner=each.owner,
            reason=each.reason,
            expires=each.expires.isoformat() if each.expires else None,
            has_expired=each.expires is not None and each.expires < today,
        )


def controls(request: ReportRequest, rules: Sequence[RuleReport]) -> Iterable[ControlReport]:
    """Yield the rules by the controls that they name, and last those that name none."""
    by_control: dict[tuple[bool, str], list[RuleReport]] = defaultdict(list)
    names: dict[str, str] = {}
    for rule in rules:
        keys = []
        for control in rule.controls:
            key = control_key(control)
            if request.control is None or key == control_key(request.control):
                names.setdefault(key, control_name(control))
                keys.append(key)
        for key in dict.fromkeys(keys):
            by_control[False, key].append(rule)
        if not keys:
            by_control[True, ""].append(rule)
    for (is_none, key), of_control in sorted(by_control.items(), key=lambda item: item[0]):
        total = Counts()
        for rule in of_control:
            total.add(rule.counts)
        yield ControlReport(
            control=None if is_none else names[key],
            rules=[rule.id for rule in of_control],
            counts=total,
            applicable=total.applicable,
            pass_rate=_ratio(total),
            # A rule that judged everything and applied to nothing proves nothing, and prevents nothing.
            is_proven=any(rule.is_proven for rule in of_control)
            and all(rule.is_proven or (rule.is_whole and not rule.applicable) for rule in of_control),
        )
