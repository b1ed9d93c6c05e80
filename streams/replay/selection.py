"""Selects what a backfill judges: the chains that live processing left out, of the given rules.

In: closed windows. Out: one plain value for each outcome, to be counted elsewhere, and the traces that have none
because records may be missing before those that are read.

Live judges a chain with a rule if its trace was first read at `live_from_ms` or later (`streams.windows.rule_times`). A
backfill takes exactly the others, so no chain is judged by both. As in live processing, presences
(`streams.windows.presence`), which are tracked up to `live_from_ms` here, tell since when the trace of a chain exists.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from dsl import Mode, RuleSet
from streams.config.settings import Settings
from streams.replay.outcome import Counts, Signal
from streams.replay.plan import Plan
from streams.replay.source_reader import HOUR_MS
from streams.sessions.counts import verdict_hashes
from streams.windows.close import Close
from streams.windows.outcomes import Outcome, evaluate_close
from topics import partition
from topics.records import signals
from topics.records.facts import TICK_MS
from topics.records.verdicts import RuleMode


@dataclass(frozen=True, slots=True)
class RulePart:
    """What is left of one rule in one facts partition.

    Live judges chains whose traces were first read at `live_from_ms` or later. `times`, in order and disjoint, are
    those in which the other chains began that are to be judged; live has already judged what is after `live_from_ms`,
    and does not say so.
    """

    live_from_ms: int
    times: tuple[tuple[int, int], ...]

    def holds(self, time_ms: int) -> bool:
        """Return whether chains that began then are to be judged."""
        return any(start <= time_ms < end for start, end in self.times)


@dataclass(frozen=True, slots=True)
class Selection:
    """What is left to judge, by facts partition and rule fingerprint; `source` names the backfill in its signals."""

    partition_count: int
    parts: Mapping[tuple[int, str], RulePart]
    source: str

    @property
    def fingerprints(self) -> frozenset[str]:
        """The rules that judge."""
        return frozenset(fingerprint for _, fingerprint in self.parts)

    @property
    def live_from_ms(self) -> int:
        """The time from which live judges everything that begins, with each of the rules, in every facts partition."""
        return max((part.live_from_ms for part in self.parts.values()), default=0)

    def last_hours(self) -> dict[int, int]:
        """Return the start of the last hour with anything to judge, by facts partition."""
        last: dict[int, int] = {}
        for (number, _), part in self.parts.items():
            for _, end in part.times:
                last[number] = max(last.get(number, 0), (end - 1) // HOUR_MS * HOUR_MS)
        return last


class CountedOutcome(NamedTuple):
    """One rule's verdict on one chain, which began in the hour from `hour_ms` on.

    Outcomes of one facts partition are counted in the order of the fields. `leaf` and `retraction` are hashes as in
    `topics.records.verdicts`. `is_after`: what concerns the rule began at `live_from_ms` or later, although its trace
    began before; it is counted in the last hour. `record` is the signal that is due, `uid` its finding's.
    """

    partition: int
    hour_ms: int
    closed_ms: int
    trace_id: bytes
    rule: str
    fingerprint: str
    first_ms: int
    window_first_ms: int
    window_last_ms: int
    mode: RuleMode
    is_after: bool
    verdict: str
    previous: str | None
    excepted: int
    leaf: bytes | None
    retraction: bytes | None
    revision: int | None
    uid: str | None
    record: signals.Record | None


class HalfSeen(NamedTuple):
    """A trace that a rule does not judge: it began before what is read, and was never at rest since."""

    partition: int
    hour_ms: int
    trace_id: bytes


class SelectedVerdicts:
    """Judges closed windows in place of `streams.replay.outcome.Verdicts`; `take` returns the outcomes."""

    def __init__(self, settings: Settings, rules: RuleSet, plan: Plan, selection: Selection) -> None:
        self.chains = 0
        self._settings = settings
        self._rules = rules
        self._selection = selection
        self._judged_by = selection.fingerprints
        self._last_hours = selection.last_hours()
        self._reach_ms = settings.gap_ms + settings.lateness_ms
        self._half_seen_until_ms = None if plan.edge_ms is None else plan.edge_ms + self._reach_ms
        self._outcomes: list[CountedOutcome] = []
        self._half_seen: list[HalfSeen] = []

    def judge(self, closes: Iterable[Close]) -> Iterable[Signal]:
        """Judge windows, each before requesting the next one; the outcomes contain the signals."""
        for close in closes:
            number = partition.of_trace(close.trace_id, self._selection.partition_count)
            is_half_seen = self._half_seen_until_ms is not None and close.known_from_ms <= self._half_seen_until_ms
            for outcome in evaluate_close(close, self._rules, self._judged_by, reach_ms=self._reach_ms):
                part = self._selection.parts.get((number, outcome.rule.fingerprint))
                if part is None or close.known_from_ms >= part.live_from_ms:
                    continue
                is_after = outcome.first_ms >= part.live_from_ms
                if not part.holds(part.live_from_ms - 1 if is_after else outcome.first_ms):
                    continue
                # Whether one that began later was over is known only at the end of all input.
                hour_ms = self._last_hours[number] if is_after else outcome.first_ms // HOUR_MS * HOUR_MS
                if is_half_seen:
                    self._half_seen.append(HalfSeen(number, hour_ms, close.trace_id))
                else:
                    self._outcomes.append(self._counted(number, hour_ms, close, outcome, is_after=is_after))
        return ()

    def take(self) -> tuple[list[CountedOutcome], list[HalfSeen]]:
        """Return the outcomes since the last call."""
        taken = self._outcomes, self._half_seen
        self._outcomes, self._half_seen = [], []
        return taken

    def counts(self) -> Counts:
        """Return empty counts: the caller of `take` counts the outcomes."""
        return Counts(0, {}, frozenset())

    def _counted(self, number: int, hour_ms: int, close: Close, outcome: Outcome, *, is_after: bool) -> CountedOutcome:
        rule, finding = outcome.rule, outcome.finding
        leaf, retraction = verdict_hashes(close, outcome)
        record = None
        if finding is not None:
            record = signals.record(
                finding,
                logged_ms=time.time_ns() // 1_000_000,
                source=self._selection.source,
                format=self._settings.signal_format,
            )
        return CountedOutcome(
            partition=number,
            hour_ms=hour_ms,
            closed_ms=close.closed_ms,
            trace_id=close.trace_id,
            rule=rule.id,
            fingerprint=rule.fingerprint,
            first_ms=outcome.first_ms,
            window_first_ms=close.window.first * TICK_MS,
            window_last_ms=close.window.last * TICK_MS,
            mode="live" if rule.mode is Mode.LIVE else "shadow",
            is_after=is_after,
            verdict=outcome.verdict,
            previous=outcome.previous,
            excepted=outcome.excepted,
            leaf=leaf,
            retraction=retraction,
            revision=outcome.revision,
            uid=None if finding is None else finding.uid,
            record=record,
        )
