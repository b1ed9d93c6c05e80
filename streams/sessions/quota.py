"""The cap on new signals of a rule in an hour.

In: findings in the order in which they are published, and what was published of the hour before. Out: findings, the
summary in the place of the first that is too much, nothing in the place of the others.

Time is the findings' own record time, and the count goes with the position: a worker that begins there, or builds the
windows again from before, decides as this one did, and a crash changes nothing. Each facts partition counts for itself,
and lets its share pass; their summaries of one rule and hour have one uid. What was withheld stays so: its chain
remembers it, and no amendment of it goes out.
"""

from __future__ import annotations

from typing import Self

import msgspec

from streams.config.settings import Settings
from topics.records.checkpoints import Said
from topics.signals.finding import HOUR_MS, Finding


class SignalQuota:
    """What may still be published of each rule; `limit` is for a facts partition, None is no limit."""

    def __init__(self, limit: int | None, said: Said | None = None) -> None:
        self._limit = limit
        self._hour = None if said is None else said.hour
        self._signals = {} if said is None else dict(said.signals)

    @classmethod
    def shared(cls, settings: Settings, said: Said | None) -> Self:
        """The share of one facts partition: at least one signal."""
        whole = settings.signals_per_hour
        return cls(None if whole is None else max(1, whole // settings.facts_partitions), said)

    @property
    def said(self) -> Said | None:
        """What is to be remembered."""
        return None if self._hour is None else Said(self._hour, dict(self._signals))

    def admit(self, finding: Finding) -> Finding | None:
        """What is to be published for a finding: itself, the summary, or nothing.

        Amendments always pass: a SIEM that has the finding must hear that it was repaired. Of a finding that it does
        not have there are none.
        """
        if self._limit is None or finding.revision > 1:
            return finding
        hour = finding.closed_ms // HOUR_MS
        if hour != self._hour:
            self._hour, self._signals = hour, {}
        count = self._signals[finding.rule.id] = min(self._signals.get(finding.rule.id, 0), self._limit + 1) + 1
        if count <= self._limit:
            return finding
        return msgspec.structs.replace(finding, is_summary=True) if count == self._limit + 1 else None
