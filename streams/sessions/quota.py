"""The cap on new signals of a rule in an hour.

In: findings in the order in which they are published, and what was published of the hour before. Out: which of them may
be published; the others are withheld, and `streams.sessions.summaries` sums them up.

Time is the findings' own record time, and the count goes with the position: a worker that begins there, or builds the
windows again from before, decides as this one did, and a crash changes nothing. Each facts partition counts for itself,
and lets its share pass. What was withheld stays so: its chain remembers it, and no amendment of it goes out.
"""

from __future__ import annotations

from typing import Self

from streams.config.settings import Settings
from topics.records.checkpoints import HourlySignals
from topics.signals.finding import HOUR_MS, Finding


class SignalQuota:
    """What may still be published of each rule; `limit` is for a facts partition, None is no limit."""

    def __init__(self, limit: int | None, said: HourlySignals | None = None) -> None:
        self._limit = limit
        self._hour = None if said is None else (said.replay, said.hour)
        self._signals = {} if said is None else dict(said.signals)

    @classmethod
    def shared(cls, settings: Settings, number: int, said: HourlySignals | None) -> Self:
        """The share of facts partition `number`: together they have the limit, but each has at least one signal."""
        if settings.signals_per_hour is None:
            return cls(None, said)
        share, rest = divmod(settings.signals_per_hour, settings.facts_partitions)
        return cls(max(1, share + (number < rest)), said)

    @property
    def said(self) -> HourlySignals | None:
        """What is to be remembered."""
        return None if self._hour is None else HourlySignals(self._hour[1], dict(self._signals), self._hour[0])

    @property
    def hour(self) -> tuple[int, int]:
        """In which reading and hour the last finding counted; (0, 0) before the first."""
        return self._hour or (0, 0)

    def admit(self, finding: Finding, replay: int) -> bool:
        """Whether a finding may be published; `replay` is the reading of the input that it is of.

        Amendments always pass: a SIEM that has the finding must hear that it was repaired. Of a finding that it does
        not have there are none. Hours never go back in one reading: where the input ends, windows close as of their
        last record, and count in the hour that the clock has reached.
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
