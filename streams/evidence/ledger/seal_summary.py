"""Sums what input the entries of a seal cover, and finds what was not judged in between.

In: the records of `betrace.verdicts`, each partition's in order. Out: sums over one seal (`SealSummary`), and gaps
between one coverage record of a facts partition and the next, across seals too. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import msgspec

from streams.config.units import iso_ms
from topics.distinct import DistinctTraces
from topics.records.verdicts import (
    LIVE_ORIGIN,
    NO_VERDICTS,
    Counted,
    Coverage,
    Record,
    RuleMode,
    SourceCoverage,
    VerdictCounts,
    VerdictSums,
)


class RuleCounts(msgspec.Struct, kw_only=True, gc=False):
    """The verdicts of one rule, added and retracted, by generation of reading and mode of the rule."""

    generation: int
    rule: str
    rule_fingerprint: str
    mode: RuleMode
    added: VerdictSums = NO_VERDICTS
    taken_back: VerdictSums = NO_VERDICTS


class PartitionSummary(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """One facts partition, from its first to its last `topics.records.verdicts.Coverage` in the seal.

    `generation`, `judging` and `counted` are those of the last one. `traces_seen_estimate` counts a trace once.
    Backfills are separate, by their `origin`.
    """

    origin: str = LIVE_ORIGIN
    partition: int
    generation: int
    from_ms: int | None
    to_ms: int
    settled_from_ms: int | None
    settled_to_ms: int
    judging: str
    counted: Counted
    windows_judged: int
    traces_seen_estimate: int


class SealSummary(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What the entries of one seal cover, each list sorted.

    `sources` spans what any facts partition judged: the same source records go to all of them. `unreadable` counts
    entries that are not verdict records.
    """

    partitions: list[PartitionSummary] = []
    sources: list[SourceCoverage] = []
    rule_sets: list[str] = []
    counts: list[RuleCounts] = []
    unreadable: int = 0


_SummaryKey: TypeAlias = tuple[bool, str, int]
"""Whether it is a backfill, its origin, and the facts partition: live comes first."""
_Source: TypeAlias = tuple[str, int]
_Epoch: TypeAlias = tuple[str, int, int]


class _Span(msgspec.Struct, gc=False, kw_only=True):
    """The union of several records about one epoch of a source partition; `dead_letters` by facts partition."""

    first: SourceCoverage
    from_offset: int
    to_offset: int
    lost: list[tuple[int, int]]
    dead_letters: dict[int, int | None]


