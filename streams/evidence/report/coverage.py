"""Computes which times and which input were judged, and which were not.

In: the bounds of coverage records of each facts partition. Out: gaps. A moment is judged once every facts partition has
judged it: a trace may be in any of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from topics.distinct import DistinctTraces
from topics.records.verdicts import SourceCoverage

HOUR_MS = 3_600_000


class Gap(msgspec.Struct, frozen=True):
    """A period, `to_ms` excluded, that was not judged, at least not in these facts partitions."""

    from_ms: int
    to_ms: int
    partitions: list[int]


@dataclass(slots=True)
class SourceSum:
    """The judged offsets of one epoch of a source partition, in one facts partition; `dead_letters` None if unknown."""

    from_offset: int
    to_offset: int
    lost: set[tuple[int, int]] = field(default_factory=set)
    dead_letters: int | None = 0

    def add(self, source: SourceCoverage) -> None:
        """Add the sources of a coverage record."""
        if source.from_offset == self.to_offset:
            self.to_offset = source.to_offset
        else:
            self._widen(source.from_offset, source.to_offset)
        if source.lost:
            self.lost.update(source.lost)
        if source.dead_letters != 0:
            self._add_dead_letters(source.dead_letters)

    def extend(self, later: SourceSum) -> None:
        """Add those of later records."""
        self._widen(later.from_offset, later.to_offset)
        self.lost |= later.lost
        self._add_dead_letters(later.dead_letters)

    def _add_dead_letters(self, count: int | None) -> None:
        self.dead_letters = None if self.dead_letters is None or count is None else self.dead_letters + count

    def _widen(self, from_offset: int, to_offset: int) -> None:
        self.from_offset = min(self.from_offset, from_offset)
        self.to_offset = max(self.to_offset, to_offset)


@dataclass(slots=True)
class PartitionCoverage:
    """What one facts partition judged, in all generations of reading.

    `judged` are disjoint periods, in order of their records, `traces` the distinct traces that were read.
    """

    judged: list[tuple[int, int]] = field(default_factory=list)
    sources: dict[tuple[str, int, int], SourceSum] = field(default_factory=dict)
    windows_judged: int = 0
    traces: DistinctTraces = field(default_factory=DistinctTraces)

    def add(self, from_ms: int | None, to_ms: int) -> None:
        """Add a record's bounds; the very first one only says where judging began."""
        begin_ms = to_ms if from_ms is None else from_ms
        if self.judged and self.judged[-1][1] == begin_ms:
            self.judged[-1] = (self.judged[-1][0], to_ms)
        else:
            self.judged.append((begin_ms, to_ms))

    def extend(self, later: PartitionCoverage) -> None:
        """Add those of later records."""
        for begin_ms, end_ms in later.judged:
            self.add(begin_ms, end_ms)
        for key, source in later.sources.items():
            if key in self.sources:
                self.sources[key].extend(source)
            else:
                self.sources[key] = source
        self.windows_judged += later.windows_judged
        self.traces.merge(later.traces)


def missing(judged: Iterable[tuple[int, int]], from_ms: int, to_ms: int) -> list[tuple[int, int]]:
    """Return the parts of `[from_ms, to_ms)` that are in none of the times.

    >>> missing([(0, 10), (20, 30), (5, 12)], 8, 40)
    [(12, 20), (30, 40)]
    """
    uncovered = []
    reached_ms = from_ms
    for begin_ms, end_ms in sorted(judged):
        if begin_ms >= to_ms:
            break
        if begin_ms > reached_ms:
            uncovered.append((reached_ms, begin_ms))
        reached_ms = max(reached_ms, end_ms)
    if reached_ms < to_ms:
        uncovered.append((reached_ms, to_ms))
    return uncovered


def gaps(partitions: Mapping[int, PartitionCoverage], expected: Iterable[int], from_ms: int, to_ms: int) -> list[Gap]:
    """Return the times that not all expected partitions judged, in order; a gap ends where the partitions change."""
    numbers = sorted({*expected, *partitions})
    if not numbers:
        return [Gap(from_ms, to_ms, [])]
    edges: list[tuple[int, bool, int]] = []
    for number in numbers:
        coverage = partitions.get(number)
        for begin_ms, end_ms in missing(coverage.judged if coverage else (), from_ms, to_ms):
            edges += [(begin_ms, True, number), (end_ms, False, number)]
    result: list[Gap] = []
    lacking: set[int] = set()
    since_ms = from_ms
    for edge_ms, is_begin, number in sorted(edges):
        if lacking and edge_ms > since_ms:
            result.append(Gap(since_ms, edge_ms, sorted(lacking)))
        since_ms = edge_ms
        (lacking.add if is_begin else lacking.discard)(number)
    return result


def judged_ms(gaps: Iterable[Gap], from_ms: int, to_ms: int) -> int:
    """Return how much of `[from_ms, to_ms)` is in no gap.

    >>> judged_ms([Gap(2, 5, [0])], 0, 10)
    7
    """
    return to_ms - from_ms - sum(max(0, min(gap.to_ms, to_ms) - max(gap.from_ms, from_ms)) for gap in gaps)


def hours_not_judged(gaps: Iterable[Gap]) -> int:
    """Return how many hours of the clock (UTC) have a gap.

    >>> hours_not_judged([Gap(0, 1, [0]), Gap(3_599_000, 3_601_000, [0])])
    2
    """
    return len({hour for gap in gaps for hour in range(gap.from_ms // HOUR_MS, -(-gap.to_ms // HOUR_MS))})
