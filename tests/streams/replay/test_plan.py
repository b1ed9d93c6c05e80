"""Tests what a replay reads."""

from __future__ import annotations

from pathlib import Path

from streams.config.settings import Settings
from streams.replay.plan import Input, Period, Plan, times

SETTINGS = Settings(
    bootstrap="",
    state_dir=Path(),
    gap_ms=1_000,
    lateness_ms=2_000,
    max_duration_ms=30_000,
    out_of_order_ms=100,
    idle_lag_ms=50,
)


def test_reading_reaches_as_far_as_a_chain_can() -> None:
    """A chain that begins in the period can depend on, and last, max-duration + lateness + gap."""
    read_from_ms, until_ms, _ = times(SETTINGS, Period(100_000, 200_000), now_ms=1_000_000)

    assert (67_000, 233_000) == (read_from_ms, until_ms)


def test_nothing_is_read_before_the_beginning() -> None:
    """`earliest` has no lower bound."""
    read_from_ms, _, _ = times(SETTINGS, Period(0, 200_000), now_ms=1_000_000)

    assert 0 == read_from_ms


def test_clock_stops_where_live_is() -> None:
    """A period that is not over yet is complete up to now, less what live waits for."""
    _, _, clock_ms = times(SETTINGS, Period(0, 200_000), now_ms=200_000)

    assert 199_850 == clock_ms


def test_period_has_its_beginning_and_not_its_end() -> None:
    """Adjacent periods share no trace."""
    period = Period(10, 20)

    assert [False, True, True, False] == [period.holds(at) for at in (9, 10, 19, 20)]


def test_inputs_are_dealt_by_size() -> None:
    """Each reader reads about the same amount."""
    inputs = tuple(
        Input(topic="spans", partition=at, partition_count=4, begin=0, end=end)
        for at, end in enumerate((10, 90, 60, 30))
    )
    plan = Plan(period=Period(0, 1), inputs=inputs, read_from_ms=0, until_ms=1, clock_ms=1, lost=(), expected=190)

    shares = plan.divide(2)

    assert [[1, 0], [2, 3]] == [[each.partition for each in share] for share in shares]
