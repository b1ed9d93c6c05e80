"""One facts partition: what is applied and at which tick, what is stored, and what is read again."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from streams.errors import StateError
from streams.windows.partition import MAX_RESUME_POINTS, Partition
from streams.windows.positions import Position
from streams.windows.rocksdb import FORMAT, Identity, Store
from streams.windows.sessions import LostTime, Sessions
from tests.support.builders import (
    BOUNDS,
    TOPIC,
    TRACE,
    Closed,
    closed,
    entry,
    fact,
    message,
    section,
    trace_id,
)
from topics.records.facts import Facts, Section, Touch

OUT_OF_ORDER_MS = 200
RULES = {"rules": frozenset({"a"}), "more": frozenset({"a", "b"})}
LOST = LostTime(TOPIC, 0, 1_000, None)


def partition_at(
    position: Position | None = None,
    *,
    topics: tuple[str, ...] = (TOPIC,),
    begin_offset: int = 0,
    store: Store | None = None,
) -> Partition:
    """Create a partition at a position, or at `begin_offset`."""
    return Partition(
        topics,
        Sessions(BOUNDS, {}, store),
        RULES.__getitem__,
        out_of_order_ms=OUT_OF_ORDER_MS,
        position=position or Position.initial(begin_offset),
    )


def apply_all(partition: Partition, *messages: Facts) -> list[Closed]:
    """Apply the next messages; return the closes."""
    return [closed(close) for message in messages for close in partition.apply(partition.next_offset, message)]


def clock(to_ms: int, offset: int = 0) -> Facts:
    """Create a section with only a watermark, at a source offset."""
    return message(section(offset, offset, to_ms))


def buffered_ticks(partition: Partition) -> list[int]:
    """Return the buffered ticks."""
    return sorted(partition.sessions.buffer._ticks)


def buffered_counts(partition: Partition) -> list[int]:
    """Return the number of arrivals in each buffered tick."""
    return [len(at.arrivals) for _, at in sorted(partition.sessions.buffer._ticks.items())]


def test_window_closes_when_the_clock_has_passed() -> None:
    """The contents of a message are applied, and windows close, when the watermarks have passed."""
    partition = partition_at()

    early = apply_all(partition, message(section(0, 5, 1_000, [entry(7)])))
    late = apply_all(partition, clock(1_800, 5))

    assert [] == early
    assert [(7, 7)] == [(close.first, close.last) for close in late]


def test_first_message_is_at_the_start_of_the_log() -> None:
    """Without a position the first message is that at the log's start."""
    partition = partition_at(begin_offset=40)

    list(partition.apply(40, clock(1_000)))

    assert 41 == partition.next_offset


def test_repeated_message_yields_nothing() -> None:
    """A repeated message changes nothing."""
    partition = partition_at()
    apply_all(partition, message(section(0, 5, 1_000, [entry(7)])), clock(1_500, 5))

    again = list(partition.apply(0, message(section(0, 5, 9_000, [entry(90)]))))

    assert [] == again
    assert (2, 1_500) == (partition.next_offset, partition.clock.now_ms)


def test_missing_message() -> None:
    """A message beyond the next one ends sessions with an action."""
    partition = partition_at()

    with pytest.raises(StateError, match=r"facts continue at offset 1, but the state ends at 0.*Action: "):
        list(partition.apply(1, clock(1_000)))


def test_entry_applied_before_is_not_applied_again() -> None:
    """Only the new part of a repeated flush is applied."""
    partition = partition_at()
    apply_all(partition, message(section(0, 5, None, [entry(7, offset=4)])))

    apply_all(partition, message(section(3, 6, None, [entry(7, offset=4), entry(8, offset=5)])))

    assert [7, 8] == buffered_ticks(partition)
    assert [1, 1] == buffered_counts(partition)


def test_entry_with_a_new_record_is_applied() -> None:
    """An entry with one new record is applied: a repeated flush may have different bounds."""
    partition = partition_at()
    apply_all(partition, message(section(0, 5, None, [entry(7, fact(1), offset=4)])))

    apply_all(partition, message(section(4, 6, None, [entry(7, fact(1), fact(2), offset=5)])))

    assert [2] == buffered_counts(partition)


