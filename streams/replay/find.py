"""Finds traces by an expression of the rule language, which is replayed as a pattern.

In: the text of an expression, and the signals of its replay. Out: the traces for which it is true, with what a person
needs to recognise them.
"""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from dsl import Interest, Problem, RulesError, RuleSet, Span, Verdict, compile_texts
from streams.config.settings import Settings
from streams.decode.convert import SERVICE
from streams.decode.decoder import Decoder
from streams.decode.trace_ids import may_hold
from streams.errors import ConfigError, RecordError
from streams.kafka.unreadable import UnreadableRange
from streams.replay.outcome import OutputOptions, Signal
from streams.replay.period_reader import PeriodReader
from streams.replay.plan import Period
from streams.replay.run import Result
from topics.otlp.requests import RecordKind
from topics.records.facts import TICK_MS
from topics.signals.digest import digest
from topics.times import rfc3339_clamped

NAME = "EXPR"
"""What problems call the expression, as the command's usage does."""

_FILE = "expression.rules"
_HEADER = "// id: expression\n// kind: pattern\n\n"
"""It ends with a blank line, so that comments at the start of an expression are not keys of the header."""
_ONLY_SERVICE = Interest(names=frozenset(), every_span=True, attributes=frozenset({SERVICE}))


class FoundTrace(msgspec.Struct, frozen=True, kw_only=True):
    """A trace for which the expression is true: when it happened, its services, and the name of its root span.

    `root` is None if no root was among the records of its window.
    """

    trace_id: str
    time: str
    services: list[str]
    root: str | None


def rule_of(expression: str) -> tuple[RuleSet, list[Problem]]:
    """Return the rule that has the expression as its pattern, and the warnings about it.

    Raises:
        RulesError: it is not an expression; the locations of its problems are those in the expression.
        ConfigError: it is empty, a whole rule, or several expressions.
    """
    if not expression.strip():
        raise ConfigError(f"{NAME} is empty: give an expression")
    try:
        rules, warnings = compile_texts({_FILE: _HEADER + expression + "\n"})
    except RulesError as error:
        if any(problem.location.line <= _HEADER.count("\n") for problem in error.problems):
            raise ConfigError(f"{NAME} is a whole rule: give one expression, as inside the braces of a rule") from error
        raise RulesError([*map(_in_expression, error.problems)]) from error
    if len(rules.rules) != 1:
        raise ConfigError(f"{NAME} has {len(rules.rules)} expressions: give one")
    return rules, [*map(_in_expression, warnings)]


def _in_expression(problem: Problem) -> Problem:
    line = problem.location.line - _HEADER.count("\n")
    return dataclasses.replace(problem, location=dataclasses.replace(problem.location, path=NAME, line=line))


class _Finding(NamedTuple):
    """A finding: when it happened, on which trace, and the record time of its window."""

    happened_ms: int
    trace_id: bytes
    window: Period


