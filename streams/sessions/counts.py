"""The counts records of one facts partition: what each step adds and retracts, as links of one hash chain.

In: outcomes, as values. Out: `topics.records.verdicts.VerdictCounts` with their bytes. Pure except for its own sums.

Invariant: `counted` is stored in the transaction that publishes the records it sums up. So a worker that takes over
continues with the next number, and no number is on the topic twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from msgspec.structs import replace

from dsl import Mode, Verdict
from streams.windows.close import Close
from streams.windows.outcomes import Outcome
from topics.records import verdicts
from topics.records.facts import TICK_MS
from topics.records.verdicts import (
    LEAVES_LIMIT,
    LIVE_ORIGIN,
    MINUTE_MS,
    Counted,
    Leaf,
    Retraction,
    RuleMode,
    VerdictCounts,
    VerdictSums,
    WindowBounds,
)

APPLICABLE = frozenset({Verdict.HELD.value, Verdict.BROKEN.value, Verdict.UNDETERMINED.value})
"""The verdicts that have a leaf."""


class CountsKey(NamedTuple):
    """What one counts record is about; see `topics.records.verdicts.VerdictCounts`."""

    generation: int
    rule: str
    fingerprint: str
    mode: RuleMode
    minute_ms: int


@dataclass(slots=True)
class _Cell:
    """The content of one record."""

    added: Counter[str] = field(default_factory=Counter)
    taken_back: Counter[str] = field(default_factory=Counter)
    leaves: list[bytes] = field(default_factory=list)
    retractions: list[bytes] = field(default_factory=list)

    @property
    def is_full(self) -> bool:
        """Whether another verdict, which adds up to two hashes, might exceed the limit."""
        return len(self.leaves) + len(self.retractions) + 2 > LEAVES_LIMIT


def minute_start_ms(time_ms: int) -> int:
    """Return the start of the minute that contains a time.

    >>> minute_start_ms(119_999)
    60000
    """
    return time_ms // MINUTE_MS * MINUTE_MS


def verdict_hashes(close: Close, outcome: Outcome) -> tuple[bytes | None, bytes | None]:
    """Return the hashes of the verdict that an outcome adds and of the one it retracts; None for one without a leaf."""
    verdict, previous = outcome.verdict, outcome.previous
    if verdict == previous:
        return None, None
    bounds = WindowBounds(close.window.first * TICK_MS, close.window.last * TICK_MS)
    fingerprint, trace_id, revision = outcome.rule.fingerprint, close.trace_id.hex(), outcome.revision
    leaf = retraction = None
    if verdict in APPLICABLE:
        leaf = Leaf(revision=revision, rule=fingerprint, trace_id=trace_id, verdict=verdict, window=bounds).hash()
    if previous in APPLICABLE:
        retraction = Retraction(
            revision=revision, rule=fingerprint, trace_id=trace_id, verdict=previous, window=bounds
        ).hash()
    return leaf, retraction


class VerdictTally:
    """The verdicts of one facts partition since the last step; `counted` is the end of the chain before them.

    `origin` says who judges.
    """

    def __init__(self, partition: int, counted: Counted | None = None, origin: str = LIVE_ORIGIN) -> None:
        self.counted = counted or Counted()
        self._origin = origin
        self._partition = partition
        self._cells: dict[CountsKey, list[_Cell]] = {}

    def add(
        self,
        key: CountsKey,
        *,
        verdict: str,
        previous: str | None,
        excepted: int,
        leaf: bytes | None,
        retraction: bytes | None,
    ) -> None:
        """Count the verdict of one rule on one chain.

        `previous` is the verdict that it replaces, `excepted` a delta; `leaf` and `retraction` are the hashes of the
        two, None for a verdict without one. An unchanged verdict changes no count.
        """
        if verdict == previous and not excepted:
            return
        cells = self._cells.setdefault(key, [])
        if not cells or cells[-1].is_full:
            cells.append(_Cell())
        cell = cells[-1]
        if excepted:
            (cell.added if excepted > 0 else cell.taken_back)["excepted"] += abs(excepted)
        if verdict == previous:
            return
        cell.added[verdict] += 1
        cell.leaves += [] if leaf is None else [leaf]
        if previous is not None:
            cell.taken_back[previous] += 1
            cell.retractions += [] if retraction is None else [retraction]

    def add_outcome(self, generation: int, close: Close, outcome: Outcome) -> None:
        """Count an outcome of a close."""
        rule = outcome.rule
        mode: RuleMode = "live" if rule.mode is Mode.LIVE else "shadow"
        leaf, retraction = verdict_hashes(close, outcome)
        self.add(
            CountsKey(generation, rule.id, rule.fingerprint, mode, minute_start_ms(close.chain_first_ms)),
            verdict=outcome.verdict,
            previous=outcome.previous,
            excepted=outcome.excepted,
            leaf=leaf,
            retraction=retraction,
        )

    def note_signal(self, *, is_published: bool) -> None:
        """Count a due signal, as published or as withheld."""
        if is_published:
            self.counted = replace(self.counted, signals=self.counted.signals + 1)
        else:
            self.counted = replace(self.counted, withheld=self.counted.withheld + 1)

    def take(
        self, clock_ms: int, ended_ms: Mapping[int, int] = MappingProxyType({})
    ) -> Iterator[tuple[VerdictCounts, bytes]]:
        """Yield the records of the step that ends now, with their bytes, and start a new step.

        `ended_ms` is the last clock of each earlier generation that ended in this step.
        """
        cells, self._cells = self._cells, {}
        # Records of earlier generations come first.
        for key in sorted(cells, key=lambda key: key.generation):
            for cell in cells[key]:
                record = self._record(key, cell, ended_ms.get(key.generation, clock_ms))
                value = verdicts.encode(record)
                self.counted = self.counted.after(record, value)
                yield record, value

    def _record(self, key: CountsKey, cell: _Cell, clock_ms: int) -> VerdictCounts:
        return VerdictCounts(
            origin=self._origin,
            partition=self._partition,
            seq=self.counted.seq,
            prev=self.counted.head,
            generation=key.generation,
            rule=key.rule,
            rule_fingerprint=key.fingerprint,
            mode=key.mode,
            minute_ms=key.minute_ms,
            clock_ms=clock_ms,
            added=VerdictSums(**cell.added),
            taken_back=VerdictSums(**cell.taken_back),
            leaves=b"".join(cell.leaves),
            retractions=b"".join(cell.retractions),
        )