class SummaryBuilder:
    """Sums the records of one seal."""

    def __init__(self) -> None:
        self._partitions: dict[_SummaryKey, PartitionSummary] = {}
        self._first_sketches: dict[_SummaryKey, bytes] = {}
        self._traces: dict[_SummaryKey, DistinctTraces] = {}
        """Of partitions with more than one record: most have one, whose own estimate is used."""
        self._sources: dict[_Epoch, _Span] = {}
        self._rule_sets: set[str] = set()
        self._counts: dict[tuple[int, str, str, RuleMode], RuleCounts] = {}
        self._unreadable = 0

    def add(self, record: Record | None) -> None:
        """Add the next record; None stands for one that could not be read."""
        if record is None:
            self._unreadable += 1
        elif isinstance(record, VerdictCounts):
            self.add_counts(record)
        else:
            self.add_coverage(record)

    def summary(self) -> SealSummary:
        """Return the sums so far."""
        for key, traces in self._traces.items():
            self._partitions[key].traces_seen_estimate = traces.estimate()
        return SealSummary(
            partitions=[self._partitions[key] for key in sorted(self._partitions)],
            sources=[_spanned(self._sources[source]) for source in sorted(self._sources)],
            rule_sets=sorted(self._rule_sets),
            counts=[self._counts[rule] for rule in sorted(self._counts)],
            unreadable=self._unreadable,
        )

    def add_counts(self, record: VerdictCounts) -> None:
        """Add the next counts record."""
        key = (record.generation, record.rule, record.rule_fingerprint, record.mode)
        counts = self._counts.get(key)
        if counts is None:
            counts = self._counts[key] = RuleCounts(
                generation=record.generation,
                rule=record.rule,
                rule_fingerprint=record.rule_fingerprint,
                mode=record.mode,
            )
        counts.added = counts.added.plus(record.added)
        if record.taken_back is not NO_VERDICTS:
            counts.taken_back = counts.taken_back.plus(record.taken_back)

    def add_coverage(self, record: Coverage) -> None:
        """Add the next coverage record."""
        self._rule_sets.update(record.rule_sets)
        key = (record.origin != LIVE_ORIGIN, record.origin, record.partition)
        before = self._partitions.get(key)
        if before is None:
            self._partitions[key] = PartitionSummary(
                origin=record.origin,
                partition=record.partition,
                generation=record.generation,
                from_ms=record.from_ms,
                to_ms=record.to_ms,
                settled_from_ms=record.settled_from_ms,
                settled_to_ms=record.settled_to_ms,
                judging=record.judging,
                counted=record.counted,
                windows_judged=record.windows_judged,
                traces_seen_estimate=record.traces_seen_estimate,
            )
            self._first_sketches[key] = record.traces_seen_sketch
        else:
            before.generation, before.to_ms = record.generation, record.to_ms
            before.settled_to_ms, before.judging, before.counted = record.settled_to_ms, record.judging, record.counted
            before.windows_judged += record.windows_judged
            self._merge_traces(key, record.traces_seen_sketch)
        self._add_sources(record)

    def _merge_traces(self, key: _SummaryKey, sketch: bytes) -> None:
        traces = self._traces.get(key)
        if traces is None:
            traces = self._traces[key] = DistinctTraces.decode(self._first_sketches[key])
        traces.merge(DistinctTraces.decode(sketch))

    def _add_sources(self, record: Coverage) -> None:
        """Add the sources; one function, because verification spends much of its time here."""
        number, spans = record.partition, self._sources
        for source in record.sources:
            epoch = (source.topic, source.partition, source.epoch)
            span = spans.get(epoch)
            if span is None:
                dead_letters = {number: source.dead_letters}
                spans[epoch] = _Span(
                    first=source,
                    from_offset=source.from_offset,
                    to_offset=source.to_offset,
                    lost=source.lost,
                    dead_letters=dead_letters,
                )
                continue
            if source.from_offset < span.from_offset:  # noqa: PLR1730, a call each is dear here
                span.from_offset = source.from_offset
            if source.to_offset > span.to_offset:  # noqa: PLR1730, as above
                span.to_offset = source.to_offset
            if (source.lost or span.lost) and source != span.first:
                span.lost = sorted({*span.lost, *source.lost})
            dead_letters = span.dead_letters
            dead_letters[number] = (
                _added(dead_letters[number], source.dead_letters) if number in dead_letters else source.dead_letters
            )


