"""The time of a source partition whose records are stamped by their producers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.ingest.followers import FOLLOWERS
from streams.ingest.watermark import PartitionTime

NOW_MS = 1_000_000_000
OUT_OF_ORDER_MS = 200
IDLE_LAG_MS = 100
SKEW_MS = 5_000
DAY_MS = 86_400_000
LIE_MS = 58 * 60_000


def begun(*stamps_ms: int, local_ms: int = NOW_MS) -> PartitionTime[int]:
    """Return a partition's time after these records."""
    time = PartitionTime[int](out_of_order_ms=OUT_OF_ORDER_MS, idle_lag_ms=IDLE_LAG_MS, max_clock_skew_ms=SKEW_MS)
    for stamp_ms in stamps_ms:
        counted(time, stamp_ms, local_ms=local_ms)
    return time


def counted(time: PartitionTime[int], stamp_ms: int, *, local_ms: int = NOW_MS) -> int:
    """Return the time at which the next record counts."""
    [(counts_at_ms, _)] = time.observe(stamp_ms, 0, local_ms=local_ms, is_broker_time=False)
    return counts_at_ms


def test_time_follows_what_enough_records_confirm() -> None:
    """A record advances the time when 64 more have followed, none with a lower timestamp."""
    time = begun(*range(NOW_MS - 1000, NOW_MS - 1000 + FOLLOWERS))
    before_ms = time.watermark_ms

    counted(time, NOW_MS)

    assert (None, NOW_MS - 1000 - OUT_OF_ORDER_MS) == (before_ms, time.watermark_ms)


def test_old_timestamp_does_not_set_the_time_back() -> None:
    """An old timestamp among honest ones only delays the time, until it is no longer among the last 65."""
    time = begun(*range(NOW_MS - 1000, NOW_MS - 900))
    before_ms = time.highest_ms

    counted(time, 1)
    for stamp_ms in range(NOW_MS - 900, NOW_MS - 900 + FOLLOWERS):
        counted(time, stamp_ms)
    while_ms = time.highest_ms
    counted(time, NOW_MS - 800)

    assert (NOW_MS - 965, NOW_MS - 965, NOW_MS - 900) == (before_ms, while_ms, time.highest_ms)


def test_timestamps_ahead_in_a_backlog() -> None:
    """64 in a row advance nothing; 65 do, which only timestamps of brokers would prevent."""
    honest_ms = NOW_MS - DAY_MS
    time = begun(*[honest_ms] * 100, *[honest_ms + LIE_MS] * FOLLOWERS, *[honest_ms] * 100)
    few_ms = time.highest_ms

    for _ in range(FOLLOWERS + 1):
        counted(time, honest_ms + LIE_MS)

    assert (honest_ms, honest_ms + LIE_MS) == (few_ms, time.highest_ms)


def test_end_confirms() -> None:
    """At the partition's end the last record advances the time, however few there are."""
    time = begun(NOW_MS - 1000)

    time.settle(local_ms=NOW_MS)

    assert NOW_MS - 1000 - OUT_OF_ORDER_MS == time.watermark_ms


def test_end_confirms_nothing_of_the_future() -> None:
    """A timestamp ahead of the local clock, but within the skew, advances the time to the local clock only."""
    time = begun(NOW_MS + SKEW_MS)

    time.settle(local_ms=NOW_MS)

    assert NOW_MS - OUT_OF_ORDER_MS == time.watermark_ms


def test_timestamp_beyond_the_skew_counts_at_the_bound() -> None:
    """It is counted; one exactly at the bound is trusted."""
    time = begun()

    found = [counted(time, NOW_MS + SKEW_MS), counted(time, NOW_MS + SKEW_MS + 1), counted(time, NOW_MS + LIE_MS)]

    assert ([NOW_MS + SKEW_MS] * 3, 2) == (found, time.out_of_bounds_count)


def test_small_steps_do_not_pass_the_local_clock() -> None:
    """However many records are each a little further ahead, the time does not pass the local clock."""
    time = begun()

    for step in range(1, 1000):
        counted(time, NOW_MS + step * (SKEW_MS - 1))
        time.settle(local_ms=NOW_MS)

    assert time.watermark_ms is not None
    assert time.watermark_ms <= NOW_MS + SKEW_MS - OUT_OF_ORDER_MS


def test_timestamp_below_the_watermark_counts_there() -> None:
    """It is counted; one exactly at the watermark is trusted."""
    time = begun(NOW_MS)
    time.settle(local_ms=NOW_MS)
    least_ms = NOW_MS - OUT_OF_ORDER_MS

    found = [counted(time, least_ms), counted(time, least_ms - 1), counted(time, 1)]

    assert ([least_ms] * 3, 2) == (found, time.out_of_bounds_count)


