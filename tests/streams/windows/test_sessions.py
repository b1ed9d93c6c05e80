"""Where windows and chains begin and end, each boundary exactly and one tick beside it."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from streams.windows.chain import Bounds, Chain, EndedChain
from streams.windows.close import CloseReason
from streams.windows.reorder import Arrival
from streams.windows.sessions import LostTime, Sessions, counted_atoms
from tests.support.builders import ATOM, BOUNDS, TOPIC, TRACE, Story, entry, fact, trace_id
from topics.records.facts import TICK_MS

QUIET, CUT = CloseReason.QUIET, CloseReason.MAX_DURATION
SHORT = Bounds(gap=10, lateness=0, max_duration=30)
OTHER = trace_id("other")


def test_extend_forward_exact_gap() -> None:
    """A record exactly the gap after the last one belongs to the same window."""
    story = Story().hit(0, 10)

    windows = story.windows(21)

    assert [(0, 10, QUIET, True)] == windows


def test_extend_forward_one_tick_beyond_gap() -> None:
    """A record one tick later than the gap opens another window."""
    story = Story().hit(0, 11)

    windows = story.windows(22)

    assert [(0, 0, QUIET, True), (11, 11, QUIET, True)] == windows


def test_open_while_clock_is_at_gap() -> None:
    """Until the clock has passed last + gap, a record may still arrive, so the window stays open."""
    story = Story().hit(0)

    windows = story.windows(10)

    assert [] == windows
    assert [(0, 0, QUIET, True)] == story.windows(11)


def test_quiet_closes_at_last_plus_gap() -> None:
    """The time of a quiet close is the last arrival plus the gap, however far the clock has advanced."""
    story = Story().hit(3)

    [close] = story.until(90)

    assert (3 + 10) * TICK_MS == close.closed_ms


def test_close_exactly_at_max_duration() -> None:
    """A window that still gets records closes at first + max_duration; a record in that tick opens the next one."""
    story = Story().hit(*range(0, 101, 10))

    windows = story.windows(111)

    assert [(0, 90, CUT, False), (100, 100, QUIET, True)] == windows


def test_close_time_at_max_duration() -> None:
    """The time of such a close is the tick at which the window reached max_duration."""
    story = Story().hit(*range(0, 100, 10))

    [close] = story.until(100)

    assert 100 * TICK_MS == close.closed_ms


def test_quiet_and_max_duration_in_one_tick() -> None:
    """A window that has been quiet for the whole gap when it reaches max_duration is whole."""
    story = Story().hit(*range(0, 90, 10), 89)

    windows = story.windows(100)

    assert [(0, 89, QUIET, True)] == windows


def test_one_tick_short_of_quiet_at_max_duration() -> None:
    """A window that would be quiet one tick after max_duration closes as incomplete."""
    story = Story().hit(*range(0, 91, 10))

    windows = story.windows(101)

    assert [(0, 90, CUT, False)] == windows


def test_chain_continues_within_gap_and_lateness() -> None:
    """A window that opens gap + lateness after the last arrival has the facts of the previous one."""
    story = Story().hit(0, 60)

    closes = story.until(71)

    assert [0, 0] == [close.chain_first for close in closes]


def test_chain_does_not_continue_one_tick_later() -> None:
    """A window that opens one tick later begins a new chain, which is whole."""
    story = Story().hit(0, 61)

    closes = story.until(72)

    assert [(0, True), (61, True)] == [(close.chain_first, close.whole) for close in closes]


def test_chain_is_counted_from_its_last_window() -> None:
    """A window keeps its chain for gap + lateness after its own last arrival."""
    story = Story().hit(0, 60, 120)

    closes = story.until(131)

    assert [0, 0, 0] == [close.chain_first for close in closes]


def test_chain_ends_at_max_duration_plus_lateness() -> None:
    """At first + max_duration + lateness an open window closes, and a record in that tick begins a headless chain."""
    story = Story().hit(0, 60, 120, 130, 140, 150)

    closes = story.until(161)

    assert [(0, 0, True), (0, 60, True), (0, 120, False), (150, 150, False)] == [
        (close.chain_first, close.first, close.whole) for close in closes
    ]


def test_window_open_at_chain_end_is_incomplete() -> None:
    """A window that still gets records when its chain ends closes there as incomplete."""
    story = Story().hit(0, 60, 120, 130, 140)

    windows = story.windows(150)

    assert (120, 140, CUT, False) == windows[-1]


def test_window_quiet_at_chain_end_is_whole() -> None:
    """A window that becomes quiet in the very tick at which its chain ends is whole."""
    story = Story().hit(0, 60, 120, 130, 139)

    windows = story.windows(150)

    assert (120, 139, QUIET, True) == windows[-1]


def test_record_one_tick_before_chain_end() -> None:
    """A record one tick before the end of its chain still belongs to it."""
    story = Story().hit(0, 60, 110, 149)

    closes = story.until(150)

    assert (0, 149, CUT) == (closes[-1].chain_first, closes[-1].first, closes[-1].reason)


def test_trace_with_a_refused_record_is_not_whole() -> None:
    """A trace with a refused record is not whole, whether it had a chain before or gets one by it."""
    sessions = Sessions(BOUNDS, {})
    refused = msgspec.structs.replace(entry(5, trace=trace_id("b")), facts=[], is_incomplete=True)
    for each in (entry(5), entry(6, trace=trace_id("b")), entry(5, trace=trace_id("c")), refused):
        sessions.buffer.add(each.tick, Arrival(TOPIC, 0, each), 0)
    alone = msgspec.structs.replace(refused, trace_id=trace_id("d"))
    sessions.buffer.add(5, Arrival(TOPIC, 0, alone), 0)

    closes = {close.trace_id: close.whole for close in sessions.end()}

    assert {trace_id("a"): True, trace_id("b"): False, trace_id("c"): True, trace_id("d"): False} == closes


def test_headless_chain_is_never_whole() -> None:
    """A chain that begins in the middle of its trace is not whole, even when it becomes quiet."""
    story = Story().hit(0, 60, 110, 150)

    closes = story.until(161)

    assert (150, QUIET, False) == (closes[-1].chain_first, closes[-1].reason, closes[-1].whole)


def test_headless_is_forgotten_after_gap_and_lateness() -> None:
    """A trace that returns more than gap + lateness after its ended chain's last arrival is not headless."""
    story = Story().hit(0, 60, 110, 171)

    closes = story.until(182)

    assert (171, True) == (closes[-1].chain_first, closes[-1].whole)