def _added(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


def _spanned(span: _Span) -> SourceCoverage:
    # Every facts partition reports the same dead letters, so they are not added up.
    counts = [count for count in span.dead_letters.values() if count is not None]
    return SourceCoverage(
        topic=span.first.topic,
        partition=span.first.partition,
        epoch=span.first.epoch,
        from_offset=span.from_offset,
        to_offset=span.to_offset,
        lost=span.lost,
        dead_letters=max(counts, default=None),
    )


class CoverageContinuity:
    """Checks that the coverage records of one facts partition follow one another; `where` locates the first."""

    def __init__(self, where: str = "") -> None:
        self.where = where
        self.first: Coverage | None = None
        self.last: Coverage | None = None
        self._first_sources: dict[_Source, SourceCoverage] = {}
        self._last_sources: dict[_Source, SourceCoverage] = {}
        """Without those of records that only continued the one before; see `_remember`."""
        self._has_each_once = False

    def gaps(self, record: Coverage) -> Sequence[str]:
        """Return sentences about what is missing between the last record and this one, and what this one calls lost."""
        last, self.last = self.last, record
        if last is not None and self._has_each_once and _continues(last, record):
            return ()
        return [*self._gaps(last, record)]

    def gaps_to(self, later: CoverageContinuity) -> Iterator[str]:
        """Yield what is missing between the records here and those of `later`, and append the latter."""
        self._remember(self.last)
        later._remember(later.last)
        if self.last is not None and later.first is not None:
            yield from _gaps(self.last, later.first)
        for key, source in later._first_sources.items():
            if key in self._last_sources:
                yield from _source_gaps(self._last_sources[key], source)
        self.last = later.last
        self._last_sources |= later._last_sources
        self._has_each_once = later._has_each_once

    def _gaps(self, last: Coverage | None, record: Coverage) -> Iterator[str]:
        self._remember(last)
        if last is None:
            self.first = record
        else:
            yield from _gaps(last, record)
        self._has_each_once = len({(source.topic, source.partition) for source in record.sources}) == len(
            record.sources
        )
        for source in record.sources:
            key = (source.topic, source.partition)
            before = self._last_sources.get(key)
            self._last_sources[key] = source
            if before is None:
                self._first_sources[key] = source
            else:
                yield from _source_gaps(before, source)
            for begin, end in source.lost:
                yield f"{_name(source)} offsets {begin} to {end} were deleted before they could be read"

    def _remember(self, last: Coverage | None) -> None:
        """Keep the sources of a record that only continued; those of any other are known, and unchanged."""
        for source in last.sources if last else ():
            self._last_sources[source.topic, source.partition] = source


def _continues(last: Coverage, record: Coverage) -> bool:
    """Return whether the record has the same sources as the last one, and continues all of them."""
    if record.facts_from != last.facts_to or record.from_ms != last.to_ms or len(record.sources) != len(last.sources):
        return False
    for before, source in zip(last.sources, record.sources, strict=True):
        if (
            source.from_offset != before.to_offset
            or source.partition != before.partition
            or source.topic != before.topic
            or source.lost
        ):
            return False
    return True


def _gaps(last: Coverage, record: Coverage) -> Iterator[str]:
    if record.generation != last.generation and record.reset_ms == last.reset_ms:
        yield from _restart_gap(last, record)
        return
    if record.facts_from != last.facts_to:
        yield f"facts continue at {record.facts_from}, but the record before ended at {last.facts_to}"
    # Another generation has its own clock.
    if record.from_ms != last.to_ms and record.generation == last.generation:
        yield f"record time continues at {_time(record.from_ms)}, but the record before ended at {_time(last.to_ms)}"


def _restart_gap(last: Coverage, record: Coverage) -> Iterator[str]:
    """Yield the gap before an unplanned new reading: the checkpoint, or the facts that it needs, were deleted.

    Both readings together prove nothing about what could still be amended when the first ended, and what the other may
    have read only in part. The offsets show whether source records were lost.
    """
    if record.facts_from > last.facts_to:
        yield f"facts {last.facts_to} to {record.facts_from} were deleted before they were judged"
    from_ms = min((rule.from_ms for rule in record.rules or ()), default=record.settled_to_ms)
    if from_ms > last.final_to_ms:
        yield (
            f"reading restarted at facts {record.facts_from}, without the checkpoint or facts of the previous "
            f"reading: chains that began from {_time(last.final_to_ms)} to {_time(from_ms)} are not proved"
        )


def _source_gaps(before: SourceCoverage, source: SourceCoverage) -> Iterator[str]:
    if before.epoch == source.epoch and before.to_offset != source.from_offset:
        yield f"{_name(source)} continues at {source.from_offset}, but the record before ended at {before.to_offset}"


def _name(source: SourceCoverage) -> str:
    return f"{source.topic}[{source.partition}]"


def _time(time_ms: int | None) -> str:
    return "an unknown time" if time_ms is None else iso_ms(time_ms)
