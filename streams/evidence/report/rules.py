"""What may be said of each rule in a period, and of each control that rules name.

In: sums of the period, the rules and their history, and why nothing can be said of the whole period, if that is so.
Out: `RuleReport`s and `ControlReport`s. Pure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime

from dsl import Rule
from dsl.judge.ruleset import Mode
from streams.evidence.report.gather import DAY_MS, Counts, Gathered
from streams.evidence.report.history import History
from streams.evidence.report.model import Asked, ControlReport, DayCounts, ExceptionInForce, Judged, RuleReport
from streams.evidence.report.traces import broken
from streams.evidence.report.words import amount, duration
from topics.signals.digest import Digest
from topics.signals.ocsf import split_control

MOST_TRACES = 100
"""Broken traces of a rule that are shown; all are counted."""

_HELD = frozenset({"held", "not_applicable"})


def reports(
    asked: Asked, gathered: Gathered, history: History, judged: Judged, doubts: str | None
) -> Iterable[RuleReport]:
    """Each rule that was in force or counted in the period, and that is of the control asked for.

    `doubts` is why nothing can be said of the whole period, None when it can.
    """
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
        broken_traces=[broken(signal) for signal in signals[:MOST_TRACES]],
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


def controls(asked: Asked, rules: Sequence[RuleReport]) -> Iterable[ControlReport]:
    """The rules by the controls that they name, and last those that name none."""
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
