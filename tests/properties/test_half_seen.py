"""No rule judges a trace it saw half of: what a rule says after a push, a start or a loss is what it always said."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from streams.windows.chain import Bounds
from streams.windows.close import Close, CloseReason
from streams.windows.partition import Partition
from streams.windows.positions import Position
from streams.windows.sessions import Sessions
from tests.properties import reference
from tests.properties.reference import Record
from tests.support.builders import TOPIC, Closed, closed, fact, message, section, trace_id
from topics.records.facts import TICK_MS, Entry, Facts, Section, Touch

OLD, NEW = b"old", b"new"
RULES = {"one": frozenset({"old"}), "two": frozenset({"old", "new"})}
BOUNDS = Bounds(gap=10, lateness=30, max_duration=50)
REACH = BOUNDS.gap + BOUNDS.lateness
LAST_TICK = 400
FAR_TICK = LAST_TICK + BOUNDS.gap + BOUNDS.max_duration + BOUNDS.lateness

hits = st.sampled_from(((), (), (), (), (fact(1, atom=OLD),), (fact(2, atom=NEW),)))
ticks = st.lists(st.integers(1, 25) | st.just(60), min_size=4, max_size=40)


@st.composite
def histories(draw: st.DrawFn) -> list[Record]:
    """Records of two traces, most of them touches and close enough to one another to keep a trace alive."""
    found = []
    for name in "ab":
        tick = 0
        for step in draw(ticks):
            tick += step
            if tick > LAST_TICK:
                break
            found.append(Record(trace_id(name), tick, draw(hits)))
    return found


def told(records: Iterable[Record], from_offset: int, watermark: int, **options: object) -> Section:
    """One section with these records, and the watermark at a tick."""
    arrived = list(records)
    entries = [
        Entry(each.trace, from_offset, from_offset, each.tick, 1, root_seen=False, facts=list(each.facts))
        for each in arrived
        if each.facts
    ]
    touches = [Touch(each.trace, each.tick, 1) for each in arrived if not each.facts]
    return section(from_offset, from_offset + 1, watermark * TICK_MS, entries, touches, **options)  # type: ignore[arg-type]


def judged(log: Iterable[Facts], *, evict_at: int | None = None) -> list[tuple[Close, Closed, frozenset[str]]]:
    """Every close, as it was, with the rules that judge it; all windows leave before message `evict_at`."""
    partition = Partition(
        (TOPIC,),
        Sessions(BOUNDS, {}),
        RULES.__getitem__,
        out_of_order_ms=0,
        position=Position.initial(0),
    )
    found = []
    for offset, each in enumerate(log):
        if offset == evict_at:
            partition.evict()
        for close in partition.apply(offset, each):
            rules = partition.rules.judging(
                RULES.__getitem__, chain_first_ms=close.known_from_ms, reach_ms=REACH * TICK_MS
            )
            found.append((close, closed(close), rules))
    return found


def without(records: Iterable[Record], atom: bytes) -> list[Record]:
    """The records as rules saw them that do not name the atom."""
    return [Record(each.trace, each.tick, tuple(f for f in each.facts if f.atom != atom)) for each in records]


def truth(records: Iterable[Record]) -> list[Closed]:
    """What closes when every record is read, with all rules."""
    return reference.closes(records, BOUNDS, {}, FAR_TICK)


def steady(tick: int, *, hit_at: tuple[int, ...]) -> list[Record]:
    """A trace with a record every five ticks up to a tick, hits of the new rule at some."""
    return [
        Record(trace_id("a"), each, (fact(each, atom=NEW),) if each in hit_at else ()) for each in range(0, tick, 5)
    ]


def sparse() -> list[Record]:
    """A trace whose touches are further apart than the gap: they keep a chain alive, and would open no window."""
    return [
        Record(trace_id("a"), each, (fact(each, atom=NEW),) if each in (3, 78) else ()) for each in range(3, 79, 25)
    ]


@given(histories(), st.integers(0, 200))
@example(steady(200, hit_at=(50, 150)), 60)
@example(sparse(), 5)
def test_pushed_rule(records: list[Record], pushed: int) -> None:
    """What a pushed rule judges it would have judged the same had it been there from the beginning."""
    before = without([each for each in records if each.tick <= pushed], NEW)
    after = [each for each in records if each.tick > pushed]

    log = [message(told(before, 0, pushed), rules="one"), message(told(after, 1, FAR_TICK), rules="two")]
    found = [was for _, was, rules in judged(log) if "new" in rules]

    assert [] == [each for each in found if each not in truth(records)]


@given(histories(), st.integers(0, 200))
@example(steady(200, hit_at=(50, 150)), 60)
@example(sparse(), 5)
def test_start_in_the_middle(records: list[Record], begun: int) -> None:
    """What is judged after a start that missed the first records is what had been judged with them."""
    after = [each for each in records if each.tick > begun]

    first = replace(told(after, 1, FAR_TICK), missing_until_ms=begun * TICK_MS)
    found = [was for _, was, rules in judged([message(first, rules="two")]) if rules]

    assert [] == [each for each in found if each not in truth(records)]


@given(histories(), st.integers(0, 150), st.integers(0, 60))
@example(steady(200, hit_at=(50, 150)), 45, 10)
@example(sparse(), 1, 4)
def test_lost_input(records: list[Record], lost_from: int, length: int) -> None:
    """What counts as whole after a loss is what had been there without it; what was there then is not whole."""
    lost_to = lost_from + length
    before = [each for each in records if each.tick < lost_from]
    after = [each for each in records if each.tick > lost_to]

    resumed = replace(told(after, 1, FAR_TICK, lost=[(1, 2)]), lost_until_ms=lost_to * TICK_MS)
    found = [
        was
        for _, was, _ in judged([message(told(before, 0, lost_from), rules="two"), message(resumed, rules="two")])
        if was.whole
    ]

    assert [] == [each for each in found if each not in truth(records)]


@given(histories(), st.integers(1, 200))
@example(steady(200, hit_at=(50, 150)), 60)
@example(sparse(), 5)
def test_eviction(records: list[Record], evicted: int) -> None:
    """What counts as whole after all windows had to leave is what it had been; those that left do not."""
    before = [each for each in records if each.tick < evicted]
    after = [each for each in records if each.tick >= evicted]

    log = [message(told(before, 0, evicted), rules="two"), message(told(after, 1, FAR_TICK), rules="two")]
    found = judged(log, evict_at=1)

    assert [] == [was for _, was, rules in found if rules and was.whole and was not in truth(records)]
    assert [] == [was for _, was, _ in found if was.whole and was.reason is CloseReason.DISK_LIMIT]
