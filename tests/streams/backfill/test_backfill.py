"""Tests a backfill beside live: together they equal a replay of everything, each verdict once."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

import pytest

from streams.evidence.report.model import Report, RuleReport
from streams.evidence.report.page import page
from streams.replay.source_reader import HOUR_MS
from tests.support import backfilled
from tests.support.backfilled import backfill, decide, everything, leaves
from tests.support.lifetime import NAMES, SETTINGS, Lifetime, recount
from topics.records import verdicts
from topics.records.facts import TICK_MS
from topics.records.verdicts import Coverage, VerdictCounts
from topics.signals.digest import digest

REACH_MS = SETTINGS.gap_ms + SETTINGS.lateness_ms
HOUR = HOUR_MS // TICK_MS
UNTIL = 20


def rule(report: Report, rule_id: str) -> RuleReport:
    """Returns the report on one rule."""
    return next(one for one in report.rules if one.id == rule_id)


def hours(life: Lifetime, count: int) -> None:
    """Hours with six traces each that every rule applies to, three of them audited."""
    traces(life, 6 * count)


def traces(life: Lifetime, count: int) -> None:
    """Every ten minutes a trace, every other one audited."""
    for number in range(count):
        life.write(len(life.log) + 1, *(NAMES if number % 2 else ("pii.access", "agent.tool")))
        life.wait(HOUR // 6)
        life.step()


def pushed(*, before: int = 3, after: int = 1, rule_set: str = "both") -> Lifetime:
    """Hours and twenty minutes with one rule, then hours with both."""
    life = Lifetime("few" if rule_set == "shadow" else "audited")
    hours(life, before)
    traces(life, 2)
    life.push(rule_set)
    hours(life, after)
    life.end()
    return life


def in_flight(seed: int) -> Lifetime:
    """Traces of all lengths, many of them in progress when a rule is pushed."""
    chance = random.Random(seed)
    life = Lifetime()
    for step in range(900):
        if step == 450:
            life.push("both")
        trace = step // 60 * 10 + chance.randrange(14)
        life.write(trace + 1, *chance.choices([*NAMES, "agent.tool"], k=chance.randrange(3)))
        life.wait(chance.choice([0, 0, 0, 1, 2, 5, 12]))
        if step % 20 == 0:
            life.step()
    life.end()
    return life


def said(life: Lifetime, rule_id: str) -> list[tuple[str, int, str]]:
    """Uid, revision and verdict of each signal of a rule."""
    signals = [digest(value) for value in life.records("signals")]
    return sorted((each.uid, each.revision, each.verdict) for each in signals if each.rule_id == rule_id)


@pytest.mark.parametrize("seed", range(6))
def test_live_and_backfill_add_up_to_a_full_replay(seed: int) -> None:
    """Each verdict, retracted or not, has its leaf once; each signal has the uid and revision of live."""
    life = in_flight(seed)
    live_count = len([*leaves(life, "few")])
    backfill(life, "few")

    all_ = everything(life, "both", "few")

    expected = sorted(each.leaf for each in all_ if each.leaf is not None)
    assert 0 < live_count < len(expected)
    assert expected == sorted(leaves(life, "few"))
    due = sorted((each.uid, each.revision, each.verdict) for each in all_ if each.record and each.uid and each.revision)
    assert due == said(life, "few")
    sources = {dict(each.record.headers)["ce_source"] for each in all_ if each.record}
    assert {b"betrace.backfill/all"} == sources
    assert [] == life.findings()


def test_backfilled_time_is_judged() -> None:
    """The rule has judged everything since the beginning; the page says who judged what was before it, and when."""
    life = pushed()
    backfill(life, "few")

    report = life.report(0, 4 * HOUR_MS)

    few = rule(report, "few")
    assert [(0, 4 * HOUR_MS)] == [(time.from_ms, time.to_ms) for time in few.judged.times]
    assert recount(life.log, "few", [(0, 4 * HOUR_MS)]) == (few.counts.held, few.counts.broken)
    assert few.is_whole
    [told] = few.backfills
    assert [(0, 3 * HOUR_MS)] == [(time.from_ms, time.to_ms // HOUR_MS * HOUR_MS) for time in told.times]
    assert ("ann", 0, 0) == (told.by, told.half_seen, told.unfinished)
    assert [] == rule(report, "audited").backfills
    assert "judged by backfill on 1970-04-15 by ann; later spans" in page(report).replace("\n", " ")
    assert [] == life.findings()


def test_time_before_a_push_is_not_judged_without_backfill() -> None:
    """Coverage of other rules is not claimed for the new rule."""
    few = rule(pushed().report(0, 4 * HOUR_MS), "few")

    assert not few.is_whole
    assert few.judged.times[0].from_ms > 3 * HOUR_MS


@pytest.mark.parametrize("killed_after", [1, 2, 3])
def test_killed_backfill_continues(killed_after: int) -> None:
    """Started again, with any start, it publishes the remaining hours."""
    life, whole = pushed(), pushed()
    backfill(whole, "few")

    backfill(life, "few", hours=killed_after)
    resumed = decide(life, "few", 2 * HOUR_MS)
    backfill(life, "few", 2 * HOUR_MS)

    assert resumed is not None
    assert resumed.is_started
    assert 0 == resumed.begin_ms
    assert whole.records("verdicts") == life.records("verdicts")
    assert said(whole, "few") == said(life, "few")
    assert [] == life.findings()
    assert decide(life, "few") is None


def test_killed_backfill_leaves_complete_hours() -> None:
    """What is not published yet is not judged, and the report says so."""
    life = pushed()
    backfill(life, "few", hours=1)

    few = rule(life.report(0, 4 * HOUR_MS), "few")

    assert (0, HOUR_MS) == (few.judged.times[0].from_ms, few.judged.times[0].to_ms)
    assert not few.is_whole
    assert [] == life.findings()


def test_earlier_backfill_is_not_repeated() -> None:
    """A backfill with an earlier start judges only what the one before it has not."""
    life, whole = pushed(), pushed()
    backfill(whole, "few")

    backfill(life, "few", 2 * HOUR_MS)
    backfill(life, "few", 0)

    assert sorted(leaves(whole, "few")) == sorted(leaves(life, "few"))
    assert [(0, 4 * HOUR_MS)] == [
        (one.from_ms, one.to_ms) for one in rule(life.report(0, 4 * HOUR_MS), "few").judged.times
    ]
    assert decide(life, "few") is None
    assert [] == life.findings()


def test_unreadable_records_are_reported() -> None:
    """No time is complete whose records could not be read, although every hour is judged."""
    life = pushed()
    backfill(life, "few", unreadable=2)

    report = life.report(0, 4 * HOUR_MS)

    assert not rule(report, "few").is_whole
    assert "8 source records could not be read by backfill/" in rule(report, "few").statement + report.statement
    assert 8 == rule(report, "few").backfills[0].undecodable


def test_shadow_rule_is_counted_without_signals() -> None:
    """It does so like live."""
    life = pushed(rule_set="shadow")
    before = said(life, "audited")
    backfill(life, "audited")

    assert ([], []) == (before, said(life, "audited"))
    counts = [one for one in records(life) if isinstance(one, VerdictCounts) and one.rule == "audited"]
    assert {"shadow"} == {one.mode for one in counts}
    counted = rule(life.report(0, 4 * HOUR_MS), "audited").counts
    assert recount(life.log, "audited", [(0, 4 * HOUR_MS)]) == (counted.held, counted.broken)


def test_rule_that_judged_everything_needs_no_backfill() -> None:
    """A rule in force at the beginning of the log judged all of it."""
    assert decide(pushed(), "audited") is None


def test_more_signals_than_the_limit_are_withheld(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are counted as withheld, so the evidence agrees with the signals topic."""
    life = pushed()
    monkeypatch.setattr(backfilled, "SETTINGS", replace(SETTINGS, signals_per_hour=1))

    backfill(life, "few")

    last = [one for one in records(life) if isinstance(one, Coverage) and one.backfill is not None][-1]
    assert (4, 6) == (last.counted.signals, last.counted.withheld)
    assert [] == life.findings()


def records(life: Lifetime) -> Iterator[verdicts.Record]:
    """The records of verdicts."""
    return map(verdicts.decode, life.records("verdicts"))
