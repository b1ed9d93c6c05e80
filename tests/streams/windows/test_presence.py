"""Since when a trace is there: what begins a presence, what continues it, and what is stored of a long one."""

from __future__ import annotations

from msgspec.structs import replace

from streams.windows.presence import LongPresence, Presence, Presences
from tests.support.builders import BOUNDS, TRACE

REACH = BOUNDS.gap + BOUNDS.lateness


def watched(*ticks: int) -> Presences:
    """The trace arrives at these ticks in a time of watch, each in a facts message of its own."""
    presences = Presences(BOUNDS)
    for number, tick in enumerate(ticks):
        presences.expire(tick, number)
        presences.observe(TRACE, tick, number, tracks_presence=True)
    return presences


def known(presences: Presences) -> Presence | None:
    """The trace's presence; when it is looked at next is not compared."""
    presence = presences.get(TRACE)
    return presence and replace(presence, due=0)


def arrived(presences: Presences, tick: int) -> Presence | None:
    """The trace arrives when there is no watch any more; its presence afterwards."""
    presences.expire(tick, 9)
    presences.observe(TRACE, tick, 9, tracks_presence=False)
    return known(presences)


def test_only_a_watch_begins_one() -> None:
    """Without a watch nothing is remembered of a trace."""
    assert arrived(Presences(BOUNDS), 5) is None


def test_arrivals_in_a_watch_belong_together() -> None:
    """While there is a watch a touch counts as a hit: within gap + lateness the trace is the same."""
    assert Presence(3, 3 + REACH, 0) == known(watched(3, 3 + REACH))


def test_silence_ends_it() -> None:
    """One tick beyond gap + lateness the trace begins anew."""
    assert Presence(4 + REACH, 4 + REACH, 1) == known(watched(3, 4 + REACH))


def test_any_arrival_continues_it() -> None:
    """Afterwards a touch within gap + lateness continues it: it would continue a chain that nobody knows of."""
    assert Presence(3, 3 + REACH, 0) == arrived(watched(3), 3 + REACH)


def test_arrival_after_silence_does_not() -> None:
    """One tick later the trace is gone, and without a watch nothing begins."""
    assert arrived(watched(3), 4 + REACH) is None


def test_it_is_over_after_silence() -> None:
    """Nothing is kept of a trace that is gone, and the facts log is needed no more."""
    presences = watched(3)

    presences.expire(4 + REACH, 1)

    assert (0, None, []) == (len(presences), presences.lowest_required_offset(), presences.long_presences())


def test_long_one_keeps_no_log() -> None:
    """Of a trace that does not end the position tells, so that the facts log can be cut."""
    presences = watched(*range(3, 200, 5))

    assert presences.lowest_required_offset() is None
    assert [LongPresence(TRACE, 3, 198, 0, None)] == presences.long_presences()


def test_long_one_is_told_of_until_its_tail_is_gone() -> None:
    """While the log may be read from the middle of it, it is known that the trace was there."""
    presences = watched(*range(3, 200, 5))
    presences.expire(300, 50)
    over = [LongPresence(TRACE, 3, 198, 0, 50)]

    kept = presences.long_presences()
    presences.drop_ended(50)
    still = presences.long_presences()
    presences.drop_ended(51)

    assert (over, over, []) == (kept, still, presences.long_presences())


def test_tail_of_a_long_one_begins_nothing() -> None:
    """A worker that reads the log from the middle of such a trace knows since when it is there."""
    presences = Presences(BOUNDS)
    presences.restore_long([LongPresence(TRACE, 3, 198, 0, None)])

    presences.observe(TRACE, 150, 20, tracks_presence=True)

    assert Presence(3, 198, 0, is_old=True) == known(presences)
