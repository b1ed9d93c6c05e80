"""The time of a source partition whose records the brokers stamp, from the records and from idle ticks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.ingest.watermark import BROKER_BEHIND_MS, PartitionTime

NOW_MS = 1_000_000
LAST_MS = NOW_MS - 1_000
SKEW_MS = 5_000


def begun(highest_ms: int | None = None) -> PartitionTime[str]:
    """Return a partition's time, after a record if one is given."""
    time = PartitionTime[str](out_of_order_ms=200, idle_lag_ms=100, max_clock_skew_ms=0, broker_skew_ms=SKEW_MS)
    if highest_ms is not None:
        time.observe(highest_ms, "before", local_ms=NOW_MS)
    return time


def test_no_record_yet() -> None:
    """A partition has no watermark before the first record."""
    time = begun()

    assert time.watermark_ms is None


def test_watermark_lies_out_of_order_below_the_highest() -> None:
    """The watermark is the highest record time less out_of_order, and never goes back."""
    time = begun(9_000)

    certain = time.observe(8_900, "earlier", local_ms=NOW_MS)

    assert [(8_900, "earlier")] == certain
    assert 8_800 == time.watermark_ms


def test_record_exactly_at_the_skew() -> None:
    """A record as far ahead as clocks may differ is certain at once."""
    time = begun(9_000)

    certain = time.observe(9_000 + SKEW_MS, "ahead", local_ms=NOW_MS)

    assert [(9_000 + SKEW_MS, "ahead")] == certain
    assert 9_000 + SKEW_MS - 200 == time.watermark_ms


def test_record_beyond_the_skew_is_held_back() -> None:
    """A record further ahead is held back, and advances nothing."""
    time = begun(9_000)

    certain = time.observe(9_001 + SKEW_MS, "ahead", local_ms=NOW_MS)

    assert [] == certain
    assert time.has_held_back
    assert 8_800 == time.watermark_ms


def test_successor_confirms_a_record_held_back() -> None:
    """After a quiet night the next record confirms the one that was held back."""
    time = begun(9_000)
    time.observe(90_000, "morning", local_ms=NOW_MS)

    certain = time.observe(90_001, "next", local_ms=NOW_MS)

    assert [(90_000, "morning"), (90_001, "next")] == certain
    assert (89_801, 0) == (time.watermark_ms, time.skewed_count)


def test_skewed_record_counts_at_the_highest_time_before_it() -> None:
    """If its successor is back with the others, it counts at the highest time before it."""
    time = begun(9_000)
    time.observe(90_000, "skewed", local_ms=NOW_MS)

    certain = time.observe(9_100, "next", local_ms=NOW_MS)

    assert [(9_000, "skewed"), (9_100, "next")] == certain
    assert (8_900, 1) == (time.watermark_ms, time.skewed_count)


def test_successor_is_held_back_too() -> None:
    """A successor that is ahead as well may itself be skewed against the one that it confirms."""
    time = begun(9_000)
    time.observe(90_000, "morning", local_ms=NOW_MS)

    certain = time.observe(190_000, "later", local_ms=NOW_MS)

    assert [(90_000, "morning")] == certain
    assert time.has_held_back


def test_record_held_back_is_trusted_at_the_end() -> None:
    """At the partition's end it is trusted unless it lies in the local future."""
    time = begun(9_000)
    time.observe(NOW_MS + SKEW_MS, "last", local_ms=NOW_MS)

    certain = time.settle(local_ms=NOW_MS)

    assert [(NOW_MS + SKEW_MS, "last")] == certain
    assert not time.has_held_back


def test_record_in_the_local_future_at_the_end() -> None:
    """At the partition's end, beyond the local time, it counts at the highest time before it."""
    time = begun(9_000)
    time.observe(NOW_MS + SKEW_MS + 1, "last", local_ms=NOW_MS)

    certain = time.settle(local_ms=NOW_MS)

    assert [(9_000, "last")] == certain
    assert (8_800, 1) == (time.watermark_ms, time.skewed_count)


def test_two_records_in_the_local_future() -> None:
    """Two skewed records in a row do not confirm each other."""
    time = begun(9_000)
    far_ms = 10 * NOW_MS
    time.observe(far_ms, "one", local_ms=NOW_MS)

    certain = time.observe(far_ms, "two", local_ms=NOW_MS) + time.settle(local_ms=NOW_MS)

    assert [(9_000, "one"), (9_000, "two")] == certain
    assert 8_800 == time.watermark_ms


def test_first_record_of_the_past() -> None:
    """The first record may have any past time."""
    time = begun()

    certain = time.observe(1, "old", local_ms=NOW_MS)

    assert [(1, "old")] == certain


def test_first_record_in_the_far_future() -> None:
    """A first record in the far future counts where its successor is, and leaves no time behind."""
    time = begun()
    time.observe(10 * NOW_MS, "first", local_ms=NOW_MS)

    certain = time.observe(9_000, "next", local_ms=NOW_MS)

    assert [(9_000, "first"), (9_000, "next")] == certain
    assert (8_800, 1) == (time.watermark_ms, time.skewed_count)


def test_only_record_in_the_far_future() -> None:
    """If nothing follows it, it counts at the local time."""
    time = begun()
    time.observe(10 * NOW_MS, "first", local_ms=NOW_MS)

    certain = time.settle(local_ms=NOW_MS)

    assert [(NOW_MS, "first")] == certain
    assert time.watermark_ms is None