def test_headless_is_known_until_gap_and_lateness() -> None:
    """A trace that returns exactly gap + lateness after its ended chain's last arrival is headless."""
    story = Story().hit(0, 60, 110, 170)

    closes = story.until(181)

    assert (170, False) == (closes[-1].chain_first, closes[-1].whole)


def test_ended_chain_is_only_a_marker() -> None:
    """Of an ended chain only a marker remains."""
    story = Story().hit(0, 60, 110)

    story.until(150)

    assert ([], [EndedChain(TRACE, 150, 171, 0, 0, 0)]) == (
        list(story.sessions.chains),
        [*story.sessions.ended.values()],
    )


def test_quiet_chain_is_removed_after_gap_and_lateness() -> None:
    """A chain is kept until no late record can join it, and not a tick longer."""
    story = Story().hit(0)
    story.until(60)
    kept = set(story.sessions.chains)

    story.until(61)

    assert ({TRACE}, set()) == (kept, set(story.sessions.chains))


def test_no_lateness() -> None:
    """Without lateness a chain is removed when its window is quiet."""
    story = Story(SHORT).hit(0, 11)

    closes = story.until(22)

    assert [0, 11] == [close.chain_first for close in closes]
    assert [] == list(story.sessions.chains)


def test_no_lateness_at_max_duration() -> None:
    """Without lateness a window at max_duration ends its chain; what follows is headless."""
    story = Story(SHORT).hit(0, 10, 20, 30)

    windows = story.windows(41)

    assert [(0, 20, CUT, False), (30, 30, QUIET, False)] == windows


def test_touch_opens_nothing() -> None:
    """A trace without a hit has no window."""
    story = Story().touch(0, 5)

    windows = story.windows(1000)

    assert [] == windows
    assert [] == list(story.sessions.chains)


def test_touch_extends_open_window() -> None:
    """A record without a hit keeps an open window open."""
    story = Story().hit(0).touch(10)

    windows = story.windows(21)

    assert [(0, 10, QUIET, True)] == windows