def test_one_record_of_1970_in_a_quiet_partition() -> None:
    """It holds nothing: idle time continues from the local clock."""
    time = begun(1)
    time.settle(local_ms=NOW_MS)

    time.tick_idle(local_ms=NOW_MS + 700)

    assert NOW_MS + 700 - IDLE_LAG_MS - OUT_OF_ORDER_MS == time.watermark_ms


def test_age_of_an_honest_record_within_the_skew() -> None:
    """A producer that is slightly behind stays as far behind while its partition is idle."""
    time = begun(NOW_MS - SKEW_MS)
    time.settle(local_ms=NOW_MS)

    time.tick_idle(local_ms=NOW_MS + 700)

    assert NOW_MS - SKEW_MS + 700 - IDLE_LAG_MS - OUT_OF_ORDER_MS == time.watermark_ms


def test_record_ahead_does_not_speed_idle_time_up() -> None:
    """A timestamp ahead of the local clock does not take the idle time ahead of it."""
    time = begun(*[NOW_MS + SKEW_MS] * (FOLLOWERS + 1))

    time.tick_idle(local_ms=NOW_MS + SKEW_MS + 700)

    assert NOW_MS + SKEW_MS + 700 - IDLE_LAG_MS - OUT_OF_ORDER_MS == time.watermark_ms


def test_broker_that_takes_over() -> None:
    """Its timestamps are trusted at once, and those of producers before confirm nothing."""
    time = begun(*[NOW_MS - 1000] * FOLLOWERS)

    time.observe(NOW_MS - 900, 0, local_ms=NOW_MS)
    broker_ms = time.highest_ms
    counted(time, NOW_MS - 800)

    assert (NOW_MS - 900, NOW_MS - 900) == (broker_ms, time.highest_ms)


def test_record_of_a_producer_releases_one_held_back() -> None:
    """No record overtakes one that is held back."""
    time = PartitionTime[int](
        out_of_order_ms=OUT_OF_ORDER_MS, idle_lag_ms=IDLE_LAG_MS, max_clock_skew_ms=SKEW_MS, broker_skew_ms=SKEW_MS
    )
    time.observe(1000, 1, local_ms=NOW_MS)
    time.observe(90_000, 2, local_ms=NOW_MS)

    certain = time.observe(90_001, 3, local_ms=NOW_MS, is_broker_time=False)

    assert [(90_000, 2), (90_001, 3)] == certain


honest = st.lists(st.tuples(st.integers(0, 400), st.integers(0, OUT_OF_ORDER_MS), st.booleans()), max_size=300)


@given(honest)
def test_honest_records_are_never_out_of_bounds(steps: list[tuple[int, int, bool]]) -> None:
    """Records out of order by at most out_of_order count at their timestamps, wherever ends and idle ticks come."""
    time = begun()
    reached_ms = NOW_MS
    stamps_ms: list[int] = []
    counts_ms: list[int] = []

    for step_ms, back_ms, is_end in steps:
        reached_ms += step_ms
        stamps_ms.append(reached_ms - back_ms)
        counts_ms.append(counted(time, stamps_ms[-1], local_ms=reached_ms))
        if is_end:
            time.settle(local_ms=reached_ms)
            time.tick_idle(local_ms=reached_ms)
    highest_ms = max(stamps_ms, default=NOW_MS)

    assert stamps_ms == counts_ms
    assert 0 == time.out_of_bounds_count
    assert time.highest_ms is None or time.highest_ms <= highest_ms


lies = st.lists(st.tuples(st.integers(1, FOLLOWERS), st.integers(0, 3 * NOW_MS)), min_size=1, max_size=8)


@given(lies, st.integers(1, 3))
def test_few_forged_timestamps_never_advance_a_backlog(runs: list[tuple[int, int]], honest_count: int) -> None:
    """The time is at most the highest honest timestamp, and no forged record is lost."""
    time = begun()
    honest_ms = NOW_MS - DAY_MS

    for count, lie_ms in runs:
        for _ in range(honest_count):
            honest_ms += 1
            assert honest_ms == max(honest_ms, counted(time, honest_ms))
        counts_ms = {counted(time, lie_ms) for _ in range(count)}
        assert max(counts_ms) <= NOW_MS + SKEW_MS

    assert time.highest_ms is None or time.highest_ms <= honest_ms
