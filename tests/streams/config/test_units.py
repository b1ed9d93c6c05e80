"""Tests how times are formatted."""

from __future__ import annotations

import pytest

from streams.config.units import rfc3339_ns


@pytest.mark.parametrize(
    ("time_ns", "text"),
    [
        (0, "1970-01-01T00:00:00.000000000Z"),
        (1, "1970-01-01T00:00:00.000000001Z"),
        (-1, "1969-12-31T23:59:59.999999999Z"),
        (1_767_614_400_999_999_999, "2026-01-05T12:00:00.999999999Z"),
        ((1 << 64) - 1, "2554-07-21T23:34:33.709551615Z"),
    ],
)
def test_nanoseconds_are_kept(time_ns: int, text: str) -> None:
    """Every nanosecond that a span can have is a time in UTC with nine digits."""
    assert text == rfc3339_ns(time_ns)


@pytest.mark.parametrize("time_ns", [1 << 90, -(1 << 90), 1 << 5000])
def test_time_beyond_the_calendar_is_a_number(time_ns: int) -> None:
    """A time outside the calendar is a number with its unit, and not an error."""
    assert f"{time_ns}ns" == rfc3339_ns(time_ns)
