"""Finds rules and services that were exercised in the fortnight before, and are silent now, by days.

In: the days (since 1970, UTC) with something. Out: since when there is nothing. Pure.

One day without anything is not unusual, and the last one may have just begun: silent means nothing on two days.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from streams.evidence.report.gathered import DAY_MS
from streams.evidence.report.model import SilentService

SILENT_AFTER = 2
"""The number of days with nothing after which something is silent."""
COMPARED = 14
"""The number of days before them in which it must have been exercised."""


def exercised(days: Collection[int], to_ms: int) -> list[int]:
    """Return the days of the fortnight on which something silent at `to_ms` was exercised; empty if not silent.

    >>> exercised({3, 7, 8}, 11 * DAY_MS)
    [3, 7, 8]
    >>> exercised({3, 7, 9}, 11 * DAY_MS), exercised({0}, 17 * DAY_MS)
    ([], [])
    """
    last = (to_ms - 1) // DAY_MS
    if any(last - SILENT_AFTER < day <= last for day in days):
        return []
    return sorted(day for day in days if last - SILENT_AFTER - COMPARED < day <= last - SILENT_AFTER)


def services(named: Mapping[str, Collection[int]], unlisted: Collection[int], to_ms: int) -> Iterator[SilentService]:
    """Yield the services that are silent at `to_ms`, by the days on which they were named.

    On the days in `unlisted` there were more services than were named: then none can be called silent.
    """
    last = (to_ms - 1) // DAY_MS
    if any(last - SILENT_AFTER < day <= last for day in unlisted):
        return
    for name, days in sorted(named.items()):
        if before := exercised(days, to_ms):
            yield SilentService(name=name, since_ms=(before[-1] + 1) * DAY_MS, days_before=len(before))
