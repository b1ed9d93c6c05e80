"""Times as text."""

from __future__ import annotations

import pytest

from topics.times import rfc3339, rfc3339_clamped

LAST_MS = 253_402_300_799_999
FIRST_MS = -62_135_596_800_000


@pytest.mark.parametrize(
    ("time_ms", "expected"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (LAST_MS, "9999-12-31T23:59:59.999Z"),
        (FIRST_MS, "0001-01-01T00:00:00.000Z"),
        (LAST_MS + 1, None),
        (FIRST_MS - 1, None),
        (1 << 70, None),
    ],
)
def test_rfc3339(time_ms: int, expected: str | None) -> None:
    """Times have milliseconds and are UTC, for all years of one to four digits."""
    assert rfc3339(time_ms) == expected


@pytest.mark.parametrize(("time_ms", "nearest_ms"), [(LAST_MS + 1, LAST_MS), (FIRST_MS - 1, FIRST_MS), (7, 7)])
def test_clamped(time_ms: int, nearest_ms: int) -> None:
    """A time outside the calendar becomes the nearest one inside."""
    assert rfc3339_clamped(time_ms) == rfc3339(nearest_ms)