def test_late_entry_is_applied_at_the_clock() -> None:
    """An entry below the clock is counted, and applied at the clock's tick."""
    partition = partition_at()
    apply_all(partition, clock(2_050))

    apply_all(partition, message(section(0, 5, None, [entry(19)])))

    assert [20] == buffered_ticks(partition)
    assert 1 == partition.late_count


def test_entry_at_the_clock_is_not_late() -> None:
    """An entry in the clock's own tick is not late."""
    partition = partition_at()
    apply_all(partition, clock(2_099))

    apply_all(partition, message(section(0, 5, None, [entry(20)])))

    assert [20] == buffered_ticks(partition)
    assert 0 == partition.late_count


def test_late_touch_extends_to_the_clock() -> None:
    """A touch below the clock extends an open window from the clock's tick on."""
    partition = partition_at()
    apply_all(partition, message(section(0, 5, 2_000, [entry(15)])))

    [close] = apply_all(partition, message(section(5, 6, None, (), [Touch(TRACE, 18, 1)])), clock(9_000, 6))

    assert 20 == close.last
    assert 1 == partition.late_count


def test_touch_sent_again_extends_nothing() -> None:
    """A repeated touch that the clock has passed does not change the window."""
    partition = partition_at()
    touched = [Touch(TRACE, 16, 1)]
    apply_all(partition, message(section(0, 5, 2_000, [entry(15)], touched)))

    [close] = apply_all(partition, message(section(3, 6, None, (), touched)), clock(9_000, 6))

    assert 16 == close.last
    assert 0 == partition.late_count


def test_source_partition_behind_the_clock() -> None:
    """When a topic grows, older records of the new partition are late, and survive a rebuild."""
    partition = partition_at()
    apply_all(partition, message(section(0, 5, 3_000)), message(section(5, 5, 3_000, partition_count=2)))
    partition.position()
    grown = message(section(0, 5, 1_000, [entry(12)], partition=1, partition_count=2))
    apply_all(partition, grown)

    again = partition_at(partition.position())
    apply_all(again, grown)

    assert [30] == buffered_ticks(partition)
    assert [30] == buffered_ticks(again)


def test_source_topic_not_configured_is_applied() -> None:
    """A source topic that is not configured does not advance the clock, but its records are applied."""
    partition = partition_at()

    apply_all(partition, message(section(0, 5, 9_000, [entry(7)], topic="other")))

    assert [7] == buffered_ticks(partition)
    assert partition.clock.now_ms is None


def test_position_of_an_idle_partition() -> None:
    """When nothing is buffered, reading resumes after the last message."""
    partition = partition_at()
    apply_all(partition, message(section(0, 5, 1_000, [entry(7)])), clock(1_000, 5))

    position = partition.position()

    assert (2, 2) == (position.next_offset, position.resume_point.facts_offset)


def test_position_keeps_the_resume_point_of_the_buffer() -> None:
    """While an entry is buffered, reading must resume at the last resume point at or before its message."""
    partition = partition_at()
    apply_all(partition, clock(500))
    partition.position()
    apply_all(partition, clock(600))
    partition.position()
    apply_all(partition, clock(700), message(section(0, 5, 800, [entry(9)])))

    position = partition.position()

    assert (2, 600) == (position.resume_point.facts_offset, position.resume_point.clock_ms)


def test_position_keeps_the_required_resume_point() -> None:
    """A worker that resumes, with its chains or without, reads from the offset that the caller requires."""
    partition = partition_at()
    for clock_ms in (500, 600, 700):
        apply_all(partition, clock(clock_ms))
        partition.position(1)

    position = partition.position(1)

    assert (1, 1) == (position.resume_point.facts_offset, position.without_local_state().next_offset)
    assert 3 == partition.position().without_local_state().next_offset