def test_touch_opens_the_window_of_a_chain() -> None:
    """After a hit every record of the trace counts; hits of other rules make no difference."""
    story = Story().hit(0, 61).touch(11)

    closes = story.until(72)

    assert [(0, 0), (0, 11), (0, 61)] == [(close.chain_first, close.last) for close in closes]


def test_touch_beyond_the_chain_opens_nothing() -> None:
    """A record without a hit after the chain's end begins no chain."""
    story = Story().hit(0).touch(61)

    windows = story.windows(1000)

    assert [(0, 0, QUIET, True)] == windows


def test_touch_before_hit_of_the_same_tick() -> None:
    """The order in which a touch and a hit of the same tick are read makes no difference."""
    story = Story().touch(0).hit(0)

    [close] = story.sessions.advance(11 * TICK_MS)

    assert (0, 0, 2) == (close.window.first, close.window.last, close.window.span_count)


def test_late_hit_joins_facts() -> None:
    """A window is judged with the facts of the earlier windows of its chain."""
    sessions = Story().sessions
    sessions.buffer.add(0, Arrival(TOPIC, 0, entry(0, fact(atom=b"access"))), 0)
    sessions.buffer.add(20, Arrival(TOPIC, 0, entry(20, fact(atom=b"audit"))), 0)

    [_, late] = sessions.advance(31 * TICK_MS)

    assert {b"access", b"audit"} == set(late.chain.facts)


def test_closes_in_order_of_time_then_trace() -> None:
    """Windows close in the order of their times, then of trace ids, however far the clock jumps."""
    early, late = trace_id("z"), trace_id("b")
    story = Story().hit(0, 10, 20, trace=late).hit(1, trace=early).hit(20)

    closes = story.until(500)

    assert [early, TRACE, late] == [close.trace for close in closes]


def test_trace_that_never_ends() -> None:
    """A trace that keeps returning takes no more memory than any other."""
    story = Story().hit(*range(0, 40_000, 20))

    story.until(40_000)

    assert 1 == len(story.sessions.chains) + len(story.sessions.ended)
    assert len(story.sessions.chains._wheel) < 10


def test_lost_time_in_window() -> None:
    """A window during which input was lost is not whole."""
    story = Story().hit(100)
    story.sessions.lost = [LostTime(TOPIC, 0, 0, 9_000)]

    windows = story.windows(111)

    assert [(100, 100, QUIET, False)] == windows


def test_record_out_of_bounds() -> None:
    """A trace is not whole from a record with an untrusted timestamp on; such a mark alone opens no window."""
    story = Story().hit(10).mark(12).hit(200, trace=OTHER).mark(5).mark(190, trace=OTHER)

    assert [(10, 12, QUIET, False), (200, 200, QUIET, True)] == story.windows(400)


def test_mark_in_the_tick_of_the_first_hit() -> None:
    """The record that brought the hit has the untrusted timestamp."""
    story = Story().mark(10).hit(10)

    assert [(10, 10, QUIET, False)] == story.windows(400)


def test_late_record_out_of_bounds() -> None:
    """Earlier verdicts on the trace are amended: the chain is not whole any more."""
    story = Story().hit(10)
    whole = story.windows(50)

    story.hit(60).mark(60)

    assert [True, False] == [is_whole for *_, is_whole in whole + story.windows(400)]


def test_lost_time_ends_before_window() -> None:
    """A loss more than gap + lateness before the first arrival has no effect."""
    story = Story().hit(100)
    story.sessions.lost = [LostTime(TOPIC, 0, 0, 3_999)]

    windows = story.windows(111)

    assert [(100, 100, QUIET, True)] == windows


def test_lost_time_begins_in_last_tick_of_gap() -> None:
    """A loss in the last tick in which a record could have extended the window makes it not whole."""
    story = Story().hit(100)
    story.sessions.lost = [LostTime(TOPIC, 0, 11_099, None)]

    windows = story.windows(111)

    assert [(100, 100, QUIET, False)] == windows


def test_lost_time_begins_after_window() -> None:
    """A loss after the window had become quiet has no effect."""
    story = Story().hit(100)
    story.sessions.lost = [LostTime(TOPIC, 0, 11_100, None)]

    windows = story.windows(111)

    assert [(100, 100, QUIET, True)] == windows


