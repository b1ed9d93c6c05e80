"""Tests statements about rules that were pushed, removed and shadowed, and about input that was read again."""

from __future__ import annotations

from streams.evidence.report.model import Report, RuleReport, Span
from streams.evidence.report.page import page
from tests.support.lifetime import SETTINGS, Lifetime, recount
from topics.records.facts import TICK_MS

REACH_MS = SETTINGS.gap_ms + SETTINGS.lateness_ms
MINUTE = 60_000 // TICK_MS


def lived(life: Lifetime, minutes: int, *names: str) -> None:
    """Minutes with six traces each, one every ten seconds, and a step after each."""
    for _ in range(6 * minutes):
        life.write(len(life.log) + 1, "pii.access", "agent.tool", *names)
        life.wait(MINUTE // 6)
        life.step()


def rule(report: Report, rule_id: str) -> RuleReport:
    """Returns the report on one rule."""
    return next(one for one in report.rules if one.id == rule_id)


def test_a_pushed_rule_judges_only_what_begins_later() -> None:
    """The time before and shortly after a push is not judged, so there is no statement about it."""
    life = Lifetime()
    lived(life, 3, "audit.log")
    life.push("both")
    lived(life, 3)
    life.end()

    report = life.report(60_000, 360_000)

    few, audited = rule(report, "few"), rule(report, "audited")
    assert (True, False, False) == (audited.is_whole, few.is_whole, report.is_whole)
    [time] = few.judged.times
    # The last record read before the push came ten seconds before it.
    assert (170_000 + REACH_MS + TICK_MS, 360_000) == (time.from_ms, time.to_ms)
    assert recount(life.log, "few", [(time.from_ms, time.to_ms)]) == (few.counts.held, few.counts.broken)
    assert "the rule judged 3 minutes 6 seconds of it" in few.statement
    assert "not every rule judged all of it (few)" in report.statement
    assert not few.is_proven


def test_no_trace_is_stated_only_about_judged_time() -> None:
    """A rule that judged no part of the period says so, instead of that it applied to no trace."""
    life = Lifetime()
    lived(life, 4)
    life.push("both")
    lived(life, 1)
    life.end()

    statement = rule(life.report(60_000, 300_000), "few").statement
    before = [one.id for one in life.report(60_000, 230_000).rules]

    assert "No statement on all 4 minutes: the rule judged 1 minute 6 seconds" in statement
    assert ["audited"] == before


def test_a_rule_that_was_rolled_back_has_intervals_in_force() -> None:
    """Each interval has its text, who pushed it from which revision, and the time that it judged."""
    life = Lifetime()
    lived(life, 2)
    life.push("both")
    lived(life, 2)
    life.push("audited")
    lived(life, 2)
    life.push("both")
    lived(life, 2)
    life.end()

    few = rule(life.report(0, 480_000), "few")

    assert [(120_000, 240_000, "both"), (360_000, None, "both")] == [
        (one.from_ms, one.to_ms, one.revision) for one in few.versions
    ]
    assert ["ada", "ada"] == [one.pushed_by for one in few.versions]
    first, second = few.judged.times
    # The last record came ten seconds before each push.
    assert (110_000 + REACH_MS + TICK_MS, 350_000 + REACH_MS + TICK_MS, 480_000) == (
        first.from_ms,
        second.from_ms,
        second.to_ms,
    )
    # When it was removed the last traces could still be amended.
    assert 240_000 - 60_000 < first.to_ms <= 240_000
    assert ["live", "live"] == [one.mode for one in few.versions]


def test_repeated_reading_counts_once() -> None:
    """After an offsets reset the figures are those of the source, during and after the new reading."""
    life = Lifetime()
    lived(life, 4)
    lived(life, 4, "audit.log")
    life.wait(10 * MINUTE)
    life.step()
    before = rule(life.report(60_000, 480_000), "audited")
    life.reset(2 * MINUTE)
    life.read(10)
    life.step()

    meanwhile = life.report(60_000, 480_000)
    life.end()
    after = life.report(60_000, 480_000)

    assert recount(life.log, "audited", [(60_000, 480_000)]) == (before.counts.held, before.counts.broken)
    assert before.counts == rule(meanwhile, "audited").counts == rule(after, "audited").counts
    assert [120_000] == [one.from_ms for one in after.judged.resets]
    assert [] == life.findings()
    assert "The input was read again" in page(after)
    assert "From 1970-01-01 00:02 on" in page(after)


def test_minute_split_between_readings_is_not_judged() -> None:
    """If an earlier reading ends and the later one begins in one minute, that minute was read twice."""
    life = Lifetime()
    life.wait(200)
    life.step()
    for _ in range(50):
        life.write(len(life.log) + 1, "pii.access", "agent.tool")
        life.wait(30)
        life.step()
    life.reset(1_300)
    lived(life, 3)
    life.end()

    audited = rule(life.report(60_000, 240_000), "audited")

    assert 1 == audited.judged.read_twice
    assert [Span(60_000, 120_000), Span(180_000, 240_000)] == audited.judged.times
    assert not audited.is_proven
    assert not audited.is_whole


def test_reading_with_other_rules_keeps_earlier_verdicts() -> None:
    """After a reading with another set, earlier verdicts of removed rules stay in force."""
    life = Lifetime("few")
    lived(life, 4, "audit.log")
    life.push("audited")
    life.reset(MINUTE)
    life.end()

    report = life.report(120_000, 240_000)

    held, broken = recount(life.log, "few", [(120_000, 240_000)])
    assert (held, broken) == (rule(report, "few").counts.held, rule(report, "few").counts.broken)
    assert recount(life.log, "audited", [(120_000, 240_000)])[0] == rule(report, "audited").counts.held


def test_a_rule_that_is_no_longer_exercised_is_named() -> None:
    """It applied to traces in the fortnight before, and to none for two days: page one says since when."""
    day = 86_400_000 // TICK_MS
    life = Lifetime("both")
    lived(life, 2, "audit.log")
    life.wait(3 * day)
    life.step()
    life.end()

    report = life.report(2 * 86_400_000, 3 * 86_400_000)
    earlier = life.report(0, 86_400_000)

    silence = rule(report, "audited").silence
    assert silence is not None
    assert (86_400_000, 12) == (silence.since_ms, silence.applicable_before)
    assert "No longer exercised" in page(report)
    assert [None, None] == [one.silence for one in earlier.rules]
    assert "No longer exercised" not in page(earlier)


def test_silent_service_is_named() -> None:
    """It sent records in the fortnight before, and none for two days; one that still sends is not named."""
    life = Lifetime("both")
    for service in ("shop", "bank", "bank", "bank"):
        life.service = service
        lived(life, 1, "audit.log")
        life.wait(86_400_000 // TICK_MS - MINUTE)
        life.step()
    life.end()

    report = life.report(0, 4 * 86_400_000)
    earlier = life.report(0, 2 * 86_400_000)

    assert [("shop", 86_400_000, 1)] == [(one.name, one.since_ms, one.days_before) for one in report.silent_services]
    assert "<tr><td>shop</td>" in page(report)
    assert [] == earlier.silent_services


def test_no_statement_without_a_rule() -> None:
    """There is no statement about a period in which no rule was in force, however well it was judged."""
    life = Lifetime("none")
    lived(life, 3)
    life.end()

    report = life.report(60_000, 120_000)

    assert ([], False, "No statement: no rule was in force.") == (report.rules, report.is_whole, report.statement)
    assert "Nothing: each of the" not in page(report)


def test_time_of_an_eviction_is_not_judged() -> None:
    """Windows exceeded the disk limit: no rule is complete for that time, and the rest equals a recount.

    A trace that was read in part by then is not broken because of what was forgotten.
    """
    life = Lifetime()
    lived(life, 3, "audit.log")
    life.write(7, "audit.log")
    life.wait(1)
    life.evict()
    life.write(7, "pii.access")
    life.step()
    lived(life, 3, "audit.log")
    life.end()

    report = life.report(60_000, 360_000)

    audited = rule(report, "audited")
    before, after = audited.judged.times
    assert (False, False) == (audited.is_whole, report.is_whole)
    assert before.to_ms <= 180_000 < 180_000 + REACH_MS < after.from_ms
    times = [(before.from_ms, before.to_ms), (after.from_ms, after.to_ms)]
    held, broken = recount(life.log, "audited", times)
    assert 0 == broken == audited.counts.broken
    assert held <= audited.counts.held
    assert [] == life.findings()