def test_position_twice_without_a_message() -> None:
    """A step without messages adds no resume point."""
    partition = partition_at()
    apply_all(partition, message(section(0, 5, 800, [entry(9)])))

    positions = [partition.position(), partition.position()]

    assert positions[0] == positions[1]


def test_resume_points_are_thinned() -> None:
    """While one source partition holds the clock for hours, resume points stay few, and the first one stays."""
    partition = partition_at(topics=(TOPIC, "silent"))
    apply_all(partition, message(section(0, 5, 800, [entry(9)])))
    for _ in range(20 * MAX_RESUME_POINTS):
        apply_all(partition, clock(800, 5))
        position = partition.position()

    assert 0 == position.resume_points[0].facts_offset
    assert MAX_RESUME_POINTS >= len(position.resume_points)


def test_position_stays_during_recovery() -> None:
    """A worker that stores a step during recovery stores the same position again."""
    partition = partition_at()
    log = [message(section(0, 5, 800, [entry(9)])), clock(850, 5), clock(900, 5)]
    apply_all(partition, *log)
    position = partition.position()
    again = partition_at(position)

    apply_all(again, log[0])

    assert again.is_recovering
    assert position == again.position()


def test_recovery_ends() -> None:
    """Recovery ends with the last message that the stored position covers."""
    partition = partition_at()
    log = [message(section(0, 5, 800, [entry(9)])), clock(850, 5)]
    apply_all(partition, *log)
    again = partition_at(partition.position())

    apply_all(again, *log)

    assert not again.is_recovering
    assert 2 == again.next_offset


def test_recovery_over_a_reset_of_the_offsets() -> None:
    """What was buffered since a reset is not mistaken for what was applied before, whatever the clock was then."""
    partition = partition_at()
    apply_all(partition, message(section(0, 5, 1_600, [entry(14)])), message(section(0, 0, epoch=2, replay=2)))
    partition.position()
    since = message(section(0, 5, None, [entry(14)], epoch=2, replay=2, start_ms=1_400))
    apply_all(partition, since)
    position = partition.position()
    again = partition_at(position)

    apply_all(again, since)

    assert (2, 1_600) == (position.resume_point.facts_offset, position.resume_point.clock_ms)
    assert [14] == buffered_ticks(partition) == buffered_ticks(again)


def test_recovery_does_not_change_rule_times() -> None:
    """Messages that are read again do not change the time from which rules judge."""
    partition = partition_at()
    log = [message(section(0, 5, 800, [entry(9)]), rules="more"), message(section(5, 6, 850), rules="rules")]
    apply_all(partition, *log)
    again = partition_at(partition.position())

    apply_all(again, *log)

    assert {} == again.rules.since_ms


def test_windows_are_restored_from_the_store(tmp_path: Path) -> None:
    """A worker with the store has the open windows and the buffer, and publishes what the first one would have."""
    identity = Identity(FORMAT, "cluster", "topic", "bounds")
    log = [
        message(section(0, 5, 1_000, [entry(7), entry(15, trace=trace_id("b"))])),
        message(section(5, 9, 1_200, [entry(13, offset=8)])),
    ]
    partition = partition_at()
    apply_all(partition, *log)
    with Store(tmp_path / "store", identity) as store:
        store.write(partition.sessions.chains, partition.position(), partition.sessions.presences)
    with Store(tmp_path / "store", identity) as store:
        again = partition_at(store.position(), store=store)
        again.sessions.restore(store)

        reread = apply_all(again, *log)
        closes = apply_all(again, clock(9_000, 9))

    assert [] == reread
    assert apply_all(partition, clock(9_000, 9)) == closes
    assert [(TRACE, 7, 13), (trace_id("b"), 15, 15)] == [(close.trace, close.first, close.last) for close in closes]


def test_lost_input_makes_windows_incomplete() -> None:
    """A window during a loss of input is not whole; one long after it is."""
    partition = partition_at()
    apply_all(
        partition, message(section(0, 5, 1_000)), message(section(5, 9, 1_000, [entry(15, offset=8)], lost=[(5, 7)]))
    )
    apply_all(partition, message(section(9, 10, 2_000)))

    closes = apply_all(
        partition, message(section(10, 11, 12_000, [entry(110, trace=trace_id("b"), offset=10)])), clock(99_000, 11)
    )

    assert [(TRACE, False), (trace_id("b"), True)] == [(close.trace, close.whole) for close in closes]


