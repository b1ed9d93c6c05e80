"""Summarises the result of a replay for each rule, in figures and in words.

In: tallies, and what was read. Out: a `RuleSummary` per rule, with a self-contained sentence.
"""

from __future__ import annotations

import msgspec

from dsl import Rule, RuleSet, Verdict
from streams.config.units import iso_ms
from streams.replay.plan import Period
from streams.replay.source_reader import MINUTE_MS, Read
from streams.replay.tally import Tally, silent_ms

_HOUR_MINUTES, _DAY_MINUTES = 60, 1440


class RuleSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One rule over the requested period.

    `chains` are those that began in that period and match an atom of any of the rules: the windows of one trace that
    share facts. A trace that continues after a longer pause is another chain, and is judged again. `first` and `last`
    are when the first and the last chain began that the rule applies to, `pass_rate` is held of applicable.
    """

    rule: str
    title: str
    severity: str
    mode: str
    chains: int
    applicable: int
    held: int
    broken: int
    undetermined: int
    excepted: int
    pass_rate: float | None
    first: str | None
    last: str | None
    statement: str


def of_rules(rules: RuleSet, tallies: dict[str, Tally], chains: int, period: Period, read: Read) -> list[RuleSummary]:
    """Return the summary of each enabled rule, in the order of the rules."""
    silence = _silence(silent_ms(period, read.minutes))
    return [
        _of_rule(rule, tallies.get(rule.id, Tally()), chains, period, silence) for rule in rules.rules if rule.enabled
    ]


def _of_rule(rule: Rule, tally: Tally, chains: int, period: Period, silence: str) -> RuleSummary:
    return RuleSummary(
        rule=rule.id,
        title=rule.title,
        severity=rule.severity.value,
        mode=rule.mode.value,
        chains=chains,
        applicable=tally.applicable,
        held=tally.verdicts[Verdict.HELD.value],
        broken=tally.verdicts[Verdict.BROKEN.value],
        undetermined=tally.verdicts[Verdict.UNDETERMINED.value],
        excepted=tally.excepted,
        pass_rate=None if tally.pass_rate is None else round(tally.pass_rate, 6),
        first=None if tally.first_ms is None else iso_ms(tally.first_ms),
        last=None if tally.last_ms is None else iso_ms(tally.last_ms),
        statement=statement(rule.title, tally, period) + silence,
    )


def statement(title: str, tally: Tally, period: Period) -> str:
    """Return the figures as a sentence.

    >>> tally = Tally()
    >>> tally.verdicts.update({"held": 1210, "broken": 2, "undetermined": 1})
    >>> text = statement("PII access is logged", tally, Period(1767614400000, 1767618000000))
    >>> text.split(" between ")[0], text.split("; ")[1]
    ('2 of 1,213 traces broke "PII access is logged"', '1 of the others is undetermined')
    """
    if not tally.applicable:
        return f'"{title}" applies to no trace between {period}'
    broken, unknown = tally.verdicts[Verdict.BROKEN.value], tally.verdicts[Verdict.UNDETERMINED.value]
    text = f'{broken:,} of {tally.applicable:,} traces broke "{title}" between {period}'
    return text + (f"; {unknown:,} of the others {'is' if unknown == 1 else 'are'} undetermined" if unknown else "")


def duration(time_ms: int) -> str:
    """Return a duration for people, in minutes.

    >>> duration(130 * MINUTE_MS), duration(60 * MINUTE_MS), duration(5 * MINUTE_MS), duration(2 * 1440 * MINUTE_MS)
    ('2 h 10 min', '1 h', '5 min', '2 d')
    """
    days, minutes = divmod(time_ms // MINUTE_MS, _DAY_MINUTES)
    hours, minutes = divmod(minutes, _HOUR_MINUTES)
    parts = [f"{count} {unit}" for count, unit in ((days, "d"), (hours, "h"), (minutes, "min")) if count]
    return " ".join(parts) or "0 min"


def _silence(silent: int) -> str:
    return f"; {duration(silent)} of that time had no input" if silent else ""
