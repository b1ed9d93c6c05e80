"""Formats times and sizes for people, and names their units."""

from __future__ import annotations

from datetime import UTC, datetime

_NS = 1_000_000_000
UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
UNITS_BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
"""The units of durations and sizes in options, the smallest first."""


def rfc3339_ns(time_ns: int) -> str:
    """Return Unix nanoseconds as RFC 3339 text in UTC, with all nine digits.

    >>> rfc3339_ns(1767614400000000007)
    '2026-01-05T12:00:00.000000007Z'
    """
    seconds, rest_ns = divmod(time_ns, _NS)
    try:
        moment = datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        # A span may claim any time; one outside the calendar is shown as a number.
        return f"{time_ns}ns"
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest_ns:09d}Z"


def iso_ms(time_ms: int) -> str:
    """Return Unix milliseconds as RFC 3339 text in UTC.

    >>> iso_ms(1767614400007)
    '2026-01-05T12:00:00.007Z'
    """
    try:
        moment = datetime.fromtimestamp(time_ms // 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return f"{time_ms}ms"
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{time_ms % 1000:03d}Z"


def duration_text(time_ms: int) -> str:
    """Return milliseconds as an option takes them, in the largest unit that leaves no remainder.

    >>> duration_text(30_000), duration_text(90_000), duration_text(3_600_000), duration_text(0)
    ('30s', '90s', '1h', '0ms')
    """
    return _in_units(time_ms, UNITS_MS)


def size_text(size_bytes: int) -> str:
    """Return bytes as an option takes them, in the largest unit that leaves no remainder.

    >>> size_text(2 << 30), size_text(1500)
    ('2GiB', '1500B')
    """
    return _in_units(size_bytes, UNITS_BYTES)


def _in_units(value: int, units: dict[str, int]) -> str:
    unit = next((name for name, size in reversed(units.items()) if value and value % size == 0), next(iter(units)))
    return f"{value // units[unit]}{unit}"
