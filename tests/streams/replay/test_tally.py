"""Tests the counts of a rule."""

from __future__ import annotations

from dsl import Rule, Verdict, compile_texts
from streams.replay.plan import Period
from streams.replay.source_reader import MINUTE_MS
from streams.replay.tally import Tally, silent_ms
from streams.windows.outcomes import Outcome

[RULE] = compile_texts({"a.rules": '// "Access is audited"\npii.access and audit.log\n'})[0].rules


def outcome(
    verdict: Verdict, previous: Verdict | None = None, rule: Rule = RULE, excepted: int = 0, first_ms: int = 100
) -> Outcome:
    """A verdict and the one it retracts."""
    return Outcome(
        rule=rule,
        first_ms=first_ms,
        verdict=verdict.value,
        previous=None if previous is None else previous.value,
        revision=None,
        excepted=excepted,
        finding=None,
    )


def test_amended_verdict_retracts_the_old_one() -> None:
    """A trace that late spans repaired held, and counts once."""
    tally = Tally()

    tally.take(outcome(Verdict.BROKEN))
    tally.take(outcome(Verdict.HELD, Verdict.BROKEN))

    assert (1, 1, 0, 1.0) == (tally.applicable, tally.verdicts["held"], tally.verdicts["broken"], tally.pass_rate)


def test_trace_to_which_the_rule_does_not_apply() -> None:
    """It is not part of the population, and does not change the first and last time."""
    tally = Tally()

    tally.take(outcome(Verdict.NOT_APPLICABLE, excepted=1))

    assert (0, 1, None, None) == (tally.applicable, tally.excepted, tally.first_ms, tally.pass_rate)


def test_tallies_add_up() -> None:
    """The sum of two processes' tallies is that of one."""
    one, two, both = Tally(), Tally(), Tally()
    for first_ms, tally in ((300, one), (100, two), (200, two)):
        tally.take(outcome(Verdict.BROKEN, first_ms=first_ms))
        both.take(outcome(Verdict.BROKEN, first_ms=first_ms))

    one.add(two)

    assert both == one
    assert (100, 300) == (one.first_ms, one.last_ms)


def test_short_silence_does_not_count() -> None:
    """A few minutes without a record do not count as time without input; five do."""
    period = Period(60 * MINUTE_MS, 120 * MINUTE_MS)
    every_fifth = [*range(60, 120, 5)]

    assert 0 == silent_ms(period, every_fifth)
    assert 5 * MINUTE_MS == silent_ms(period, [minute for minute in range(60, 120) if not 70 <= minute < 75])


def test_time_without_a_beginning_begins_with_the_first_record() -> None:
    """With `earliest` nothing is silent before the first record."""
    assert 10 * MINUTE_MS == silent_ms(Period(0, 1010 * MINUTE_MS), [999])