def test_lost_time_is_bounded_by_watermarks() -> None:
    """A loss lies between the watermark before it and twice out_of_order above the next watermark after it."""
    partition = partition_at()

    apply_all(partition, message(section(0, 5, 1_000)), message(section(5, 9, 1_000, lost=[(5, 7)])))
    open_end = list(partition.sessions.lost)
    apply_all(partition, message(section(9, 10, 1_001)))

    assert [LOST] == open_end
    assert [LostTime(TOPIC, 0, 1_000, 1_401)] == partition.sessions.lost


def test_lost_time_waits_for_its_own_partition() -> None:
    """The watermark of another source partition does not bound a loss in this one."""
    partition = partition_at()
    apply_all(partition, message(section(0, 5, 1_000)), message(section(5, 9, None, lost=[(5, 7)])))

    apply_all(partition, message(section(0, 5, 9_000, partition=1)), message(section(9, 10, None)))

    assert [LOST] == partition.sessions.lost


def test_repeated_loss_is_known() -> None:
    """A repeated flush adds no second loss."""
    partition = partition_at()
    apply_all(partition, message(section(0, 5, 1_000)), message(section(5, 9, 2_000, lost=[(5, 7)])))

    apply_all(partition, message(section(5, 10, 3_000, lost=[(5, 7)])))

    assert [LostTime(TOPIC, 0, 1_000, 3_400)] == partition.sessions.lost


def test_loss_before_anything_is_known() -> None:
    """A loss before the source partition had a time may be of any age."""
    partition = partition_at()

    apply_all(partition, message(section(0, 9, 5_000, lost=[(0, 7)])))

    assert [LostTime(TOPIC, 0, 0, None)] == partition.sessions.lost


def test_old_loss_is_forgotten() -> None:
    """A loss is forgotten once every chain that it may have affected is gone."""
    partition = partition_at()
    apply_all(partition, message(section(0, 5, 1_000)), message(section(5, 9, 1_000, lost=[(5, 7)])))
    apply_all(partition, message(section(9, 10, 1_100)))
    reach_ms = 100 * (2 * (BOUNDS.gap + BOUNDS.lateness) + BOUNDS.max_duration + 2)

    apply_all(partition, message(section(10, 11, 1_500 + reach_ms - 1)))
    before = len(partition.sessions.lost)
    apply_all(partition, message(section(11, 12, 1_500 + reach_ms)))

    assert (1, 0) == (before, len(partition.sessions.lost))


def judging(partition: Partition, chain_first_ms: int) -> frozenset[str]:
    """Return the rules that judge a chain."""
    return partition.rules.judging(RULES.__getitem__, chain_first_ms=chain_first_ms, reach_ms=6_000)


def test_rule_judges_what_began_after_the_last_record_without_it() -> None:
    """A new rule judges from the highest record time projected without it, plus gap and lateness."""
    partition = partition_at()
    apply_all(partition, message(section(0, 5, 1_000)))

    apply_all(partition, message(section(5, 9, 5_000), rules="more"))

    assert [{"a"}, {"a", "b"}] == [judging(partition, 7_200), judging(partition, 7_300)]


def test_rule_in_a_split_flush() -> None:
    """The result is the same if the first message with a new rule is part of a flush, without a watermark."""
    partition = partition_at()
    apply_all(partition, message(section(0, 5, 1_000)))

    apply_all(partition, message(section(5, 5, None), rules="more"), message(section(5, 9, 5_000), rules="more"))

    assert [{"a"}, {"a", "b"}] == [judging(partition, 7_200), judging(partition, 7_300)]


