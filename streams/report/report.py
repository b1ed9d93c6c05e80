"""`report(asked, gathered, history, evidence)`: what may be said of a period.

In: sums of the period, and the rules. Out: a `Report`. Pure. What must hold: nothing is said of the whole period unless
all of it was judged, nothing of its input was lost, and every file of the evidence could be read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from dsl import Rule
from dsl.ruleset import Mode
from streams.report import coverage
from streams.report.coverage import SourceSum
from streams.report.gather import DAY_MS, Counts, Gathered
from streams.report.history import History
from streams.report.model import (
    Bar,
    BrokenTrace,
    ControlReport,
    DayCounts,
    Evidence,
    ExceptionInForce,
    Input,
    Judged,
    Report,
    RuleReport,
    SourceInput,
)
from streams.report.words import amount, duration, span
from topics.digest import Digest
from topics.ocsf import split_control

MOST_TRACES = 100
"""Broken traces of a rule that are shown; all are counted."""

_HELD = frozenset({"held", "not_applicable"})


@dataclass(frozen=True, slots=True)
class Asked:
    """What a report is to be about; `verify` is the command that verifies its evidence."""

    from_ms: int
    to_ms: int
    control: str | None
    made_ms: int
    verify: str


def report(asked: Asked, gathered: Gathered, history: History, evidence: Evidence) -> Report:
    """The report."""
    judged, taken = _judged(asked, gathered), _input(gathered)
    doubts = _doubts(judged, taken, evidence)
    rules = [*_rules(asked, gathered, history, judged, doubts)]
    return Report(
        made_ms=asked.made_ms,
        from_ms=asked.from_ms,
        to_ms=asked.to_ms,
        period=duration(asked.to_ms - asked.from_ms),
        control=asked.control,
        statement=_overall(asked, rules, doubts),
        is_whole=doubts is None,
        evidence=evidence,
        judged=judged,
        input=taken,
        controls=[*_controls(asked, rules)],
        rules=rules,
        rule_sets=[active for active in history.activations if active.from_ms < asked.to_ms],
        verify=asked.verify,
    )


def _judged(asked: Asked, gathered: Gathered) -> Judged:
    found = coverage.gaps(gathered.partitions, gathered.expected, asked.from_ms, asked.to_ms)
    first, end = asked.from_ms // coverage.HOUR_MS, -(-asked.to_ms // coverage.HOUR_MS)
    return Judged(
        period_ms=asked.to_ms - asked.from_ms,
        judged_ms=coverage.judged_ms(found, asked.from_ms, asked.to_ms),
        hours=end - first,
        hours_with_gaps=coverage.hours_not_judged(found),
        gaps=found,
    )


def _input(gathered: Gathered) -> Input:
    """Every facts partition is told of the same source records: what one of them says is not added to another's."""
    sources: dict[tuple[str, int, int], list[SourceSum]] = defaultdict(list)
    for partition in gathered.partitions.values():
        for key, source in partition.sources.items():
            sources[key].append(source)
    inputs = [_source(key, sums) for key, sums in sorted(sources.items())]
    known = [source.dead_letters for source in inputs if source.dead_letters is not None]
    return Input(
        traces_seen_estimate=sum(each.traces_seen_estimate for each in gathered.partitions.values()),
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


def _doubts(judged: Judged, taken: Input, evidence: Evidence) -> str | None:
    """Why nothing can be said of the whole period, as a sentence; None when it can."""
    reasons = []
    if judged.gaps:
        lacking = duration(judged.period_ms - judged.judged_ms)
        reasons.append(f"{lacking} of {duration(judged.period_ms)} was not judged ({_named(judged)})")
    if taken.lost:
        reasons.append(f"{amount(taken.lost, 'source record')} lost before they could be read")
    if taken.undecodable:
        reasons.append(f"{amount(taken.undecodable, 'source record')} could not be read and became dead letters")
    elif taken.undecodable is None and taken.sources:
        reasons.append("how many source records could not be read is not known")
    if taken.verdict_records_lost:
        reasons.append(f"{amount(taken.verdict_records_lost, 'verdict record')} lost before they were sealed")
    if evidence.unreadable:
        reasons.append(f"{amount(len(evidence.unreadable), 'file')} of the evidence could not be read")
    return "; ".join(reasons) or None


def _named(judged: Judged) -> str:
    named = ", ".join(span(gap.from_ms, gap.to_ms) for gap in judged.gaps[:3])
    return named if len(judged.gaps) <= 3 else f"{named} and {len(judged.gaps) - 3} more gaps"  # noqa: PLR2004


def _overall(asked: Asked, rules: Iterable[RuleReport], doubts: str | None) -> str:
    broken = sum(rule.counts.broken for rule in rules)
    undetermined = sum(rule.counts.undetermined for rule in rules)
    period = duration(asked.to_ms - asked.from_ms)
    left = f", {amount(undetermined, 'verdict')} undetermined" if undetermined else ""
    if doubts is None:
        return f"{amount(broken, 'violation')} over {period}{left}. All of the period was judged."
    return f"No statement on the whole period: {doubts}. In what was judged: {broken:,} broken{left}."


def _rules(
    asked: Asked, gathered: Gathered, history: History, judged: Judged, doubts: str | None
) -> Iterable[RuleReport]:
    known = history.latest(asked.to_ms)
    signals: dict[str, list[Digest]] = defaultdict(list)
    for signal in gathered.signals.values():
        if signal.verdict not in _HELD:
            signals[signal.rule_id].append(signal)
    shares = _shares(asked, judged)
    for rule_id in sorted({*known, *(rule for rule, _ in gathered.counts), *signals}):
        rule = known.get(rule_id)
        if asked.control is not None and not _is_of(rule, asked.control):
            continue
        if rule is not None and not rule.enabled and not any(key[0] == rule_id for key in gathered.counts):
            continue
        yield _rule(asked, gathered, history, rule_id, rule, signals[rule_id], shares, doubts)


def _rule(
    asked: Asked,
    gathered: Gathered,
    history: History,
    rule_id: str,
    rule: Rule | None,
    signals: list[Digest],
    shares: dict[int, float],
    doubts: str | None,
) -> RuleReport:
    total, days, fingerprints = Counts(), defaultdict[int, Counts](Counts), []
    for (counted_id, fingerprint), by_day in gathered.counts.items():
        if counted_id == rule_id:
            fingerprints.append(fingerprint)
            for day, counts in by_day.items():
                days[day].add(counts)
                total.add(counts)
    signals.sort(key=lambda signal: (-signal.time_ms, signal.uid))
    return RuleReport(
        id=rule_id,
        title=rule.title if rule else signals[0].title if signals else rule_id,
        severity=rule.severity.value if rule else signals[0].severity if signals else None,
        owner=rule.owner if rule else None,
        controls=[*rule.controls] if rule else [],
        text=rule.text if rule else None,
        fingerprints=sorted(fingerprints),
        is_shadow=rule is not None and rule.mode is Mode.SHADOW,
        counts=total,
        applicable=total.applicable,
        coverage=_ratio(total),
        statement=_statement(asked, total, doubts),
        is_proven=doubts is None and total.held == total.applicable > 0,
        days=[
            DayCounts(
                day_ms=day * DAY_MS,
                held=days[day].held,
                broken=days[day].broken,
                undetermined=days[day].undetermined,
                judged=share,
            )
            for day, share in shares.items()
        ],
        versions=history.versions(rule_id),
        exceptions=[*_exceptions(rule, asked.to_ms)],
        signals=len(signals),
        broken_traces=[_broken(signal) for signal in signals[:MOST_TRACES]],
    )


def _statement(asked: Asked, total: Counts, doubts: str | None) -> str:
    period = duration(asked.to_ms - asked.from_ms)
    held = f"{total.held:,} of {amount(total.applicable, 'trace')} held"
    if doubts is not None:
        said = f"In what was judged: {total.broken:,} broken, {held}." if total.applicable else ""
        return f"No statement on all {period}, see what was not judged. {said}".strip()
    if not total.applicable:
        return f"Over {period} the rule applied to no trace."
    left = f", {total.undetermined:,} undetermined" if total.undetermined else ""
    return f"{amount(total.broken, 'violation')} over {period}: {held}{left}."


def _ratio(total: Counts) -> float | None:
    return total.held / total.applicable if total.applicable > 0 else None


def _controls(asked: Asked, rules: Sequence[RuleReport]) -> Iterable[ControlReport]:
    found: dict[tuple[bool, str], list[RuleReport]] = defaultdict(list)
    for rule in rules:
        names = [_control(control) for control in rule.controls]
        if asked.control is not None:
            names = [name for name in names if name == _control(asked.control)]
        for name in names:
            found[False, name].append(rule)
        if not names:
            found[True, ""].append(rule)
    for (is_none, name), of_control in sorted(found.items(), key=lambda item: item[0]):
        total = Counts()
        for rule in of_control:
            total.add(rule.counts)
        yield ControlReport(
            control=None if is_none else name,
            rules=[rule.id for rule in of_control],
            counts=total,
            applicable=total.applicable,
            coverage=_ratio(total),
            # A rule that applied to nothing proves nothing, and takes nothing away.
            is_proven=any(rule.is_proven for rule in of_control)
            and all(rule.is_proven or not rule.applicable for rule in of_control),
        )


def _control(control: str) -> str:
    standard, name = split_control(control)
    return f"{standard}/{name}" if standard else name


def _is_of(rule: Rule | None, control: str) -> bool:
    return rule is not None and _control(control) in {_control(one) for one in rule.controls}


def _shares(asked: Asked, judged: Judged) -> dict[int, float]:
    """The part of each day, within the period, that was judged."""
    shares = {}
    gaps, first = judged.gaps, 0
    for day in range(asked.from_ms // DAY_MS, -(-asked.to_ms // DAY_MS)):
        begin_ms, end_ms = max(day * DAY_MS, asked.from_ms), min((day + 1) * DAY_MS, asked.to_ms)
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


def _broken(signal: Digest) -> BrokenTrace:
    return BrokenTrace(
        uid=signal.uid,
        revision=signal.revision,
        time_ms=signal.time_ms,
        trace_id=signal.trace_id,
        verdict=signal.verdict,
        severity=signal.severity,
        message=signal.message,
        missing=[*signal.missing],
        present=[*signal.present],
        witnesses=[
            Bar(
                subject=shown.subject,
                name=shown.name,
                service=shown.service,
                start_ns=shown.start_ns,
                duration_ns=shown.duration_ns,
                attributes={name: str(value) for name, value in sorted(shown.attributes.items())},
            )
            for shown in signal.witnesses
        ],
    )
