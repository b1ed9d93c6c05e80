"""Counts the results of each rule: population, verdicts, and when.

In: outcomes. Out: counts that can be added up, whoever counted. An amended verdict retracts the one before it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from dsl import Verdict
from streams.replay.plan import Period
from streams.replay.source_reader import MINUTE_MS
from streams.windows.outcomes import Outcome

SILENT_MINUTES = 5
"""The minutes without a record in any source topic that count as time without input."""

_APPLICABLE = (Verdict.HELD.value, Verdict.BROKEN.value, Verdict.UNDETERMINED.value)


@dataclass(slots=True)
class Tally:
    """The counts of one rule: traces by verdict, and `Outcome.first_ms` of the first and last that it applies to."""

    verdicts: Counter[str] = field(default_factory=Counter)
    excepted: int = 0
    first_ms: int | None = None
    last_ms: int | None = None

    @property
    def applicable(self) -> int:
        """The traces that the rule applies to."""
        return sum(self.verdicts[verdict] for verdict in _APPLICABLE)

    @property
    def pass_rate(self) -> float | None:
        """Held of applicable; None if the rule applies to no trace."""
        return self.verdicts[Verdict.HELD.value] / self.applicable if self.applicable else None

    def take(self, outcome: Outcome) -> None:
        """Count an outcome."""
        self.excepted += outcome.excepted
        if outcome.verdict != outcome.previous:
            self.verdicts[outcome.verdict] += 1
            if outcome.previous is not None:
                self.verdicts[outcome.previous] -= 1
        if outcome.verdict in _APPLICABLE:
            self._widen(outcome.first_ms, outcome.first_ms)

    def add(self, other: Tally) -> None:
        """Add the counts of another process."""
        self.verdicts.update(other.verdicts)
        self.excepted += other.excepted
        if other.first_ms is not None and other.last_ms is not None:
            self._widen(other.first_ms, other.last_ms)

    def _widen(self, first_ms: int, last_ms: int) -> None:
        self.first_ms = first_ms if self.first_ms is None else min(self.first_ms, first_ms)
        self.last_ms = last_ms if self.last_ms is None else max(self.last_ms, last_ms)


def silent_ms(period: Period, minutes: Iterable[int]) -> int:
    """Return how much of the period had no input for at least `SILENT_MINUTES`; `minutes` are those with some.

    >>> silent_ms(Period(0, 60 * MINUTE_MS), [0, 3, 30]) // MINUTE_MS
    55
    """
    return sum(end - start for start, end in _silences(period, sorted(minutes)))


def _silences(period: Period, minutes: list[int]) -> Iterator[tuple[int, int]]:
    at_ms = period.from_ms or (minutes[0] * MINUTE_MS if minutes else period.to_ms)
    for minute in [*minutes, None]:
        until_ms = period.to_ms if minute is None else minute * MINUTE_MS
        if until_ms - at_ms >= SILENT_MINUTES * MINUTE_MS:
            yield at_ms, until_ms
        at_ms = until_ms + MINUTE_MS