def declared(
    part: Section,
    *,
    missing_until_ms: int | None = None,
    lost_until_ms: int | None = None,
    rules_since_ms: int | None = None,
) -> Section:
    """Return the section with what ingest knows of records that it did not read or did not project with these rules."""
    return replace(part, missing_until_ms=missing_until_ms, lost_until_ms=lost_until_ms, rules_since_ms=rules_since_ms)


def test_pushed_rule_judges_no_earlier_trace() -> None:
    """A trace that had only touches within gap + lateness of a push does not begin with its first hit."""
    partition = partition_at()
    apply_all(partition, message(section(0, 5, 1_000)))
    touches = [Touch(TRACE, tick, 1) for tick in range(15, 100, 5)]
    since = declared(section(5, 9, 99_000, [entry(100, offset=8)], touches), rules_since_ms=1_000)

    [close] = [
        (close.known_from_ms, judging(partition, close.known_from_ms))
        for close in partition.apply(partition.next_offset, message(since, rules="more"))
    ]

    assert (1_500, frozenset({"a"})) == close


def test_pushed_rule_judges_later_traces() -> None:
    """A trace that first appears gap + lateness after a push is judged from its first hit on."""
    partition = partition_at()
    apply_all(partition, message(section(0, 5, 1_000)))
    since = declared(section(5, 9, 99_000, [entry(100, offset=8)], [Touch(TRACE, 75, 1)]), rules_since_ms=1_000)

    [close] = [
        (close.known_from_ms, judging(partition, close.known_from_ms))
        for close in partition.apply(partition.next_offset, message(since, rules="more"))
    ]

    assert (10_000, frozenset({"a", "b"})) == close


def test_start_in_the_middle_of_a_log_judges_no_earlier_trace() -> None:
    """If reading did not start at the beginning of a log, no rule judges traces present within gap + lateness."""
    partition = partition_at()
    first = declared(section(7, 9, 99_000, [entry(30, offset=8)], [Touch(TRACE, 20, 1)]), missing_until_ms=1_500)

    [close] = [
        (close.known_from_ms, judging(partition, close.known_from_ms))
        for close in partition.apply(partition.next_offset, message(first))
    ]

    assert (2_000, frozenset()) == close


def test_trace_present_during_a_loss() -> None:
    """A trace that had only touches within gap + lateness of a loss is not whole when it is hit later."""
    partition = partition_at()
    apply_all(partition, message(section(0, 5, 1_000)))
    touches = [Touch(TRACE, tick, 1) for tick in range(25, 150, 5)]
    after = section(5, 9, 99_000, [entry(150, offset=8), entry(150, trace=trace_id("b"), offset=8)], touches)

    closes = apply_all(partition, message(declared(replace(after, lost=[(5, 7)]), lost_until_ms=2_200)))

    assert [(TRACE, False), (trace_id("b"), True)] == [(close.trace, close.whole) for close in closes]


def test_loss_ends_at_the_time_from_ingest() -> None:
    """A loss ends at the time that ingest derives from the first record after it, however it was flushed."""
    partition = partition_at()
    apply_all(partition, message(section(0, 5, 1_000)))

    apply_all(partition, message(declared(section(5, 9, 9_000, lost=[(5, 7)]), lost_until_ms=1_400)))

    assert [LostTime(TOPIC, 0, 1_000, 1_400)] == partition.sessions.lost


def test_rule_time_is_the_one_from_ingest() -> None:
    """A pushed rule judges from the time in its sections, whatever the facts partition received before."""
    one, other = partition_at(), partition_at()
    apply_all(one, message(section(0, 5, 1_000)), message(section(5, 9, 3_000)))
    apply_all(other, message(section(0, 5, 1_000)))

    apply_all(one, message(declared(section(5, 9, 3_500), rules_since_ms=3_300), rules="more"))
    apply_all(other, message(declared(section(5, 9, 3_500), rules_since_ms=3_300), rules="more"))

    expected = {"a": 0, "b": 9_400}
    assert expected == one.rules.judges_from(RULES.__getitem__, reach_ms=6_000)
    assert expected == other.rules.judges_from(RULES.__getitem__, reach_ms=6_000)
