"""Summaries of withheld findings, with checkpoints as values."""

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
    """Create the finding of a trace."""
    return replace(
        FINDING,
        rule=replace(RULE, id=rule),
        trace_id=number.to_bytes(16, "big"),
        closed_ms=FINDING.closed_ms + late_ms,
    )


def checkpoint(of: Summaries, reached: Hour | None, log: str = LOG) -> Checkpoint:
    """Create the checkpoint of a facts partition."""
    made = Checkpoint(
        version=checkpoints.VERSION,
        topic_id=log,
        published_to=0,
        start_offset=0,
        start=b"",
        covered=b"",
        withheld=of.withheld,
        reached=reached,
        summarized_to=of.summarized_to,
    )
    return checkpoints.decode(checkpoints.encode(made))


def counted(withheld: list[Withheld]) -> list[tuple[Hour, str, int, int, int]]:
    """Return, for each, hour, rule, count, and the trace and partition of the first."""
    return [(each.hour, each.rule, each.count, each.first.trace_id[-1], each.first.partition) for each in withheld]


def pair() -> tuple[Summaries, Summaries]:
    """The partition that publishes and another one, each of which withheld something in an hour."""
    publishing, other = Summaries(0, 2, LOG, None), Summaries(1, 2, LOG, None)
    publishing.add(NOW, finding(1, late_ms=5), "s")
    other.add(NOW, finding(2), "s")
    other.add(NOW, finding(3), "s")
    other.add(NOW, finding(4, rule="b"), "s")
    return publishing, other


def test_hour_is_summarized_when_every_partition_has_left_it() -> None:
    """Each rule has one sum over all partitions, about the earliest finding."""
    publishing, other = pair()
    assert {1} == publishing.required_checkpoints(NEXT)

    publishing.receive_checkpoints({1: checkpoint(other, NOW)})
    too_early = publishing.take(NEXT)
    publishing.receive_checkpoints({1: checkpoint(other, NEXT)})
    due = publishing.take(NEXT)

    assert [] == too_early
    assert [(NOW, "a", 3, 2, 1), (NOW, "b", 1, 4, 1)] == counted(due)
    assert ([], frozenset()) == (publishing.take(NEXT), publishing.required_checkpoints(NEXT))
    assert [] == publishing.withheld


@pytest.mark.parametrize("said", [None, "no hour", "an earlier log"])
def test_partition_without_a_checkpoint_is_awaited(said: str | None) -> None:
    """A partition whose checkpoint is missing, or of an earlier version or log, may still withhold findings."""
    publishing, other = pair()
    log, reached = (EARLIER, Hour(EARLIER, 0, HOUR + 9)) if said == "an earlier log" else (LOG, None)

    publishing.receive_checkpoints({1: checkpoint(other, reached, log) if said else None})

    assert [] == publishing.take(NEXT)


def test_other_partitions_forget_only_summarized_counts() -> None:
    """They query the publisher when an hour is over, and keep their counts until it has published."""
    publishing, other = pair()
    other.add(NEXT, finding(5), "s")
    assert not other.required_checkpoints(NOW)
    assert {0} == other.required_checkpoints(NEXT)

    other.receive_checkpoints({0: checkpoint(publishing, NEXT)})
    before = len(other.withheld)
    publishing.receive_checkpoints({1: checkpoint(other, NEXT)})
    publishing.take(LATER)
    other.receive_checkpoints({0: checkpoint(publishing, LATER)})

    assert (3, [(NEXT, "a", 1, 5, 1)]) == (before, counted(other.withheld))
    assert {0} == other.required_checkpoints(LATER)


def test_summary_is_published_once() -> None:
    """A sum is published once, whichever worker takes over, and however late others forget."""
    publishing, other = pair()
    publishing.receive_checkpoints({1: checkpoint(other, NEXT)})
    publishing.take(NEXT)

    again = Summaries(0, 2, LOG, checkpoint(publishing, NEXT))
    other.add(NEXT, finding(5), "s")
    again.receive_checkpoints({1: checkpoint(other, LATER)})

    assert [(NEXT, "a", 1, 5, 1)] == counted(again.take(LATER))


