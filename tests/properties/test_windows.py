"""The laws of facts and sessions: neither order, nor grouping, nor repetition matters."""

from __future__ import annotations

import copy
from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from streams.windows.chain import Bounds
from streams.windows.facts import AtomFacts
from streams.windows.reorder import Arrival
from streams.windows.sessions import Sessions
from tests.properties import reference
from tests.properties.reference import Record
from tests.support.builders import TOPIC, Closed, closed, trace_id
from topics.records.facts import TICK_MS, Entry, Fact, Touch, Witness, pack_touches

ATOMS = (b"access", b"audit")
COUNTED = {b"access": 3}
BOUNDS = Bounds(gap=10, lateness=30, max_duration=50)
LAST_TICK = 200
# Past the last tick a chain lives at most this long: everything has closed by then.
FAR_TICK = LAST_TICK + BOUNDS.gap + BOUNDS.max_duration + BOUNDS.lateness

witnesses = st.builds(
    Witness,
    st.sampled_from(("login", "read")),
    st.none() | st.just("shop"),
    st.none(),
    st.dictionaries(
        st.sampled_from(("user.id", "role")), st.none() | st.booleans() | st.integers(0, 3) | st.text("ab")
    ),
)
hits = st.builds(
    Fact,
    st.sampled_from(ATOMS),
    st.integers(0, 12).map(lambda span: span.to_bytes(8, "big")),
    st.none() | st.integers(0, 4),
    witnesses,
)
keyed_hits = st.builds(
    replace,
    hits,
    keys=st.tuples(st.tuples(st.none() | st.lists(st.sampled_from((b"x", b"y", b"z")), max_size=2).map(tuple))),
)
"""Facts with the values that a pair compares or, if their atom is counted, that are counted instead of spans."""

facts = st.tuples(st.integers(0, 9), hits | keyed_hits)
"""A fact and the tick of its record."""

counts = st.integers(0, 6)
records = st.builds(
    Record,
    st.sampled_from("abc").map(trace_id),
    st.integers(0, LAST_TICK),
    st.lists(hits, max_size=2).map(tuple),
)


def remembered(hits: list[tuple[int, Fact]], counted: int) -> AtomFacts:
    """The facts one by one."""
    found = AtomFacts()
    for tick, hit in hits:
        found.add(hit, counted, tick)
    return found


def merged(one: AtomFacts, other: AtomFacts, counted: int) -> AtomFacts:
    """Both, without changing either."""
    found = copy.deepcopy(one)
    found.merge(other, counted, b"")
    return found


@given(st.lists(facts), st.randoms(use_true_random=False), counts)
def test_adding_commutes(hits: list[tuple[int, Fact]], random: Random, counted: int) -> None:
    """The order in which facts come makes no difference."""
    shuffled = list(hits)
    random.shuffle(shuffled)

    found = remembered(shuffled, counted)

    assert remembered(hits, counted) == found


@given(st.lists(facts), counts)
def test_adding_is_idempotent(hits: list[tuple[int, Fact]], counted: int) -> None:
    """Facts that come again change nothing."""
    found = remembered(hits + hits, counted)

    assert remembered(hits, counted) == found


@given(st.lists(st.lists(facts)), counts)
def test_batches_make_no_difference(batches: list[list[tuple[int, Fact]]], counted: int) -> None:
    """Facts that are merged batch by batch are the same as one by one."""
    found = AtomFacts()
    for batch in batches:
        found.merge(remembered(batch, counted), counted, b"")

    assert remembered([hit for batch in batches for hit in batch], counted) == found


@given(st.lists(facts), st.lists(facts), counts)
def test_merging_commutes(one: list[tuple[int, Fact]], other: list[tuple[int, Fact]], counted: int) -> None:
    """Which of two is merged into which makes no difference."""
    left, right = remembered(one, counted), remembered(other, counted)

    found = merged(left, right, counted)

    assert merged(right, left, counted) == found


@given(st.lists(facts), st.lists(facts), st.lists(facts), counts)
def test_merging_associates(
    one: list[tuple[int, Fact]], two: list[tuple[int, Fact]], three: list[tuple[int, Fact]], counted: int
) -> None:
    """How three are grouped makes no difference."""
    first, second, third = (remembered(hits, counted) for hits in (one, two, three))

    found = merged(merged(first, second, counted), third, counted)

    assert merged(first, merged(second, third, counted), counted) == found


@given(st.lists(facts), counts)
def test_merging_is_idempotent(hits: list[tuple[int, Fact]], counted: int) -> None:
    """What is merged with itself stays as it is."""
    found = remembered(hits, counted)

    assert found == merged(found, found, counted)


def wait(sessions: Sessions, record: Record) -> None:
    """The record is read."""
    if record.facts:
        entry = Entry(record.trace, 0, 0, record.tick, 1, False, list(record.facts))  # noqa: FBT003, as on the topic
        sessions.buffer.add(record.tick, Arrival(TOPIC, 0, entry), 0)
    else:
        sessions.buffer.add_touches(record.tick, pack_touches([Touch(record.trace, record.tick, 1)]), 0)


@st.composite
def tellings(draw: st.DrawFn) -> list[Record | int]:
    """Records in any order, and between them clock values (ms) that pass no tick of a record still to come."""
    told: list[Record | int] = []
    waiting = draw(st.permutations(draw(st.lists(records, max_size=40))))
    while waiting:
        count = draw(st.integers(1, len(waiting)))
        told += waiting[:count]
        waiting = waiting[count:]
        highest_ms = min((record.tick for record in waiting), default=FAR_TICK) * TICK_MS + TICK_MS - 1
        told += draw(st.lists(st.integers(0, highest_ms), max_size=4).map(sorted))
    return [*told, FAR_TICK * TICK_MS]


@given(tellings())
def test_windows_are_those_of_the_reference(told: list[Record | int]) -> None:
    """Whatever the order of reading and the steps of the clock, the closes and their order are the reference's."""
    sessions = Sessions(BOUNDS, COUNTED)
    found: list[Closed] = []

    for each in told:
        if isinstance(each, int):
            found += [closed(close) for close in sessions.advance(each)]
        else:
            wait(sessions, each)

    arrived = [each for each in told if isinstance(each, Record)]
    assert reference.closes(arrived, BOUNDS, COUNTED, FAR_TICK) == found
    assert [] == list(sessions.chains)


@given(tellings())
def test_every_window_closes_once(told: list[Record | int]) -> None:
    """No two windows of a trace overlap, and every hit lies in exactly one."""
    sessions = Sessions(BOUNDS, COUNTED)
    hits = [each for each in told if isinstance(each, Record) and each.facts]
    for hit in hits:
        wait(sessions, hit)

    closes = [closed(close) for close in sessions.advance(FAR_TICK * TICK_MS)]

    places = {(hit.trace, hit.tick) for hit in hits}
    windows_of_place = Counter(
        (trace, tick)
        for trace, tick in places
        for close in closes
        if close.trace == trace and close.first <= tick <= close.last
    )
    assert dict.fromkeys(places, 1) == windows_of_place