class Matches:
    """Collects the findings on traces for which the expression is true; the first `limit` of these traces are found.

    A later revision of a finding counts instead of an earlier one. `lost` are the ranges that no client could read when
    the records of the traces were read again.
    """

    output = OutputOptions(record=True)

    def __init__(self, limit: int) -> None:
        self.lost: list[UnreadableRange] = []
        self._limit = limit
        self._findings: dict[str, _Finding] = {}

    @property
    def count(self) -> int:
        """The number of traces, also beyond the limit."""
        return len({finding.trace_id for finding in self._findings.values()})

    def take(self, signals: Sequence[Signal]) -> None:
        """Receive the next signals."""
        for signal in signals:
            if signal.verdict == Verdict.BROKEN.value:
                self._findings[signal.uid] = _Finding(signal.happened_ms, signal.trace_id, _window(signal))
            else:
                self._findings.pop(signal.uid, None)

    def end(self, _: Result) -> None:
        """Do nothing: the traces are printed once their records were read again."""

    def found(self, settings: Settings, archive: str | None, now_ms: int) -> Iterator[FoundTrace]:
        """Yield the first traces by the time at which they happened, then by id.

        Their records are read again, for root and services.
        """
        firsts = self._first_traces()
        spans = self._spans(settings, archive, self._windows(firsts.keys()), now_ms)
        for trace_id, happened_ms in firsts.items():
            of_trace = spans[trace_id]
            roots = [span for span in of_trace if not span.is_log and not span.parent_id]
            services = {span.resource.get(SERVICE) for span in of_trace}
            yield FoundTrace(
                trace_id=trace_id.hex(),
                time=rfc3339_clamped(happened_ms),
                services=sorted(each for each in services if isinstance(each, str)),
                root=min(roots, key=lambda span: span.start_ns or 0).name if roots else None,
            )

    def _first_traces(self) -> dict[bytes, int]:
        """Return when each of the first traces happened.

        A trace that continued after a longer pause has several findings.
        """
        times_ms: dict[bytes, int] = {}
        for finding in self._findings.values():
            times_ms[finding.trace_id] = min(finding.happened_ms, times_ms.get(finding.trace_id, finding.happened_ms))
        firsts = heapq.nsmallest(self._limit, ((time_ms, trace_id) for trace_id, time_ms in times_ms.items()))
        return {trace_id: time_ms for time_ms, trace_id in firsts}

    def _windows(self, trace_ids: Collection[bytes]) -> dict[bytes, Period]:
        """Return for each trace the period that its windows make."""
        windows: dict[bytes, Period] = {}
        for _, trace_id, window in self._findings.values():
            if trace_id in trace_ids:
                before = windows.get(trace_id, window)
                from_ms, to_ms = min(before.from_ms, window.from_ms), max(before.to_ms, window.to_ms)
                windows[trace_id] = Period(from_ms, to_ms)
        return windows

    def _spans(
        self, settings: Settings, archive: str | None, windows: Mapping[bytes, Period], now_ms: int
    ) -> Mapping[bytes, list[Span]]:
        """Return the spans of traces in their windows, each with its service and no other attribute."""
        found: dict[bytes, list[Span]] = {trace_id: [] for trace_id in windows}
        decoder = Decoder(_ONLY_SERVICE, settings.format)
        for period, trace_ids in merged(windows):
            reader = PeriodReader(settings, archive, period, now_ms=now_ms)
            for message in reader.messages():
                value = message.value() or b""
                if not any(may_hold(value, trace_id) for trace_id in trace_ids):
                    continue
                kind = RecordKind.LOGS if "log" in (message.topic() or "") else RecordKind.SPANS
                try:
                    decoded = decoder.decode(value, kind)
                except RecordError:  # the replay has counted it
                    continue
                for trace_id in trace_ids & decoded.traces.keys():
                    found[trace_id] += decoded.traces[trace_id].spans
            self.lost += reader.lost
        return found


def _window(signal: Signal) -> Period:
    """Return the record time of the window that a signal is about, up to the end of the tick in which it closed."""
    if signal.record is None:
        raise ValueError("the signal has no record")
    read = digest(signal.record.value)
    first_ms = read.time_ms if read.first_ms is None else read.first_ms
    return Period(min(first_ms, signal.first_ms), signal.closed_ms + TICK_MS)


def merged(windows: Mapping[bytes, Period]) -> Iterable[tuple[Period, set[bytes]]]:
    """Return the periods that overlapping windows make, in order, with the traces of each.

    >>> [(str(period.to_ms), ids) for period, ids in merged({b"c": Period(9, 10), b"a": Period(0, 5)})]
    [('5', {b'a'}), ('10', {b'c'})]
    """
    periods: list[tuple[Period, set[bytes]]] = []
    for trace_id, window in sorted(windows.items(), key=lambda each: each[1].from_ms):
        if periods and window.from_ms <= periods[-1][0].to_ms:
            before, trace_ids = periods.pop()
            to_ms = max(before.to_ms, window.to_ms)
            periods.append((Period(before.from_ms, to_ms), trace_ids | {trace_id}))
        else:
            periods.append((window, {trace_id}))
    return periods
