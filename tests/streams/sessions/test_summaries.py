"""Summaries of what was withheld, with checkpoints as values."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from streams.sessions.summaries import Summaries, summary
from tests.support.findings import FINDING, RULE
from topics.records import checkpoints
from topics.records.checkpoints import Checkpoint, Hour, Withheld
from topics.signals.finding import HOUR_MS, Finding
from topics.signals.sentence import sentence

LOG, EARLIER = "log", "earlier log"
HOUR = FINDING.closed_ms // HOUR_MS
NOW, NEXT, LATER = (Hour(LOG, 0, HOUR + hours) for hours in range(3))


def finding(number: int, *, rule: str = "a", late_ms: int = 0) -> Finding:
    """The finding of a trace."""
    return replace(
        FINDING,
        rule=replace(RULE, id=rule),
        trace_id=number.to_bytes(16, "big"),
        closed_ms=FINDING.closed_ms + late_ms,
    )


def checkpoint(of: Summaries, reached: Hour | None, log: str = LOG) -> Checkpoint:
    """What a facts partition says of itself."""
    made = Checkpoint(
        checkpoints.VERSION,
        log,
        0,
        0,
        b"",
        b"",
        withheld=of.withheld,
        reached=reached,
        summarized_to=of.summarized_to,
    )
    return checkpoints.decode(checkpoints.encode(made))


def counted(withheld: list[Withheld]) -> list[tuple[Hour, str, int, int, int]]:
    """Of each: hour, rule, count, and the trace and partition of the first."""
    return [(each.hour, each.rule, each.count, each.first.trace_id[-1], each.first.partition) for each in withheld]


def pair() -> tuple[Summaries, Summaries]:
    """The partition that publishes and another one, each of which withheld something in an hour."""
    publishing, other = Summaries(0, 2, LOG, None), Summaries(1, 2, LOG, None)
    publishing.add(NOW, finding(1, late_ms=5), "s")
    other.add(NOW, finding(2), "s")
    other.add(NOW, finding(3), "s")
    other.add(NOW, finding(4, rule="b"), "s")
    return publishing, other


def test_an_hour_is_summed_up_when_every_partition_has_left_it() -> None:
    """Each rule has one sum over all partitions, about the earliest finding."""
    publishing, other = pair()
    assert {1} == publishing.asks(NEXT)

    publishing.hear({1: checkpoint(other, NOW)})
    too_early = publishing.take(NEXT)
    publishing.hear({1: checkpoint(other, NEXT)})
    due = publishing.take(NEXT)

    assert [] == too_early
    assert [(NOW, "a", 3, 2, 1), (NOW, "b", 1, 4, 1)] == counted(due)
    assert ([], frozenset()) == (publishing.take(NEXT), publishing.asks(NEXT))
    assert [] == publishing.withheld


@pytest.mark.parametrize("said", [None, "no hour", "an earlier log"])
def test_a_partition_that_says_nothing_is_waited_for(said: str | None) -> None:
    """One without a checkpoint, with that of an earlier version, or with that of an earlier log may still withhold."""
    publishing, other = pair()
    log, reached = (EARLIER, Hour(EARLIER, 0, HOUR + 9)) if said == "an earlier log" else (LOG, None)

    publishing.hear({1: checkpoint(other, reached, log) if said else None})

    assert [] == publishing.take(NEXT)


def test_others_forget_what_was_summed_up_and_nothing_else() -> None:
    """They ask the partition that publishes when an hour is over, and remember until it has published."""
    publishing, other = pair()
    other.add(NEXT, finding(5), "s")
    assert not other.asks(NOW)
    assert {0} == other.asks(NEXT)

    other.hear({0: checkpoint(publishing, NEXT)})
    before = len(other.withheld)
    publishing.hear({1: checkpoint(other, NEXT)})
    publishing.take(LATER)
    other.hear({0: checkpoint(publishing, LATER)})

    assert (3, [(NEXT, "a", 1, 5, 1)]) == (before, counted(other.withheld))
    assert {0} == other.asks(LATER)


def test_what_was_summed_up_is_not_again() -> None:
    """Whoever takes over, and however late others forget: a sum is published once."""
    publishing, other = pair()
    publishing.hear({1: checkpoint(other, NEXT)})
    publishing.take(NEXT)

    again = Summaries(0, 2, LOG, checkpoint(publishing, NEXT))
    other.add(NEXT, finding(5), "s")
    again.hear({1: checkpoint(other, LATER)})

    assert [(NEXT, "a", 1, 5, 1)] == counted(again.take(LATER))


def test_an_hour_that_is_read_again_is_summed_up_again() -> None:
    """After a reset the hours begin anew; those of the reading before are over, whatever the clock had reached."""
    publishing, other = pair()
    again, after = Hour(LOG, 7, HOUR), Hour(LOG, 7, HOUR + 1)
    other.add(again, finding(6), "s")

    publishing.hear({1: checkpoint(other, again)})
    first = publishing.take(Hour(LOG, 7, 0))
    publishing.hear({1: checkpoint(other, after)})
    second = publishing.take(after)

    assert [NOW, NOW] == [each.hour for each in first]
    assert [(again, "a", 1, 6, 1)] == counted(second)


def test_what_was_withheld_with_an_earlier_log_is_summed_up() -> None:
    """A facts log that was made again has hours of its own; what the one before left is not forgotten."""
    publishing, other = pair()
    moved = [Summaries(number, 2, "new log", checkpoint(each, NOW)) for number, each in enumerate((publishing, other))]
    reached = Hour("new log", 0, 0)

    moved[0].hear({1: checkpoint(moved[1], reached, "new log")})
    first = moved[0].take(Hour("new log", 0, 1))
    moved[1].hear({0: checkpoint(moved[0], reached, "new log")})

    assert [(NOW, "a", 3, 2, 1), (NOW, "b", 1, 4, 1)] == counted(first)
    assert [] == moved[1].withheld


def test_without_a_limit_nobody_is_asked() -> None:
    """Unless there was one before, and something that it withheld may be due."""
    publishing, other = pair()

    never = Summaries(0, 2, LOG, None, is_limited=False)
    no_more = Summaries(0, 2, LOG, checkpoint(publishing, NOW), is_limited=False)
    no_more.hear({1: checkpoint(other, NEXT)})

    assert (frozenset(), []) == (never.asks(LATER), never.take(LATER))
    assert {1} == no_more.asks(NEXT)
    assert 2 == len(no_more.take(NEXT))


def test_a_partition_alone_asks_nobody() -> None:
    """With one facts partition an hour is summed up as soon as its clock has left it."""
    alone = Summaries(0, 1, LOG, None)
    alone.add(NOW, finding(1), "s")

    assert (frozenset(), []) == (alone.asks(NEXT), alone.take(NOW))
    assert [(NOW, "a", 1, 1, 0)] == counted(alone.take(NEXT))


def test_summaries_of_an_hour_have_one_uid() -> None:
    """Whatever trace it is about, a receiver that removes doubles has one summary of a rule and an hour."""
    first, second, later = (summary(one, FINDING.rule) for one in (withheld(1), withheld(2), withheld(3, NEXT)))

    assert first.uid == second.uid
    assert 3 == len({first.uid, later.uid, finding(1).uid})


def test_a_window_that_closes_as_of_the_hour_before_is_of_its_hour() -> None:
    """Where input ends, windows close as of their last record, which may lie before the hour in which they count."""
    assert summary(withheld(1, NEXT), FINDING.rule).hour_ms == NEXT.number * HOUR_MS


def withheld(number: int, hour: Hour = NOW) -> Withheld:
    """One finding that was withheld."""
    summaries = Summaries(0, 1, LOG, None)
    summaries.add(hour, finding(number), "s")
    [found] = summaries.withheld
    return found


def test_summary_says_what_it_is() -> None:
    """Its sentence says how many were withheld in which hour, and names the first."""
    one, many = withheld(1), replace(withheld(1), count=1_203)

    said = sentence(summary(many, FINDING.rule))

    assert said == (
        "1,203 signals of this rule were withheld in the hour from 2026-01-05T11:00:00.000Z, over the limit of signals "
        "in an hour; the verdicts count all of them. The first: trace 00000000000000000000000000000001 is broken"
    )
    assert sentence(summary(one, FINDING.rule)).startswith("1 signal of this rule was withheld in the hour from 2026")
