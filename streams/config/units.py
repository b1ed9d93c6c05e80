"""Formats times for people."""

from __future__ import annotations

from datetime import UTC, datetime

_NS = 1_000_000_000


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
