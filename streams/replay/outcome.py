"""Evaluates closed windows: signals, and tallies per rule.

In: closed windows. Out: the signals that live processing would have published, and the counts of the rules whose first
fact of the chain is in the requested period, so that what other rules hit does not matter. Traces that were read only
in part are listed, and not judged. Live processing publishes nothing about a rule in shadow; here it has the signals
that it would have if it were live, each marked.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from dsl import Mode, RuleSet
from streams.config.settings import Settings
from streams.replay.plan import Plan
from streams.replay.tally import Tally
from streams.windows.close import Close, CloseReason
from streams.windows.outcomes import Outcome, evaluate_close
from topics.records import signals
from topics.signals.finding import Finding
from topics.signals.sentence import sentence

NOBODY = "(none)"


class Signal(NamedTuple):
    """A signal, with those of its details that were requested, else None.

    `is_last` tells that the end of the input closed its window, `first_ms` is that of `Outcome`. `record` is what live
    would publish, `who` the value of the attribute by which traces are grouped. It happened when the earliest witness
    began, and was judged when its window closed.
    """

    is_last: bool
    closed_ms: int
    uid: str
    revision: int
    rule: str
    trace_id: bytes
    verdict: str
    severity: str
    first_ms: int
    message: str | None
    who: str | None
    record: signals.Record | None
    happened_ms: int = 0
    is_shadow: bool = False


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """The details requested of a signal: its record, its sentence, and an attribute by which traces are grouped.

    Without `signals`, only counts are needed.
    """

    record: bool = True
    message: bool = False
    who: str | None = None
    signals: bool = True

    @classmethod
    def all_of(cls, every: Iterable[OutputOptions]) -> OutputOptions:
        """Return the union of these options; at most one has an attribute."""
        each = list(every)
        who = next((one.who for one in each if one.who is not None), None)
        return cls(any(one.record for one in each), any(one.message for one in each), who, any(o.signals for o in each))

    @property
    def shows(self) -> bool:
        """Whether details of what was matched are requested, not only verdicts."""
        return self.record or self.message or self.who is not None


RECORDS = OutputOptions()


@dataclass(frozen=True, slots=True)
class Counts:
    """The counts: how many chains were judged, and a tally per rule id.

    `half_seen` are the traces of chains that began in the requested period and are not judged.
    """

    chains: int
    tallies: dict[str, Tally]
    half_seen: frozenset[bytes]


class Verdicts:
    """Judges closed windows; `chains`, `tallies` and `half_seen` are the counts so far."""

    def __init__(self, settings: Settings, rules: RuleSet, plan: Plan, output: OutputOptions) -> None:
        self.chains = 0
        self.half_seen: set[bytes] = set()
        self.tallies = {rule.id: Tally() for rule in rules.rules if rule.enabled}
        self._settings = settings
        self._rules = _all_live(rules)
        self._shadow = frozenset(rule.id for rule in rules.rules if rule.mode is Mode.SHADOW)
        self._period = plan.period
        self._output = output
        reach_ms = settings.gap_ms + settings.lateness_ms
        self._reach_ms = reach_ms if output.signals else None
        self._half_seen_until_ms = None if plan.edge_ms is None else plan.edge_ms + reach_ms
        self._judged_by = frozenset(rule.fingerprint for rule in rules.rules if rule.enabled)

    def judge(self, closes: Iterable[Close]) -> Iterator[Signal]:
        """Judge windows, each before requesting the next one, and yield their signals."""
        for close in closes:
            if close.chain_first_ms >= self._period.to_ms:
                continue
            is_half_seen = self._half_seen_until_ms is not None and close.known_from_ms <= self._half_seen_until_ms
            if self._period.holds(close.chain_first_ms):
                if is_half_seen:
                    self.half_seen.add(close.trace_id)
                else:
                    self.chains += close.window.first == close.chain.first
            for outcome in evaluate_close(close, self._rules, self._judged_by, reach_ms=self._reach_ms):
                if not self._period.holds(outcome.first_ms):
                    continue
                if is_half_seen:
                    self.half_seen.add(close.trace_id)
                else:
                    self.tallies[outcome.rule.id].take(outcome)
                    if outcome.finding is not None:
                        yield self._signal(close, outcome, outcome.finding)

    def counts(self) -> Counts:
        """Return the counts."""
        return Counts(self.chains, self.tallies, frozenset(self.half_seen))

    def _signal(self, close: Close, outcome: Outcome, finding: Finding) -> Signal:
        output = self._output
        return Signal(
            close.reason is CloseReason.END_OF_INPUT,
            close.closed_ms,
            finding.uid,
            finding.revision,
            outcome.rule.id,
            finding.trace_id,
            finding.verdict,
            outcome.rule.severity.value,
            outcome.first_ms,
            sentence(finding) if output.message else None,
            None if output.who is None else _who(finding, output.who),
            self._record(finding) if output.record else None,
            finding.happened_ms,
            outcome.rule.id in self._shadow,
        )

    def _record(self, finding: Finding) -> signals.Record:
        settings, logged_ms = self._settings, time.time_ns() // 1_000_000
        source = settings.group("replay")
        return signals.record(finding, logged_ms=logged_ms, source=source, format=settings.signal_format)


def _all_live(rules: RuleSet) -> RuleSet:
    every = [dataclasses.replace(rule, mode=Mode.LIVE) for rule in rules.rules]
    return RuleSet.of(every, rules.atoms.values(), rules.texts)


def _who(finding: Finding, attribute: str) -> str:
    return next((text for shown in finding.witnesses if (text := shown.text(attribute)) is not None), NOBODY)
