"""Presences: what begins one, what continues it, and what is stored of a long one."""

from __future__ import annotations

from msgspec.structs import replace

from streams.windows.presence import LongPresence, Presence, Presences
from tests.support.builders import BOUNDS, TRACE

REACH = BOUNDS.gap + BOUNDS.lateness


def watched(*ticks: int) -> Presences:
    """Let the trace arrive at these ticks while presences are tracked, each in its own facts message."""
    presences = Presences(BOUNDS)
    for number, tick in enumerate(ticks):
        presences.expire(tick, number)
        presences.observe(TRACE, tick, number, tracks_presence=True)
    return presences


def known(presences: Presences) -> Presence | None:
    """Return the trace's presence without its timer."""
    presence = presences.get(TRACE)
    return presence and replace(presence, due=0)


def arrived(presences: Presences, tick: int) -> Presence | None:
    """Let the trace arrive after tracking has ended; return its presence."""
    presences.expire(tick, 9)
    presences.observe(TRACE, tick, 9, tracks_presence=False)
    return known(presences)


def test_presences_begin_only_while_tracked() -> None:
    """Nothing is remembered of a trace while presences are not tracked."""
    assert arrived(Presences(BOUNDS), 5) is None


def test_arrivals_while_tracked_continue_a_presence() -> None:
    """While presences are tracked, a touch counts like a hit: within gap + lateness the trace is the same."""
    assert Presence(since=3, last=3 + REACH, first_offset=0) == known(watched(3, 3 + REACH))


def test_presence_ends_after_gap_and_lateness() -> None:
    """One tick beyond gap + lateness a new presence begins."""
    assert Presence(since=4 + REACH, last=4 + REACH, first_offset=1) == known(watched(3, 4 + REACH))


def test_any_arrival_continues_a_presence() -> None:
    """After tracking, a touch within gap + lateness continues it, as it would continue an unseen chain."""
    assert Presence(since=3, last=3 + REACH, first_offset=0) == arrived(watched(3), 3 + REACH)


def test_arrival_after_the_end_begins_no_presence() -> None:
    """One tick later the presence has ended, and no other begins."""
    assert arrived(watched(3), 4 + REACH) is None


def test_ended_presence_is_removed() -> None:
    """Nothing is kept of an ended presence, and it requires no facts."""
    presences = watched(3)

    presences.expire(4 + REACH, 1)

    assert (0, None, []) == (len(presences), presences.lowest_required_offset(), presences.long_presences())


def test_long_presence_requires_no_facts() -> None:
    """The position has a presence that does not end, so that the facts log can be trimmed."""
    presences = watched(*range(3, 200, 5))

    assert presences.lowest_required_offset() is None
    assert [
        LongPresence(trace_id=TRACE, since=3, last=198, first_offset=0, last_offset=None)
    ] == presences.long_presences()


def test_long_presence_stays_in_the_position() -> None:
    """It stays in the position as long as a worker may read the log from the middle of it."""
    presences = watched(*range(3, 200, 5))
    presences.expire(300, 50)
    over = [LongPresence(trace_id=TRACE, since=3, last=198, first_offset=0, last_offset=50)]

    kept = presences.long_presences()
    presences.drop_ended(50)
    still = presences.long_presences()
    presences.drop_ended(51)

    assert (over, over, []) == (kept, still, presences.long_presences())


def test_tail_of_a_long_presence_begins_no_other() -> None:
    """A worker that reads the log from the middle of such a trace knows since when it is present."""
    presences = Presences(BOUNDS)
    presences.restore_long([LongPresence(trace_id=TRACE, since=3, last=198, first_offset=0, last_offset=None)])

    presences.observe(TRACE, 150, 20, tracks_presence=True)

    assert Presence(since=3, last=198, first_offset=0, is_old=True) == known(presences)