def test_settle_without_a_record_held_back() -> None:
    """Without a record held back there is nothing to settle."""
    time = begun(9_000)

    assert [] == time.settle(local_ms=NOW_MS)


def test_idle_tick_moves_with_the_local_clock() -> None:
    """At its end a partition's time advances from its last record as fast as the local clock."""
    time = begun(LAST_MS)

    time.tick_idle(local_ms=NOW_MS + 700)

    assert LAST_MS + 700 - 200 - 100 == time.watermark_ms


def test_idle_tick_soon_after_a_record() -> None:
    """An idle tick within the idle lag leaves the watermark where the last record put it."""
    time = begun(LAST_MS)

    time.tick_idle(local_ms=NOW_MS + 99)

    assert LAST_MS - 200 == time.watermark_ms


def test_idle_tick_of_an_empty_partition() -> None:
    """A partition without a record has the local time."""
    time = begun()

    time.tick_idle(local_ms=NOW_MS)

    assert NOW_MS - 300 == time.watermark_ms


def test_idle_tick_of_an_earlier_local_time() -> None:
    """An idle tick of an earlier local time does not set the time back."""
    time = begun(LAST_MS)
    time.tick_idle(local_ms=NOW_MS + 700)

    time.tick_idle(local_ms=NOW_MS + 600)

    assert LAST_MS + 400 == time.watermark_ms


def test_record_after_an_idle_night() -> None:
    """A record after an idle night is held back like any other, and settled at the end."""
    time = begun(LAST_MS)
    time.tick_idle(local_ms=NOW_MS + 80_000)

    certain = time.observe(LAST_MS + 80_500, "morning", local_ms=NOW_MS + 80_500)
    certain += time.settle(local_ms=NOW_MS + 80_500)

    assert [(LAST_MS + 80_500, "morning")] == certain
    assert LAST_MS + 80_300 == time.watermark_ms


times_ms = st.integers(0, 3 * NOW_MS)


@given(st.lists(times_ms | st.none() | st.tuples(times_ms)))
def test_nothing_is_lost_and_time_never_goes_back(steps: list[int | tuple[int] | None]) -> None:
    """Every record is released once, in order, near the local time at most; the watermark never goes back."""
    time = PartitionTime[int](out_of_order_ms=200, idle_lag_ms=100, max_clock_skew_ms=0, broker_skew_ms=SKEW_MS)
    certain: list[tuple[int, int]] = []
    watermarks_ms: list[int] = []

    for at, step in enumerate(steps):
        match step:
            case None:
                certain += time.settle(local_ms=NOW_MS)
            case (local_ms,):
                time.tick_idle(local_ms=local_ms)
            case record_ms:
                certain += time.observe(record_ms, at, local_ms=NOW_MS)
        watermarks_ms += [] if time.watermark_ms is None else [time.watermark_ms]
    certain += time.settle(local_ms=NOW_MS)

    assert [at for at, step in enumerate(steps) if isinstance(step, int)] == [at for _, at in certain]
    assert all(counts_at_ms <= NOW_MS + SKEW_MS for counts_at_ms, _ in certain)
    assert sorted(watermarks_ms) == watermarks_ms


def test_old_record_stamped_by_the_broker_does_not_hold_an_idle_partition() -> None:
    """The next record gets the broker's current time: one that was read late does not delay it."""
    time = begun(9_000)

    time.tick_idle(local_ms=NOW_MS + 700)

    assert NOW_MS + 700 - 200 - 100 == time.watermark_ms


def test_broker_whose_clock_is_a_little_behind() -> None:
    """A record read at once shows how far the broker's clock is behind: idle ticks stay as far behind."""
    time = begun(NOW_MS - BROKER_BEHIND_MS)

    time.tick_idle(local_ms=NOW_MS + 700)

    assert NOW_MS - BROKER_BEHIND_MS + 700 - 200 - 100 == time.watermark_ms


def test_producer_whose_clock_is_years_behind() -> None:
    """Its records advance no time; those beyond out_of_order are counted, one exactly at it is not."""
    time = begun(NOW_MS)

    for record_ms in (1, NOW_MS - 201, NOW_MS - 200):
        time.observe(record_ms, "old", local_ms=NOW_MS)

    assert (NOW_MS - 200, 2) == (time.watermark_ms, time.behind_count)


def test_producer_whose_clock_is_years_ahead() -> None:
    """Its records count where the others are, each is held back and counted, and time advances."""
    time = begun(NOW_MS)
    counted: list[int] = []

    for step_ms in range(1, 4):
        for record_ms in (NOW_MS * 100 + step_ms, NOW_MS + step_ms):
            counted += [at_ms for at_ms, _ in time.observe(record_ms, "any", local_ms=NOW_MS + step_ms)]

    assert [NOW_MS, NOW_MS + 1, NOW_MS + 1, NOW_MS + 2, NOW_MS + 2, NOW_MS + 3] == counted
    assert (3, 3) == (time.held_back_count, time.skewed_count)


def test_reached_time_includes_idle_time() -> None:
    """The time that a partition has reached includes idle time."""
    time = begun()
    before_ms = time.reached_ms
    time.observe(LAST_MS, "one", local_ms=NOW_MS)
    record_ms = time.reached_ms

    time.tick_idle(local_ms=NOW_MS + 700)

    assert (None, LAST_MS, LAST_MS + 600) == (before_ms, record_ms, time.reached_ms)
