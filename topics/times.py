"""Formats the times in signals as text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST = "0001-01-01T00:00:00.000Z"
_LAST = "9999-12-31T23:59:59.999Z"


def rfc3339(time_ms: int) -> str | None:
    """Format Unix milliseconds; None outside the years 1 to 9999, since a producer can send any time.

    >>> rfc3339(1767614400007), rfc3339(1 << 60)
    ('2026-01-05T12:00:00.007Z', None)
    """
    try:
        moment = EPOCH + timedelta(milliseconds=time_ms)
    except OverflowError:
        return None
    return f"{moment.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


def rfc3339_clamped(time_ms: int) -> str:
    """Format Unix milliseconds; a time outside the years 1 to 9999 becomes the nearest one inside.

    >>> rfc3339_clamped(1 << 60), rfc3339_clamped(-1 << 60)
    ('9999-12-31T23:59:59.999Z', '0001-01-01T00:00:00.000Z')
    """
    return rfc3339(time_ms) or (_LAST if time_ms > 0 else _FIRST)
