"""Decides what a backfill judges, from what is known about live and earlier backfills. Pure.

In: a `Known`, the given rules, and the start. Out: a `Backfill`. Its origin is a function of the rules, of when live
began to judge each of them, and of when the backfill begins, so a backfill that was killed is found again by whoever
starts it with the same rules; it continues, from its own start, whatever time is given now.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import msgspec

from dsl import RuleSet
from streams.backfill.verdict_log import LiveStart, PartitionDone, Times
from streams.replay.selection import RulePart, Selection
from streams.replay.source_reader import HOUR_MS
from topics.records.verdicts import BACKFILL_ORIGIN

Live = Mapping[tuple[int, str], LiveStart]
"""From when on live judges, by facts partition and rule fingerprint."""

_ID_BYTES = 8


@dataclass(frozen=True, slots=True)
class Known:
    """The content of `betrace.verdicts` for `partition_count` facts partitions; see `streams.backfill.verdict_log`."""

    partition_count: int
    live: Live
    backfills: Mapping[str, Mapping[int, PartitionDone]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Backfill:
    """What is to be judged with rules of `rules`, for chains that began at `begin_ms` or later.

    `done` is the part that is published already, by facts partition.
    """

    origin: str
    begin_ms: int
    rules: RuleSet
    selection: Selection
    done: Mapping[int, PartitionDone]

    @property
    def is_started(self) -> bool:
        """Whether a part of it is published."""
        return bool(self.done)

    @property
    def is_finished(self) -> bool:
        """Whether nothing of it is left."""
        return all(not self.hours(number, 0) for number in range(self.selection.partition_count))

    def hours(self, partition: int, from_ms: int) -> list[int]:
        """Return the starts of the hours in which a facts partition has something left, of chains from `from_ms` on."""
        done = self.done.get(partition)
        reached_ms = 0 if done is None else done.settled_to_ms
        left = [
            (max(begin, from_ms), end) for begin, end in self._times(partition) if max(begin, from_ms, reached_ms) < end
        ]
        hours = {hour for begin, end in left for hour in range(begin // HOUR_MS, -(-end // HOUR_MS))}
        return [hour * HOUR_MS for hour in sorted(hours) if self._end_ms(left, hour * HOUR_MS) > reached_ms]

    def intervals(self, partition: int, hour_ms: int, from_ms: int) -> Iterator[tuple[int, int, list[str]]]:
        """Yield the times of an hour, from `from_ms` on, with the fingerprints of the rules that judge in them."""
        first_ms, end_ms = max(hour_ms, from_ms), hour_ms + HOUR_MS
        parts = {rule: part for (number, rule), part in self.selection.parts.items() if number == partition}
        edges = {edge for part in parts.values() for time in part.times for edge in time}
        points = sorted({first_ms, end_ms, *(edge for edge in edges if first_ms < edge < end_ms)})
        for begin, end in pairwise(points):
            judging = sorted(rule for rule, part in parts.items() if part.holds(begin))
            if judging:
                yield begin, end, judging

    def _times(self, partition: int) -> Times:
        return [
            time for (number, _), part in self.selection.parts.items() if number == partition for time in part.times
        ]

    @staticmethod
    def _end_ms(times: Times, hour_ms: int) -> int:
        return max((min(end, hour_ms + HOUR_MS) for begin, end in times if begin < hour_ms + HOUR_MS), default=0)


def unknown(known: Known, fingerprints: Iterable[str]) -> list[tuple[int, str]]:
    """Return the facts partitions and fingerprints of rules for which live has not stated its start yet."""
    return [
        (number, rule)
        for rule in fingerprints
        for number in range(known.partition_count)
        if (number, rule) not in known.live
    ]


def decide(known: Known, rules: RuleSet, fingerprints: frozenset[str], begin_ms: int, prefix: str) -> Backfill | None:
    """Return the backfill of the rules with these fingerprints to run now; None if nothing is left.

    An unfinished backfill of the same rules comes first. Live must have stated its start for each rule.
    """
    live = {key: start for key, start in known.live.items() if key[1] in fingerprints}
    for origin, parts in known.backfills.items():
        began_ms = min(done.begin_ms for done in parts.values())
        if origin == origin_of(live, began_ms):
            started = _backfill(known, rules, live, began_ms, prefix, origin)
            if not started.is_finished:
                return started
    begin_ms = begin_ms // HOUR_MS * HOUR_MS
    origin = origin_of(live, begin_ms)
    if origin in known.backfills:
        return None
    made = _backfill(known, rules, live, begin_ms, prefix, origin)
    return None if made.is_finished else made


def origin_of(live: Live, begin_ms: int) -> str:
    """Return the origin of a backfill from `begin_ms` on of rules that live judges from these times on.

    >>> origin_of({(0, "f0"): LiveStart(100, 100), (1, "f0"): LiveStart(100, 200)}, 0)
    'backfill/693e4f86b70e6c4c'
    """
    starts = sorted([rule, number, start.from_ms] for (number, rule), start in live.items())
    name = hashlib.sha256(msgspec.json.encode([begin_ms, starts])).digest()[:_ID_BYTES].hex()
    return f"{BACKFILL_ORIGIN}{name}"


def _backfill(known: Known, rules: RuleSet, live: Live, begin_ms: int, prefix: str, origin: str) -> Backfill:
    parts = {}
    for (number, rule), live_start in live.items():
        others = [
            time
            for other, done in known.backfills.items()
            if other != origin and number in done
            for time in done[number].times.get(rule, ())
        ]
        times = tuple(left((begin_ms, live_start.stated_ms), others))
        if times and begin_ms < live_start.from_ms:
            parts[number, rule] = RulePart(live_start.from_ms, times)
    selection = Selection(known.partition_count, parts, prefix + origin)
    return Backfill(
        origin=origin, begin_ms=begin_ms, rules=rules, selection=selection, done=known.backfills.get(origin, {})
    )


def left(time: tuple[int, int], taken: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield the parts of an interval that none of the others covers.

    >>> [*left((0, 10), [(8, 20), (2, 3)])]
    [(0, 2), (3, 8)]
    """
    reached, end = time
    for start, until in sorted(taken):
        if reached < min(start, end):
            yield reached, min(start, end)
        reached = max(reached, until)
    if reached < end:
        yield reached, end
