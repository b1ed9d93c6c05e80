"""Runs a backfill: a replay, and one transaction for each facts partition and hour.

In: a `Backfill` and a plan of what to read. Out: signals, counts and coverage on the topics of live. An hour is
published once the replay's clock has passed every chain that can have begun in it. If killed at any moment, whole hours
have been published, and the next start publishes the others: it reads everything again, because only its beginning
shows whether a trace existed before.

The transactional ids are those of the facts partitions: of two backfills at once the later one continues, and the other
one ends with `FencedError`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Protocol, Self

from streams.backfill.hours import HourOutcomes, PartitionHours, ReadHours
from streams.backfill.plan import Backfill
from streams.config.settings import Settings
from streams.replay.plan import Plan, reach_ms
from streams.replay.run import FailedError, Team
from streams.replay.selection import CountedOutcome
from streams.replay.source_reader import HOUR_MS
from streams.replay.worker import Done, Failed, Job, Progress
from streams.sessions.publish import Publisher

ROLE = "backfill"
_NEVER = 1 << 62


class Watcher(Protocol):
    """Receives the progress."""

    def advance(self, offsets: int, spans: int) -> None:
        """Add the offsets and spans read since the last call."""


@dataclass(slots=True, kw_only=True)
class Outcome:
    """The sums of what a backfill has published; the traces are those without a counted verdict."""

    hours: int = 0
    signals: int = 0
    withheld: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    unreadable: int = 0
    behind: int = 0
    out_of_bounds: int = 0
    half_seen: set[bytes] = field(default_factory=set)
    unfinished: set[bytes] = field(default_factory=set)


class Publishers:
    """The producers of all facts partitions; creating them fences every running backfill."""

    def __init__(self, settings: Settings, count: int) -> None:
        self._stack = ExitStack()
        self._settings = settings
        self._made: list[Publisher] = []
        for number in range(count):
            made = Publisher(settings, number, lambda: False, ROLE)
            self._stack.callback(made.close)
            self._made.append(made)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def of(self, number: int) -> Publisher:
        """Return the producer of a facts partition."""
        return self._made[number]


class BackfillRun:
    """One backfill; `outcome` sums what is published so far. `now_ms` returns the wall clock."""

    def __init__(
        self,
        settings: Settings,
        backfill: Backfill,
        plan: Plan,
        by: str,
        publishers: Publishers,
        watcher: Watcher,
        now_ms: Callable[[], int],
    ) -> None:
        self.outcome = Outcome()
        self._settings = settings
        self._backfill = backfill
        self._plan = plan
        self._publishers = publishers
        self._watcher = watcher
        self._now_ms = now_ms
        self._reach_ms = reach_ms(settings)
        self._quiet_ms = settings.gap_ms + settings.lateness_ms
        numbers = range(backfill.selection.partition_count)
        self._partitions = {number: PartitionHours(number, settings, backfill, plan, by) for number in numbers}
        self._left = sorted((hour, number) for number, each in self._partitions.items() for hour in each.left())
        self._last_hours = backfill.selection.last_hours()
        self._outcomes: defaultdict[tuple[int, int], HourOutcomes] = defaultdict(HourOutcomes)
        self._read = ReadHours()
        self._due_hours = {(number, hour) for hour, number in self._left}

    @property
    def job(self) -> Job:
        """The job for the processes of the replay."""
        backfill = self._backfill
        return Job(
            settings=self._settings,
            texts=dict(backfill.rules.texts),
            only=None,
            plan=self._plan,
            selection=backfill.selection,
        )

    def run(self, team: Team) -> None:
        """Replay and publish.

        Raises:
            FailedError, StateError: a process of the replay failed.
            FencedError: another backfill began.
        """
        team.start(self.job)
        clocks_ms = dict.fromkeys(range(team.count), 0)
        while clocks_ms:
            report = team.next_report()
            if isinstance(report, Failed):
                raise FailedError(report)
            self._take(report)
            if isinstance(report, Progress):
                self._watcher.advance(report.offsets, report.spans)
                clocks_ms[report.number] = report.clock_ms or 0
            else:
                del clocks_ms[report.number]
            if clocks_ms:
                self._publish(min(clocks_ms.values()))
        self._leave_unfinished()
        self._publish(_NEVER)

    def _take(self, report: Progress | Done) -> None:
        if isinstance(report, Done):
            self.outcome.unreadable += report.read.unreadable
            self.outcome.behind += report.read.behind
            self.outcome.out_of_bounds += report.read.out_of_bounds
        selected = report.selected
        if selected is None:
            return
        for outcome in selected.outcomes:
            if (outcome.partition, outcome.hour_ms) in self._due_hours:
                self._outcomes[outcome.partition, outcome.hour_ms].outcomes.append(outcome)
        for each in selected.half_seen:
            if (each.partition, each.hour_ms) in self._due_hours:
                self._outcomes[each.partition, each.hour_ms].add_half_seen(each)
        for (source, hour_ms), read in selected.hours.items():
            self._read.take(source, hour_ms, read)

    def _publish(self, clock_ms: int) -> None:
        """Publish the hours whose chains cannot get another verdict at this time of the replay's clock."""
        while self._left and self._due_ms(*self._left[0]) <= clock_ms:
            hour_ms, number = self._left.pop(0)
            outcomes = self._outcomes.pop((number, hour_ms), HourOutcomes())
            records = self._partitions[number].records(hour_ms, outcomes, self._read, self._now_ms())
            publisher = self._publishers.of(number)
            for key, value, headers in records.signals:
                publisher.send(self._settings.topic("signals"), number, key, value, headers)
            for verdict_key, value in records.verdicts:
                publisher.send(self._settings.topic("verdicts"), number, verdict_key, value)
            publisher.commit()
            outcome = self.outcome
            outcome.hours += 1
            outcome.signals += len(records.signals)
            outcome.withheld += records.withheld
            outcome.verdicts.update(records.verdict_counts)
            outcome.half_seen |= outcomes.half_seen
            outcome.unfinished |= outcomes.unfinished

    def _due_ms(self, hour_ms: int, number: int) -> int:
        """Return the clock's time at which an hour is complete: never for the last one, which ends with the input."""
        return _NEVER if hour_ms == self._last_hours[number] else hour_ms + HOUR_MS + self._reach_ms

    def _leave_unfinished(self) -> None:
        """Remove chains that began when live already judged, if their traces may continue after what is read."""
        over_ms = self._plan.until_ms - self._quiet_ms
        for outcomes in self._outcomes.values():
            going_on = {_chain(each) for each in outcomes.outcomes if each.is_after and each.window_last_ms >= over_ms}
            outcomes.unfinished |= {trace_id for trace_id, _, _ in going_on}
            outcomes.outcomes = [
                each for each in outcomes.outcomes if not each.is_after or _chain(each) not in going_on
            ]


def _chain(outcome: CountedOutcome) -> tuple[bytes, str, int]:
    return outcome.trace_id, outcome.fingerprint, outcome.first_ms
