"""Prints what `betrace replay` found: signals, counts, changes, or who broke rules; as JSON lines or as a table."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Protocol

import click
import msgspec
from confluent_kafka.admin import AdminClient

from dsl import RuleSet
from streams.cli.table import table
from streams.config.settings import Settings, moment_ms
from streams.config.units import iso_ms
from streams.replay import compare, summary, who
from streams.replay.outcome import NOBODY, OutputOptions, Signal
from streams.replay.plan import Period
from streams.replay.run import Result
from topics.times import rfc3339_clamped

BARS = " ▁▂▃▄▅▆▇█"
BAR_CELLS = 24


class View(Protocol):
    """Receives signals and prints them."""

    output: OutputOptions

    def take(self, signals: Sequence[Signal]) -> None:
        """Receive the next signals."""

    def end(self, result: Result) -> None:
        """Finish: there are no more signals."""


class Lines:
    """Prints every signal as it would be published, one line each, with the mode of rules in shadow."""

    output = OutputOptions()

    def take(self, signals: Sequence[Signal]) -> None:
        """Print the signals."""
        lines = [
            _in_shadow(signal.record.value) if signal.is_shadow else signal.record.value
            for signal in signals
            if signal.record is not None
        ]
        if lines:
            click.echo(b"\n".join(lines))

    def end(self, _: Result) -> None:
        """Do nothing: every signal is already printed."""


def _in_shadow(value: bytes) -> bytes:
    r"""Return a signal with its rule's mode: as JSON beside the verdict, as CEF at the end.

    >>> _in_shadow(b'{"betrace":{"verdict":"broken"}}'), _in_shadow(b"CEF:0|x")
    (b'{"betrace":{"verdict":"broken","mode":"shadow"}}', b'CEF:0|x mode=shadow')
    """
    if value.startswith(b"CEF:"):
        return value + b" mode=shadow"
    signal: dict[str, Any] = msgspec.json.decode(value)
    signal.get("unmapped", signal)["betrace"]["mode"] = "shadow"
    return msgspec.json.encode(signal)


class Rows:
    """Prints a row per signal."""

    output = OutputOptions(record=False, message=True)
    _head = ("WHEN", "JUDGED AT", "SEVERITY", "RULE", "VERDICT", "TRACE", "WHAT HAPPENED")

    def __init__(self) -> None:
        self._rows: list[Sequence[str]] = []

    def take(self, signals: Sequence[Signal]) -> None:
        """Keep the rows."""
        for signal in signals:
            verdict = signal.verdict if signal.revision == 1 else f"{signal.verdict} (revision {signal.revision})"
            when, judged = rfc3339_clamped(signal.happened_ms), iso_ms(signal.closed_ms)
            verdict += ", shadow" if signal.is_shadow else ""
            row = (signal.severity, signal.rule, verdict, signal.trace_id.hex(), signal.message or "")
            self._rows.append((when, judged, *row))

    def end(self, _: Result) -> None:
        """Print the table."""
        _echo(table(self._head, self._rows))


class Summary:
    """Prints the counts of each rule."""

    output = OutputOptions(record=False, signals=False)
    _head = ("RULE", "CHAINS", "APPLICABLE", "HELD", "BROKEN", "UNDETERMINED", "PASS RATE", "FIRST", "LAST")

    def __init__(self, rules: RuleSet, *, is_table: bool) -> None:
        self._rules = rules
        self._is_table = is_table

    def take(self, signals: Sequence[Signal]) -> None:
        """Do nothing: the engine counts."""

    def end(self, result: Result) -> None:
        """Print a line or a row per rule and, below a table, a summary in words."""
        found = summary.of_rules(self._rules, result.tallies, result.chains, result.plan.period, result.read)
        if not self._is_table:
            _echo(map(_json, found))
            return
        _echo(table(self._head, map(_cells, found)))
        _echo(["", *(each.statement for each in found)])


class Compare:
    """Prints what was added, dropped and kept."""

    output = OutputOptions(record=False)
    _head = ("WHEN", "JUDGED AT", "CHANGE", "RULE", "TRACE", "PUBLISHED", "REPLAYED")

    def __init__(
        self, client: AdminClient, settings: Settings, period: Period, only: Collection[str] | None, *, is_table: bool
    ) -> None:
        self._published = list(compare.published(client, settings, period, only))
        self._replayed: list[compare.Finding] = []
        self._is_table = is_table

    def take(self, signals: Sequence[Signal]) -> None:
        """Keep what is compared."""
        self._replayed += [compare.of_replay(signal) for signal in signals if not signal.is_shadow]

    def end(self, result: Result) -> None:
        """Print the changes; a trace that was not judged is not compared."""
        half_seen = {trace_id.hex() for trace_id in result.half_seen}
        of_whole = (
            [each for each in side if each.trace_id not in half_seen] for side in (self._replayed, self._published)
        )
        found = compare.changes(*of_whole)
        _echo(table(self._head, map(_change_cells, found)) if self._is_table else map(_json, found))
        counts = {kind: sum(each.change == kind.value for each in found) for kind in compare.Kind}
        click.echo(", ".join(f"{count:,} {kind.value}" for kind, count in counts.items()), err=True)


class Who:
    """Groups broken traces by an attribute."""

    def __init__(self, attribute: str, *, is_table: bool) -> None:
        self.output = OutputOptions(record=False, message=True, who=attribute)
        self._attribute = attribute
        self._is_table = is_table
        self._signals: list[Signal] = []

    def take(self, signals: Sequence[Signal]) -> None:
        """Keep the traces."""
        self._signals += signals

    def end(self, result: Result) -> None:
        """Print the groups."""
        found = who.groups(self._signals)
        if not self._is_table:
            _echo(map(_json, found))
            return
        period = _shown(found, result.plan.period)
        head = (self._attribute.upper(), "BROKEN", "TRACES", "FIRST", "LAST", "WHEN", "RULES")
        _echo(table(head, [_group_cells(group, period) for group in found]))
        for group in found:
            _echo(["", f"{self._attribute} {group.who or NOBODY}"])
            moments = [(at.time, at.judged_at, at.rule, at.trace_id, at.message) for at in group.timeline]
            _echo(table(("WHEN", "JUDGED AT", "RULE", "TRACE", "WHAT HAPPENED"), moments))


def _change_cells(each: compare.Change) -> Sequence[str]:
    what = (each.change, each.rule, each.trace_id, each.published or "", each.replayed or "")
    return each.time, each.judged_at, *what


def bars(times_ms: Iterable[int], period: Period) -> str:
    """Return bars for how many times fall into each of equal parts of a period; others count in the nearest part.

    >>> bars([0, 0, 1, 23], Period(0, 24))
    '█▄                     ▄'
    """
    counts = [0] * BAR_CELLS
    length_ms = max(1, period.to_ms - period.from_ms)
    for time_ms in times_ms:
        counts[min(BAR_CELLS - 1, max(0, (time_ms - period.from_ms) * BAR_CELLS // length_ms))] += 1
    most = max(1, *counts)
    return "".join(BARS[-(-count * (len(BARS) - 1) // most)] for count in counts)


def _shown(groups: Iterable[who.Group], period: Period) -> Period:
    """Return the period that bars show: if it has no start, from the first time on."""
    if period.from_ms:
        return period
    return Period(min((_ms(group.first) for group in groups), default=0), period.to_ms)


def _group_cells(group: who.Group, period: Period) -> Sequence[str]:
    when = bars((_ms(at.time) for at in group.timeline), period)
    rules = ", ".join(f"{rule} {count}" for rule, count in group.rules.items())
    return group.who or NOBODY, str(group.broken), str(group.traces), group.first, group.last, when, rules


def _cells(each: summary.RuleSummary) -> Sequence[str]:
    counts = (each.chains, each.applicable, each.held, each.broken, each.undetermined)
    pass_rate = "" if each.pass_rate is None else f"{each.pass_rate:.2%}"
    return each.rule, *(f"{count:,}" for count in counts), pass_rate, each.first or "", each.last or ""


def _ms(time: str) -> int:
    return moment_ms(time, 0)


def _json(line: msgspec.Struct) -> str:
    return msgspec.json.encode(line).decode()


def _echo(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(line)
