"""Resolves readings, so that each verdict counts once however often the input was read: `resolve(gathered, from_ms)`.

In: counts and coverage of each reading (generation) of each facts partition. Out: counts by rule and day, and the times
in which chains began that each rule has judged. Pure.

A backfill judges what no reading has judged with its rules: its counts are added to theirs, and its times too.

A later reading replaces an earlier one minute by minute, where its own verdicts are complete, and only for the rules
that it judged with. A minute that no reading has completely, although more than one has a part of it, was read twice:
the counts of the earliest are used, and it counts as not judged.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
from msgspec.structs import replace

from streams.evidence.report.coverage import missing
from streams.evidence.report.gathered import DAY_MS, Counts, Gathered, Settled
from topics.records.verdicts import LIVE_ORIGIN, MINUTE_MS

Times = list[tuple[int, int]]
"""Disjoint times in order; ends are excluded."""

RuleKey = tuple[str, str]
"""A rule's id and fingerprint."""


class Reset(msgspec.Struct, frozen=True, kw_only=True):
    """A repeated reading of the input: found at `found_ms` of the wall clock, from record time `from_ms` on.

    Both are None if the evidence does not say; `partitions` are the facts partitions it is known for.
    """

    found_ms: int | None
    from_ms: int | None
    partitions: list[int]