def test_hours_start_over_after_a_reset() -> None:
    """After a reset the hours start over; those of the earlier reading are past, whatever the clock had reached."""
    publishing, other = pair()
    again, after = Hour(LOG, 7, HOUR), Hour(LOG, 7, HOUR + 1)
    other.add(again, finding(6), "s")

    publishing.receive_checkpoints({1: checkpoint(other, again)})
    first = publishing.take(Hour(LOG, 7, 0))
    publishing.receive_checkpoints({1: checkpoint(other, after)})
    second = publishing.take(after)

    assert [NOW, NOW] == [each.hour for each in first]
    assert [(again, "a", 1, 6, 1)] == counted(second)


def test_counts_of_an_earlier_log_are_summarized() -> None:
    """A recreated facts log has its own hours; the counts of the previous one are not forgotten."""
    publishing, other = pair()
    moved = [Summaries(number, 2, "new log", checkpoint(each, NOW)) for number, each in enumerate((publishing, other))]
    reached = Hour("new log", 0, 0)

    moved[0].receive_checkpoints({1: checkpoint(moved[1], reached, "new log")})
    first = moved[0].take(Hour("new log", 0, 1))
    moved[1].receive_checkpoints({0: checkpoint(moved[0], reached, "new log")})

    assert [(NOW, "a", 3, 2, 1), (NOW, "b", 1, 4, 1)] == counted(first)
    assert [] == moved[1].withheld


def test_without_a_limit_no_checkpoint_is_required() -> None:
    """Unless there was a limit before, and counts of that time may be due."""
    publishing, other = pair()

    never = Summaries(0, 2, LOG, None, is_limited=False)
    no_more = Summaries(0, 2, LOG, checkpoint(publishing, NOW), is_limited=False)
    no_more.receive_checkpoints({1: checkpoint(other, NEXT)})

    assert (frozenset(), []) == (never.required_checkpoints(LATER), never.take(LATER))
    assert {1} == no_more.required_checkpoints(NEXT)
    assert 2 == len(no_more.take(NEXT))


def test_single_partition_requires_no_checkpoint() -> None:
    """With one facts partition an hour is summed up as soon as its clock has left it."""
    alone = Summaries(0, 1, LOG, None)
    alone.add(NOW, finding(1), "s")

    assert (frozenset(), []) == (alone.required_checkpoints(NEXT), alone.take(NOW))
    assert [(NOW, "a", 1, 1, 0)] == counted(alone.take(NEXT))


def test_summaries_of_an_hour_have_one_uid() -> None:
    """A receiver that removes duplicates has one summary of a rule and hour, whatever trace it is about."""
    first, second, later = (summary(one, FINDING.rule) for one in (withheld(1), withheld(2), withheld(3, NEXT)))

    assert first.uid == second.uid
    assert 3 == len({first.uid, later.uid, finding(1).uid})


def test_window_that_closes_as_of_an_earlier_hour() -> None:
    """At the end of input, windows close as of their last record, which may precede the hour in which they count."""
    assert summary(withheld(1, NEXT), FINDING.rule).hour_ms == NEXT.number * HOUR_MS


def withheld(number: int, hour: Hour = NOW) -> Withheld:
    """Create one withheld finding."""
    summaries = Summaries(0, 1, LOG, None)
    summaries.add(hour, finding(number), "s")
    [found] = summaries.withheld
    return found


def test_sentence_of_a_summary() -> None:
    """Its sentence states how many were withheld in which hour, and names the first."""
    one, many = withheld(1), replace(withheld(1), count=1_203)

    said = sentence(summary(many, FINDING.rule))

    assert said == (
        "1,203 signals of this rule were withheld in the hour from 2026-01-05T11:00:00.000Z, over the limit of signals "
        "in an hour; the verdicts count all of them. The first: trace 00000000000000000000000000000001 is broken"
    )
    assert sentence(summary(one, FINDING.rule)).startswith("1 signal of this rule was withheld in the hour from 2026")
