"""The cover of a seal: what input its entries speak of, and where something between was not judged.

In: the records of `betrace.verdicts`, each partition's in order. Out: sums over one seal (`Cover`), and gaps between
one coverage record of a facts partition and the next, across seals too. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import msgspec

from streams.times import iso_ms
from topics.verdicts import Coverage, Record, SourceCoverage, VerdictCounts


class RuleCounts(msgspec.Struct, kw_only=True, gc=False):
    """Verdicts of one rule, as deltas."""

    rule: str
    rule_fingerprint: str
    held: int = 0
    broken: int = 0
    undetermined: int = 0
    not_applicable: int = 0
    excepted: int = 0
    leaves: int = 0


class PartitionCover(msgspec.Struct, kw_only=True, gc=False):
    """One facts partition, from its first to its last coverage record in the seal; see `topics.verdicts.Coverage`."""

    partition: int
    from_ms: int | None
    to_ms: int
    windows_judged: int
    traces_seen_estimate: int


class Cover(msgspec.Struct, frozen=True, gc=False):
    """What the entries of one seal speak of, each list sorted.

    `sources` spans what any facts partition judged: the same source records go to all of them. `unreadable` counts
    entries that are no verdict records.
    """

    partitions: list[PartitionCover] = []
    sources: list[SourceCoverage] = []
    rule_sets: list[str] = []
    counts: list[RuleCounts] = []
    unreadable: int = 0


_SourceKey: TypeAlias = tuple[str, int, int]


class CoverSum:
    """Sums the records of one seal."""

    def __init__(self) -> None:
        self._partitions: dict[int, PartitionCover] = {}
        self._sources: dict[_SourceKey, SourceCoverage] = {}
        self._dead_letters: dict[_SourceKey, dict[int, int | None]] = {}
        self._rule_sets: set[str] = set()
        self._counts: dict[tuple[str, str], RuleCounts] = {}
        self._unreadable = 0

    def add(self, record: Record | None) -> None:
        """Adds the next record; None stands for one that could not be read."""
        if record is None:
            self._unreadable += 1
        elif isinstance(record, VerdictCounts):
            self._add_counts(record)
        else:
            self._add_coverage(record)

    def cover(self) -> Cover:
        """The sum so far."""
        return Cover(
            [self._partitions[number] for number in sorted(self._partitions)],
            [self._spanned(source) for source in sorted(self._sources)],
            sorted(self._rule_sets),
            [self._counts[rule] for rule in sorted(self._counts)],
            self._unreadable,
        )

    def _add_counts(self, record: VerdictCounts) -> None:
        rule = (record.rule, record.rule_fingerprint)
        counts = self._counts.get(rule)
        if counts is None:
            counts = self._counts[rule] = RuleCounts(rule=record.rule, rule_fingerprint=record.rule_fingerprint)
        counts.held += record.held
        counts.broken += record.broken
        counts.undetermined += record.undetermined
        counts.not_applicable += record.not_applicable
        counts.excepted += record.excepted
        counts.leaves += len(record.leaves) // 32

    def _add_coverage(self, record: Coverage) -> None:
        self._rule_sets.update(record.rule_sets)
        before = self._partitions.get(record.partition)
        if before is None:
            self._partitions[record.partition] = PartitionCover(
                partition=record.partition,
                from_ms=record.from_ms,
                to_ms=record.to_ms,
                windows_judged=record.windows_judged,
                traces_seen_estimate=record.traces_seen_estimate,
            )
        else:
            before.to_ms = record.to_ms
            before.windows_judged += record.windows_judged
            before.traces_seen_estimate += record.traces_seen_estimate
        for source in record.sources:
            self._add_source(source, record.partition)

    def _add_source(self, source: SourceCoverage, partition: int) -> None:
        at = (source.topic, source.partition, source.epoch)
        before = self._sources.get(at)
        if before is None:
            self._sources[at] = source
            self._dead_letters[at] = {partition: source.dead_letters}
            return
        told = self._dead_letters[at]
        count, so_far = source.dead_letters, told.get(partition, 0)
        told[partition] = None if so_far is None or count is None else so_far + count
        if before != source:
            self._sources[at] = _joined(before, source)

    def _spanned(self, at: _SourceKey) -> SourceCoverage:
        # Every facts partition is told of the same dead letters, so they are not added up.
        told = [count for count in self._dead_letters[at].values() if count is not None]
        return msgspec.structs.replace(self._sources[at], dead_letters=max(told, default=None))


def _joined(one: SourceCoverage, other: SourceCoverage) -> SourceCoverage:
    return SourceCoverage(
        topic=one.topic,
        partition=one.partition,
        epoch=one.epoch,
        from_offset=min(one.from_offset, other.from_offset),
        to_offset=max(one.to_offset, other.to_offset),
        lost=sorted({*one.lost, *other.lost}),
    )


class Continuity:
    """Whether the coverage records of one facts partition follow one another; `where` is the place of the first."""

    def __init__(self, where: str = "") -> None:
        self.where = where
        self.first: Coverage | None = None
        self.last: Coverage | None = None
        self._first_sources: dict[tuple[str, int], SourceCoverage] = {}
        self._last_sources: dict[tuple[str, int], SourceCoverage] = {}

    def gaps(self, record: Coverage) -> Iterator[str]:
        """What is missing between the last record and this one, and what this one itself calls lost, as sentences."""
        if self.last is None:
            self.first = record
        elif record.facts_from != self.last.facts_to or record.from_ms != self.last.to_ms:
            yield from _gaps(self.last, record)
        self.last = record
        for source in record.sources:
            at = (source.topic, source.partition)
            before = self._last_sources.get(at)
            self._last_sources[at] = source
            if before is None:
                self._first_sources[at] = source
            elif before.to_offset != source.from_offset:
                yield from _source_gaps(before, source)
            for begin, end in source.lost:
                yield f"{_name(source)} offsets {begin} to {end} were gone before they could be read"

    def gaps_to(self, later: Continuity) -> Iterator[str]:
        """What is missing between the records here and those that `later` saw, which are taken over."""
        if self.last is not None and later.first is not None:
            yield from _gaps(self.last, later.first)
        for at, source in later._first_sources.items():
            if at in self._last_sources:
                yield from _source_gaps(self._last_sources[at], source)
        self.last = later.last
        self._last_sources |= later._last_sources


def _gaps(last: Coverage, record: Coverage) -> Iterator[str]:
    if record.facts_from != last.facts_to:
        yield f"facts go on at {record.facts_from}, the record before ended at {last.facts_to}"
    if record.from_ms != last.to_ms:
        yield f"record time goes on at {_time(record.from_ms)}, the record before ended at {_time(last.to_ms)}"


def _source_gaps(before: SourceCoverage, source: SourceCoverage) -> Iterator[str]:
    if before.epoch == source.epoch and before.to_offset != source.from_offset:
        yield f"{_name(source)} goes on at {source.from_offset}, the record before ended at {before.to_offset}"


def _name(source: SourceCoverage) -> str:
    return f"{source.topic}[{source.partition}]"


def _time(time_ms: int | None) -> str:
    return "an unknown time" if time_ms is None else iso_ms(time_ms)