@dataclass(slots=True, kw_only=True)
class RuleJudged:
    """What one rule judged: counts by day (days since 1970, UTC), and times by facts partition.

    `before` are counts of the days before the period. `read_twice` are the minutes that are in no time because two
    readings have a part of them. `backfilled` are the times, among the others, that a backfill judged, by its origin.
    """

    days: defaultdict[int, Counts] = field(default_factory=lambda: defaultdict(Counts))
    before: defaultdict[int, Counts] = field(default_factory=lambda: defaultdict(Counts))
    times: dict[int, Times] = field(default_factory=dict)
    read_twice: set[int] = field(default_factory=set)
    modes: set[str] = field(default_factory=set)
    backfilled: dict[str, dict[int, Times]] = field(default_factory=dict)

    def count(self, time_ms: int, counts: Counts, from_ms: int) -> None:
        """Add verdicts on chains that began at that time, in the period that begins at `from_ms` or before it."""
        days = self.days if time_ms >= from_ms else self.before
        days[time_ms // DAY_MS].add(counts)


@dataclass(slots=True)
class Resolved:
    """What each rule judged, by id and fingerprint; resets in the order in which they were found."""

    rules: dict[RuleKey, RuleJudged] = field(default_factory=dict)
    resets: list[Reset] = field(default_factory=list)

    def of(self, key: RuleKey) -> RuleJudged:
        """Return what a rule judged."""
        return self.rules.setdefault(key, RuleJudged())


def resolve(gathered: Gathered, from_ms: int) -> Resolved:
    """Return what counts, for the period that begins at `from_ms` and the days before it."""
    resolved = Resolved(resets=_resets(gathered))
    times = _times(gathered)
    for (partition, key), by_generation in times.items():
        judged = resolved.of(key)
        twice = _read_twice(by_generation)
        judged.read_twice |= twice
        cut = [(at, at + MINUTE_MS) for at in sorted(twice)]
        judged.times[partition] = without(union(one for each in by_generation.values() for one in each), cut)
    _add_backfills(gathered, resolved)
    cells: defaultdict[tuple[int, RuleKey], dict[int, dict[int, Counts]]] = defaultdict(lambda: defaultdict(dict))
    for cell, counted in gathered.cells.items():
        key = (cell.rule, cell.fingerprint)
        resolved.of(key).modes.add(cell.mode)
        if cell.origin != LIVE_ORIGIN:
            for time_ms, counts in counted.items():
                resolved.of(key).count(time_ms, counts, from_ms)
            continue
        by_minute = cells[cell.partition, key]
        for time_ms, counts in counted.items():
            by_minute[time_ms].setdefault(cell.generation, Counts()).add(counts)
    for (partition, key), by_minute in cells.items():
        judged, by_generation = resolved.of(key), times.get((partition, key), {})
        for time_ms, readings in by_minute.items():
            generation = min(readings) if gathered.is_read_once else _counting(time_ms, readings, by_generation)
            if generation in readings:
                judged.count(time_ms, readings[generation], from_ms)
    return resolved


def _add_backfills(gathered: Gathered, resolved: Resolved) -> None:
    """Add the times that backfills judged to those of their rules."""
    for origin, backfill in gathered.backfills.items():
        for (partition, judging), times in backfill.judging.items():
            for rule in gathered.listed.get(judging, ()):
                judged = resolved.of((rule.rule, rule.fingerprint))
                by_partition = judged.backfilled.setdefault(origin, {})
                by_partition[partition] = union([*by_partition.get(partition, ()), *times])
                judged.times[partition] = union([*judged.times.get(partition, ()), *times])


def _times(gathered: Gathered) -> dict[tuple[int, RuleKey], dict[int, Times]]:
    """Return when each rule judged in each partition, by reading."""
    settled: defaultdict[tuple[int, RuleKey], dict[int, list[Settled]]] = defaultdict(dict)
    newest: dict[int, int] = {}
    ends: dict[tuple[int, int], int] = {}
    for (partition, generation), reading in gathered.readings.items():
        newest[partition] = max(generation, newest.get(partition, 0))
        for judging, times in reading.judging.items():
            for rule in gathered.listed.get(judging, ()):
                own = [replace(time, from_ms=max(time.from_ms, rule.from_ms)) for time in times]
                settled[partition, (rule.rule, rule.fingerprint)].setdefault(generation, []).extend(own)
            end_ms = max(time.to_ms for time in times)
            ends[partition, generation] = max(end_ms, ends.get((partition, generation), 0))
    return {
        (partition, key): {
            number: _final(own, ends[partition, number] if number == newest[partition] else None)
            for number, own in readings.items()
        }
        for (partition, key), readings in settled.items()
    }


def _final(settled: Iterable[Settled], still_ms: int | None) -> Times:
    """Return the times of a rule; a rule that ended keeps what is final: it did not judge later spans.

    `still_ms` is up to where the rule judges, None if the reading is over.
    """
    joined: list[Settled] = []
    for time in sorted(settled, key=lambda time: (time.to_ms, time.from_ms)):
        if joined and time.from_ms <= joined[-1].to_ms:
            joined[-1] = Settled(
                min(joined[-1].from_ms, time.from_ms), time.to_ms, max(joined[-1].final_ms, time.final_ms)
            )
        else:
            joined.append(time)
    ends = [time.to_ms if time.to_ms == still_ms else min(time.to_ms, time.final_ms) for time in joined]
    return [(time.from_ms, end_ms) for time, end_ms in zip(joined, ends, strict=True) if time.from_ms < end_ms]


def _counting(time_ms: int, readings: Mapping[int, Counts], judged: Mapping[int, Times]) -> int:
    """Return the reading whose counts of a minute are in force."""
    whole = [number for number, times in judged.items() if _has(times, time_ms, time_ms + MINUTE_MS)]
    return max(whole) if whole else min(readings)


def _read_twice(by_generation: Mapping[int, Times]) -> set[int]:
    """Return the minutes that no reading has completely, although more than one has a part of them."""
    if len(by_generation) == 1:
        return set()
    edges = {edge // MINUTE_MS * MINUTE_MS for times in by_generation.values() for time in times for edge in time}
    return {at for at in edges if _is_read_twice(at, by_generation.values())}


def _is_read_twice(minute_ms: int, readings: Iterable[Times]) -> bool:
    end_ms = minute_ms + MINUTE_MS
    parts = [times for times in readings if any(begin < end_ms and end > minute_ms for begin, end in times)]
    return len(parts) > 1 and not any(_has(times, minute_ms, end_ms) for times in parts)


def _has(times: Times, from_ms: int, to_ms: int) -> bool:
    return any(begin <= from_ms and to_ms <= end for begin, end in times)


def union(times: Iterable[tuple[int, int]]) -> Times:
    """Return the union of times as disjoint times that do not touch.

    >>> union([(5, 9), (0, 5), (20, 30), (22, 25)])
    [(0, 9), (20, 30)]
    """
    result: Times = []
    for begin, end in sorted(times):
        if result and begin <= result[-1][1]:
            result[-1] = (result[-1][0], max(result[-1][1], end))
        else:
            result.append((begin, end))
    return result


def without(times: Sequence[tuple[int, int]], cut: Sequence[tuple[int, int]]) -> Times:
    """Return the times without the excluded ones.

    >>> without([(0, 10), (20, 30)], [(4, 5), (9, 21)])
    [(0, 4), (5, 9), (21, 30)]
    """
    return [one for begin, end in times for one in missing(cut, begin, end)]


def _resets(gathered: Gathered) -> list[Reset]:
    by_reset: defaultdict[tuple[int | None, int | None], list[int]] = defaultdict(list)
    for (partition, generation), reading in gathered.readings.items():
        if generation:
            by_reset[reading.reset_ms, reading.start_ms].append(partition)
    return [
        Reset(found_ms=found_ms, from_ms=from_ms, partitions=sorted(partitions))
        for (found_ms, from_ms), partitions in sorted(by_reset.items(), key=lambda item: item[0][0] or 0)
    ]
