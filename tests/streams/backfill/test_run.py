"""Tests when hours are published, and with what: reports of processes in, transactions out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import pytest

from streams.backfill.plan import Backfill
from streams.backfill.run import BackfillRun, Publishers
from streams.replay.outcome import Counts
from streams.replay.plan import Input, Period, Plan
from streams.replay.run import FailedError, Team
from streams.replay.selection import CountedOutcome, HalfSeen, RulePart, Selection
from streams.replay.source_reader import HOUR_MS, HourRead, Read
from streams.replay.worker import Done, Failed, Job, Progress, Report, Selected
from tests.support.lifetime import SETTINGS, TOPIC, compiled
from topics.records import verdicts
from topics.records.verdicts import Coverage, VerdictCounts

RULE = next(rule for rule in compiled("both").rules if rule.id == "few")
LIVE_MS = 3 * HOUR_MS - 600_000
REACH_MS = SETTINGS.max_duration_ms + SETTINGS.lateness_ms + SETTINGS.gap_ms
UNTIL_MS = LIVE_MS + REACH_MS


@dataclass
class Reports:
    """A team with prepared reports."""

    left: list[Report]
    count: int = 2

    def start(self, _: Job) -> None:
        """Does as `Team.start`."""

    def next_report(self) -> Report:
        """Does as `Team.next_report`."""
        return self.left.pop(0)


@dataclass
class Topics:
    """Publishers that keep their transactions, each with the partition and the number of reports left by then."""

    reports: Reports
    steps: list[tuple[int, int, list[verdicts.Record]]] = field(default_factory=list)
    _sent: list[verdicts.Record] = field(default_factory=list)
    _number: int = 0

    def of(self, number: int) -> Topics:
        """As `Publishers.of`."""
        self._number = number
        return self

    def send(self, _topic: str, _number: int, _key: bytes | None, value: bytes, _headers: object = ()) -> None:
        """As `Publisher.send`."""
        self._sent.append(verdicts.decode(value))

    def commit(self) -> None:
        """As `Publisher.commit`."""
        self.steps.append((self._number, len(self.reports.left), self._sent))
        self._sent = []


class Nobody:
    """Watches nothing."""

    def advance(self, offsets: int, spans: int) -> None:
        """As `Watcher.advance`."""


def found(
    first_ms: int, *, last_ms: int | None = None, verdict: str = "held", previous: str | None = None
) -> CountedOutcome:
    """A verdict on a chain that began then."""
    is_after = first_ms >= LIVE_MS
    return CountedOutcome(
        partition=0,
        hour_ms=2 * HOUR_MS if is_after else first_ms // HOUR_MS * HOUR_MS,
        closed_ms=first_ms + 1_000,
        trace_id=first_ms.to_bytes(16, "big"),
        rule=RULE.id,
        fingerprint=RULE.fingerprint,
        first_ms=first_ms,
        window_first_ms=first_ms,
        window_last_ms=first_ms if last_ms is None else last_ms,
        mode="live",
        is_after=is_after,
        verdict=verdict,
        previous=previous,
        excepted=0,
        leaf=bytes(32),
        retraction=None if previous is None else bytes(32),
        revision=None,
        uid=None,
        record=None,
    )


def progress(number: int, clock_ms: int, *outcomes: CountedOutcome, half_seen: Sequence[HalfSeen] = ()) -> Progress:
    """A report of a process that reached a time with these outcomes."""
    return Progress(number, 0, 0, clock_ms, [], Selected([*outcomes], [*half_seen], {}))


def done(number: int, *outcomes: CountedOutcome, unreadable: int = 0) -> Done:
    """The last report of a process."""
    read = {((TOPIC, 0), HOUR_MS): HourRead(5, unreadable)}
    return Done(
        number,
        [],
        Read(records=5, spans=5, unreadable=unreadable),
        Counts(0, {}, frozenset()),
        Selected([*outcomes], [], read),
    )


def backfilled(*reports: Report) -> tuple[BackfillRun, Topics]:
    """A backfill of two facts partitions, three hours less ten minutes, by two processes with these reports."""
    parts = {(number, RULE.fingerprint): RulePart(LIVE_MS, ((0, LIVE_MS),)) for number in (0, 1)}
    selection = Selection(2, parts, "betrace.backfill/3f9a")
    plan = Plan(
        period=Period(0, LIVE_MS),
        inputs=(Input(topic=TOPIC, partition=0, partition_count=1, begin=0, end=9),),
        read_from_ms=0,
        until_ms=UNTIL_MS,
        clock_ms=UNTIL_MS,
        lost=(),
        expected=9,
    )
    team = Reports([*reports])
    topics = Topics(team)
    what = Backfill(origin="backfill/3f9a", begin_ms=0, rules=compiled("both"), selection=selection, done={})
    run = BackfillRun(SETTINGS, what, plan, "ann", cast("Publishers", topics), Nobody(), lambda: 1)
    run.run(cast("Team", team))
    return run, topics


def test_hour_waits_for_the_slowest_process() -> None:
    """An hour is published when all of its chains are over for every process; the last hour when everything is read."""
    due_ms = HOUR_MS + REACH_MS

    _, topics = backfilled(
        progress(0, due_ms - 1),
        progress(1, due_ms),
        progress(0, due_ms),
        progress(1, 4 * HOUR_MS),
        progress(0, 4 * HOUR_MS),
        done(0),
        done(1),
    )

    assert [(0, 4), (1, 4), (0, 2), (1, 2), (0, 0), (1, 0)] == [step[:2] for step in topics.steps]


def test_hour_has_its_counts_and_one_marker() -> None:
    """Outcomes of an hour, by any process in any order, are counted in it; then comes its marker."""
    early, late = found(5, verdict="broken"), found(90_000)

    run, topics = backfilled(done(0, late), done(1, early, found(HOUR_MS)))

    [counts, later, marker] = topics.steps[0][2]
    assert isinstance(counts, VerdictCounts)
    assert isinstance(later, VerdictCounts)
    assert isinstance(marker, Coverage)
    assert (0, 60_000) == (counts.minute_ms, later.minute_ms)
    assert (0, HOUR_MS, 2) == (marker.settled_from_ms, marker.settled_to_ms, marker.windows_judged)
    assert 2 == marker.counted.seq
    assert {"held": 2, "broken": 1} == run.outcome.verdicts
    assert 6 == run.outcome.hours


def test_chain_that_continues_after_live_began_is_unfinished() -> None:
    """A trace that began before live judged, and was hit later, has all its verdicts, or none if it may continue."""
    over = found(LIVE_MS + 10, last_ms=LIVE_MS + 20)
    going_on = found(LIVE_MS + 30, verdict="broken")
    goes_on = found(LIVE_MS + 30, verdict="held", previous="broken", last_ms=UNTIL_MS)

    run, topics = backfilled(done(0, over, going_on), done(1, goes_on))

    [counts, marker] = next(step[2] for step in topics.steps[::-1] if step[0] == 0)
    assert isinstance(counts, VerdictCounts)
    assert isinstance(marker, Coverage)
    assert (1, 0) == (counts.added.held, counts.added.broken)
    assert marker.backfill is not None
    assert 1 == marker.backfill.unfinished
    assert {going_on.trace_id} == run.outcome.unfinished


def test_half_seen_traces_and_unreadable_records_are_reported() -> None:
    """They are in the marker of their hour, unreadable records for each facts partition."""
    half = HalfSeen(1, HOUR_MS, b"t" * 16)

    run, topics = backfilled(progress(0, 9, half_seen=[half, half]), done(0), done(1, unreadable=3))

    markers = [record for step in topics.steps for record in step[2] if isinstance(record, Coverage)]
    told = {(each.partition, each.settled_from_ms): each for each in markers}
    dead = {at: sum(source.dead_letters or 0 for source in each.sources) for at, each in told.items()}
    assert {(0, HOUR_MS): 3, (1, HOUR_MS): 3} == {at: count for at, count in dead.items() if count}
    backfill = told[1, HOUR_MS].backfill
    assert backfill is not None
    assert (1, "ann") == (backfill.half_seen, backfill.by)
    assert (3, {half.trace_id}) == (run.outcome.unreadable, run.outcome.half_seen)


def test_failed_process_ends_it() -> None:
    """The process's message is shown, with its exit code."""
    with pytest.raises(FailedError, match="no room") as error:
        backfilled(Failed("no room", 3))

    assert 3 == error.value.exit_code
