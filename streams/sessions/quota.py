"""Limits the new signals of a rule per hour.

In: findings in the order in which they are published, and what was published of the current hour before. Out: which of
them may be published; the others are withheld, and `streams.sessions.summaries` sums them up.

Time is the findings' own record time, and the count is part of the position: a worker that resumes there, or rebuilds
the windows from before, decides as this one did, so a crash changes nothing. Each facts partition counts for itself and
has its own share of the limit. What was withheld stays withheld: its chain remembers it, and no amendment is published.
"""

from __future__ import annotations

from typing import Self

from streams.config.settings import Settings
from topics.records.checkpoints import HourlySignals
from topics.signals.finding import HOUR_MS, Finding


class SignalQuota:
    """What may still be published of each rule; `limit` is that of a facts partition, None for no limit."""

    def __init__(self, limit: int | None, hourly_signals: HourlySignals | None = None) -> None:
        self._limit = limit
        self._hour = None if hourly_signals is None else (hourly_signals.replay, hourly_signals.hour)
        self._signals = {} if hourly_signals is None else dict(hourly_signals.signals)

    @classmethod
    def shared(cls, settings: Settings, number: int, hourly_signals: HourlySignals | None) -> Self:
        """Create the quota of facts partition `number`: the shares add up to the limit, but each is at least one."""
        if settings.signals_per_hour is None:
            return cls(None, hourly_signals)
        share, rest = divmod(settings.signals_per_hour, settings.facts_partitions)
        return cls(max(1, share + (number < rest)), hourly_signals)

    @property
    def hourly_signals(self) -> HourlySignals | None:
        """What must be stored."""
        return None if self._hour is None else HourlySignals(self._hour[1], dict(self._signals), self._hour[0])

    @property
    def hour(self) -> tuple[int, int]:
        """The reading and the hour of the last counted finding; (0, 0) before the first one."""
        return self._hour or (0, 0)

    def admit(self, finding: Finding, replay: int) -> bool:
        """Return whether a finding may be published; `replay` is the reading of the input that produced it.

        Amendments always pass: a SIEM that has the finding must learn that it was repaired. Withheld findings have no
        amendments. Hours never decrease within one reading: at the end of the input, windows close as of their last
        record, and count in the hour that the clock has reached.
        """
        if self._limit is None or finding.revision > 1:
            return True
        hour = (replay, finding.closed_ms // HOUR_MS)
        if self._hour is None or hour > self._hour:
            self._hour, self._signals = hour, {}
        count = self._signals.get(finding.rule.id, 0)
        if count >= self._limit:
            return False
        self._signals[finding.rule.id] = count + 1
        return True
