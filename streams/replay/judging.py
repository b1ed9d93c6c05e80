"""What the rules say of a share of the traces.

In: facts messages, in the order of their numbers. Out: signals, and tallies per rule. Windows and verdicts are those of
`streams.window` and `streams.deliver`; only chains that began in the time that is asked for are judged. What is too
much for memory is put on disk, as sessions does it, and is gone with the replay.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from dsl import RuleSet
from streams.deliver import Outcome, outcomes
from streams.replay.plan import Plan
from streams.replay.tally import Tally
from streams.ruleset import RuleSets
from streams.sessions.takeover import bounds
from streams.settings import Settings
from streams.window.chains import Chains
from streams.window.close import Close, CloseReason
from streams.window.partition import Partition
from streams.window.session import Sessions
from streams.window.store import FORMAT, Identity, Position, Store
from streams.window.waiting import Waiting
from topics import signals
from topics.facts import Facts
from topics.finding import Finding
from topics.sentence import sentence

CHANGED_CHAINS = 50_000
MEMORY_BYTES = 1 << 30
NOBODY = "(none)"


class Signal(NamedTuple):
    """A signal, and of what is shown of it that which is wanted, else None.

    `is_last` says that its window was closed by the end of the input. `record` is what live would publish, `who` the
    value of the attribute by which traces are grouped.
    """

    is_last: bool
    closed_ms: int
    uid: str
    revision: int
    rule: str
    trace_id: bytes
    verdict: str
    severity: str
    chain_first_ms: int
    message: str | None
    who: str | None
    record: signals.Record | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is wanted of a signal: its record, its sentence, and an attribute by which traces are grouped."""

    record: bool = True
    message: bool = False
    who: str | None = None

    @property
    def shows(self) -> bool:
        """Something of what was seen is wanted, not only verdicts."""
        return self.record or self.message or self.who is not None


RECORDS = Wanted()


@dataclass(frozen=True, slots=True)
class Counts:
    """What was counted: how many chains were judged, and a tally per rule id."""

    chains: int
    tallies: dict[str, Tally]


class Judging:
    """Windows and verdicts of a share; `directory` is for what memory does not hold."""

    def __init__(self, settings: Settings, rules: RuleSet, plan: Plan, directory: Path, wanted: Wanted) -> None:
        self._rules = rules
        self._period = plan.period
        self._wanted = wanted
        self._settings = settings
        self._reach_ms = settings.gap_ms + settings.lateness_ms
        self._judged_by = frozenset(rule.fingerprint for rule in rules.rules if rule.enabled)
        self._store = Store(directory / "windows", Identity(FORMAT, "", "", ""))
        self.partition = _partition(settings, rules, plan, self._store)
        self._chains = 0
        self._tallies = {rule.id: Tally() for rule in rules.rules if rule.enabled}

    @property
    def clock_ms(self) -> int | None:
        """The time up to which everything is judged."""
        return self.partition.clock.now_ms

    def apply(self, message: Facts) -> list[Signal]:
        """Takes in the next facts message; returns the signals of what closes by it."""
        partition = self.partition
        said = list(self._judge(partition.apply(partition.next_offset, message)))
        if len(partition.sessions.chains.changed) >= CHANGED_CHAINS:
            self._store.write(partition.sessions.chains, partition.position())
            partition.sessions.chains.cool(MEMORY_BYTES // 2)
        partition.sessions.waiting.shrink(MEMORY_BYTES // 4)
        return said

    def end(self) -> list[Signal]:
        """There is no more input: every window closes."""
        with closing(self._store):
            return list(self._judge(self.partition.sessions.end()))

    def counts(self) -> Counts:
        """What was counted."""
        return Counts(self._chains, self._tallies)

    def _judge(self, closes: Iterable[Close]) -> Iterator[Signal]:
        for close in closes:
            if self._period.holds(close.chain_first_ms):
                self._chains += close.window.first == close.chain.first
                for outcome in outcomes(close, self._rules, self._judged_by, reach_ms=self._reach_ms):
                    self._tallies[outcome.rule.id].take(outcome, close.chain_first_ms)
                    if outcome.finding is not None:
                        yield self._signal(close, outcome, outcome.finding)

    def _signal(self, close: Close, outcome: Outcome, finding: Finding) -> Signal:
        wanted = self._wanted
        return Signal(
            close.reason is CloseReason.END_OF_INPUT,
            close.closed_ms,
            finding.uid,
            finding.revision,
            outcome.rule.id,
            finding.trace_id,
            finding.verdict,
            outcome.rule.severity.value,
            close.chain_first_ms,
            sentence(finding) if wanted.message else None,
            None if wanted.who is None else _who(finding, wanted.who),
            self._record(finding) if wanted.record else None,
        )

    def _record(self, finding: Finding) -> signals.Record:
        settings, logged_ms = self._settings, time.time_ns() // 1_000_000
        source = settings.group("replay")
        return signals.record(finding, logged_ms=logged_ms, source=source, format=settings.signal_format)


def _who(finding: Finding, attribute: str) -> str:
    return next((text for shown in finding.witnesses if (text := shown.text(attribute)) is not None), NOBODY)


def _partition(settings: Settings, rules: RuleSet, plan: Plan, store: Store) -> Partition:
    known = RuleSets()
    known.add(rules)
    sessions = Sessions(bounds(settings), known.counted(), Chains(store.chain), Waiting(store))
    partition = Partition(
        tuple({each.topic for each in plan.inputs}),
        sessions,
        known.rule_fingerprints,
        out_of_order_ms=settings.out_of_order_ms,
        position=Position.beginning(0),
    )
    sessions.lost = list(plan.lost)
    return partition
