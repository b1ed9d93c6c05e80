"""Formats amounts, ratios and times in the sentences of pages."""

from __future__ import annotations

from topics.times import rfc3339_clamped

_UNITS = ((86_400_000, "day"), (3_600_000, "hour"), (60_000, "minute"), (1000, "second"), (1, "millisecond"))
_PARTS = 2


def amount(count: int, thing: str) -> str:
    """Return an amount of things.

    >>> amount(1, "trace"), amount(3_000_000, "trace")
    ('1 trace', '3,000,000 traces')
    """
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def duration(time_ms: int) -> str:
    """Return a duration, in its two largest units.

    >>> duration(90 * 86_400_000), duration(5_400_000), duration(0)
    ('90 days', '1 hour 30 minutes', '0 seconds')
    """
    parts: list[tuple[int, str]] = []
    for unit_ms, name in _UNITS:
        count, time_ms = divmod(time_ms, unit_ms)
        if count or parts:
            parts.append((count, name))
    return " ".join(amount(count, name) for count, name in parts[:_PARTS] if count) or "0 seconds"


def was(what: str) -> str:
    """Return the verb that goes with an amount or a duration.

    >>> was("1 hour"), was("3 hours"), was("1 hour 30 minutes")
    ('was', 'were', 'were')
    """
    return "was" if what.startswith("1 ") and what.count(" ") == 1 else "were"


def minute(time_ms: int) -> str:
    """Return a moment, to the minute if it is a whole one.

    >>> minute(1767614400000), minute(1767614400500)
    ('2026-01-05 12:00', '2026-01-05 12:00:00.500')
    """
    text = rfc3339_clamped(time_ms).removesuffix("Z").replace("T", " ")
    return text.removesuffix(":00.000") if time_ms % 60_000 == 0 else text.removesuffix(".000")


def span(from_ms: int, to_ms: int) -> str:
    """Return a period, in UTC.

    >>> span(1767614400000, 1767618000000)
    '2026-01-05 12:00 to 13:00'
    """
    start, end = minute(from_ms), minute(to_ms)
    return f"{start} to {end[11:] if end[:10] == start[:10] else end}"


def day(time_ms: int) -> str:
    """Return a day.

    >>> day(1767614400000)
    '2026-01-05'
    """
    return minute(time_ms)[:10]


def percent(ratio: float) -> str:
    """Return a ratio as a percentage that is 100 only for all, and 0 only for none.

    >>> percent(1), percent(0.999999), percent(0.5), percent(0.0000001)
    ('100 %', '99.99 %', '50.00 %', '0.01 %')
    """
    if ratio in (0, 1):
        return f"{ratio:.0%}".replace("%", " %")
    return f"{min(max(ratio * 100, 0.01), 99.99):.2f} %"