def test_lost_time_stays_with_chain() -> None:
    """A chain that missed input once is not whole, also after the loss."""
    story = Story().hit(100, 150)
    story.sessions.lost = [LostTime(TOPIC, 0, 9_000, 9_500)]
    story.until(111)
    story.sessions.lost = []

    windows = story.windows(161)

    assert [(150, 150, QUIET, False)] == windows


def test_end_of_input() -> None:
    """When the input ends, every open window closes as whole, with everything buffered."""
    story = Story().hit(0, 20).hit(15, trace=trace_id("b"))
    story.until(3)

    closes = [(close.trace, close.first, close.reason, close.whole) for close in story.end()]

    assert [
        (TRACE, 0, QUIET, True),
        (TRACE, 20, CloseReason.END_OF_INPUT, True),
        (trace_id("b"), 15, CloseReason.END_OF_INPUT, True),
    ] == closes
    assert story.sessions.is_empty


def test_sources_widen() -> None:
    """A chain has, in a fixed order, the range of records of each source partition that contributed facts."""
    chain = Chain(0, 0, 0, 0)

    chain.add_source("otlp_spans", 1, 7, 9)
    chain.add_source("otlp_logs", 2, 1, 1)
    chain.add_source("otlp_spans", 1, 5, 8)

    assert [("otlp_logs", 2, 1, 1), ("otlp_spans", 1, 5, 9)] == [
        (at.topic, at.partition, at.first_offset, at.last_offset) for at in chain.sources
    ]


def test_root_is_remembered_and_spans_are_counted() -> None:
    """A window knows whether the root was among its records, and how many spans they had."""
    story = Story().hit(0).touch(4)
    story.sessions.buffer.add(2, Arrival(TOPIC, 0, entry(2, root_seen=True)), 0)

    [close] = story.sessions.advance(15 * TICK_MS)

    assert (True, 3) == (close.window.root_seen, close.window.span_count)


def test_open_windows() -> None:
    """Only open windows are counted, not chains that wait for late records."""
    story = Story().hit(0).hit(50, trace=trace_id("b"))

    story.until(55)

    assert (1, 2) == (story.sessions.open_windows, len(story.sessions.chains))
    assert not story.sessions.is_empty


def test_counted_atoms() -> None:
    """Atoms that no rule counts keep no identities."""
    counted = counted_atoms([(ATOM, 4), (b"other", 0)])

    assert {ATOM: 4} == counted


def test_bounds_are_rounded_down_to_ticks() -> None:
    """Bounds are whole ticks."""
    bounds = Bounds.of_ms(gap_ms=1_099, lateness_ms=99, max_duration_ms=5_000)

    assert Bounds(gap=10, lateness=0, max_duration=50) == bounds


@given(st.integers(0, 200), st.none() | st.integers(0, 200), st.integers(0, 200), st.integers(1, 200))
def test_lost_time_overlaps(lost_ms: int, lost_length_ms: int | None, from_ms: int, length_ms: int) -> None:
    """Two spans of time overlap if they share a millisecond."""
    to_ms = from_ms + length_ms
    lost = LostTime(TOPIC, 0, lost_ms, None if lost_length_ms is None else lost_ms + lost_length_ms)

    overlaps = lost.overlaps(from_ms, to_ms)

    last_ms = to_ms if lost.to_ms is None else lost.to_ms
    assert any(lost_ms <= ms <= last_ms for ms in range(from_ms, to_ms)) == overlaps


def test_settled_time_ends_at_the_first_open_window() -> None:
    """Everything before the earliest open window is judged; without open windows, everything up to the clock."""
    story = Story().hit(3).hit(5, 12, trace=trace_id("b"))

    settled = []
    for tick in (2, 4, 14, 23, 60):
        story.until(tick)
        settled.append(story.sessions.settled_tick())

    assert [2, 3, 5, 23, 60] == settled


def test_final_time_ends_at_the_first_chain() -> None:
    """No verdict before the earliest remembered chain can be amended."""
    story = Story(SHORT_LATE).hit(3).hit(20, trace=trace_id("b"))

    final = []
    for tick in (2, 15, 18, 19, 36):
        story.until(tick)
        final.append(story.sessions.final_tick())

    assert [2, 3, 3, 19, 36] == final


SHORT_LATE = Bounds(gap=10, lateness=5, max_duration=30)
