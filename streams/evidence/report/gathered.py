"""Holds what the seals say about a period: sums by reading, rule and time, and what was judged of the input.

In: what `streams.evidence.report.gather` reads. Out: data. A sum over more seals is the sum of their sums, in order.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import msgspec

from streams.evidence.report.backfills import GatheredBackfill
from streams.evidence.report.coverage import PartitionCoverage
from topics.records.verdicts import LIVE_ORIGIN, JudgingRule, VerdictSums
from topics.signals.digest import Digest

DAY_MS = 86_400_000


class Counts(msgspec.Struct, gc=False):
    """Verdicts, less those that were retracted."""

    held: int = 0
    broken: int = 0
    undetermined: int = 0
    excepted: int = 0

    @property
    def applicable(self) -> int:
        """The number of traces to which the rule applies."""
        return self.held + self.broken + self.undetermined

    def count(self, added: VerdictSums, taken_back: VerdictSums) -> None:
        """Add the counts of a record."""
        self.held += added.held - taken_back.held
        self.broken += added.broken - taken_back.broken
        self.undetermined += added.undetermined - taken_back.undetermined
        self.excepted += added.excepted - taken_back.excepted

    def add(self, other: Counts) -> None:
        """Add further verdicts."""
        self.held += other.held
        self.broken += other.broken
        self.undetermined += other.undetermined
        self.excepted += other.excepted


class CellKey(NamedTuple):
    """The key of counts: one reading of one facts partition, or a backfill of it, and a rule."""

    partition: int
    generation: int
    rule: str
    fingerprint: str
    mode: str
    origin: str = LIVE_ORIGIN


class Settled(msgspec.Struct, gc=False):
    """A period in which chains began that have their verdicts; verdicts of those before `final_ms` are final."""

    from_ms: int
    to_ms: int
    final_ms: int


class Reading(msgspec.Struct, gc=False):
    """One generation of reading of a facts partition, from its coverage records.

    `judging` has the times in which chains began that are settled, by the hash of the rules that judged. `start_ms` is
    the record time from which the reading is complete, `reset_ms` the wall clock at which the reset of the offsets was
    found.
    """

    start_ms: int | None
    reset_ms: int | None
    judging: dict[str, list[Settled]] = msgspec.field(default_factory=dict)

    def add(self, judging: str, time: Settled) -> None:
        """Add a record's time."""
        times = self.judging.setdefault(judging, [])
        if times and times[-1].to_ms == time.from_ms:
            times[-1] = Settled(times[-1].from_ms, time.to_ms, time.final_ms)
        else:
            times.append(time)

    def extend(self, later: Reading) -> None:
        """Add what later seals say."""
        for judging, times in later.judging.items():
            for time in times:
                self.add(judging, time)


@dataclass(slots=True, kw_only=True)
class Gathered:
    """What the seals `[first_seal, end_seal)` say about the period.

    `cells` are counts by the minute in which the chains began, or by its day if everything was read once
    (`is_read_once`). `readings` are by facts partition and generation, `listed` the rules that judged, by hash.
    `partitions` have the judged input, by number; `expected` are the facts partitions that must have coverage.
    `signals` are the last revision of each finding by uid. `services` have the days (since 1970) on which each was
    named, also in the fortnight before, `unlisted_services` the days on which there were more. `backfills` are by
    origin. `lost` counts records of the verdict topics that the ledger could not read.
    """

    first_seal: int = 0
    end_seal: int = 0
    is_read_once: bool = True
    cells: dict[CellKey, dict[int, Counts]] = field(default_factory=dict)
    readings: dict[tuple[int, int], Reading] = field(default_factory=dict)
    listed: dict[str, list[JudgingRule]] = field(default_factory=dict)
    partitions: dict[int, PartitionCoverage] = field(default_factory=dict)
    expected: set[int] = field(default_factory=set)
    rule_sets: dict[str, int] = field(default_factory=dict)
    services: dict[str, set[int]] = field(default_factory=dict)
    unlisted_services: set[int] = field(default_factory=set)
    signals: dict[str, Digest] = field(default_factory=dict)
    backfills: dict[str, GatheredBackfill] = field(default_factory=dict)
    lost: int = 0
    unreadable: list[str] = field(default_factory=list)

    def add(self, later: Gathered) -> None:
        """Add what later seals say."""
        self.end_seal = later.end_seal
        for key, counted in later.cells.items():
            for time_ms, counts in counted.items():
                self.cell(key, time_ms).add(counts)
        for at, reading in later.readings.items():
            before = self.readings.setdefault(at, reading)
            if before is not reading:
                before.extend(reading)
        self.listed |= later.listed
        for number, coverage in later.partitions.items():
            self.partition(number).extend(coverage)
        self.expected |= later.expected
        self.rule_sets = later.rule_sets | self.rule_sets
        for name, days in later.services.items():
            self.services.setdefault(name, set()).update(days)
        self.unlisted_services |= later.unlisted_services
        for uid, signal in later.signals.items():
            self.signal(uid, signal)
        for origin, backfill in later.backfills.items():
            self.add_backfill(origin, backfill)
        self.lost += later.lost
        self.unreadable += later.unreadable

    def cell(self, key: CellKey, time_ms: int) -> Counts:
        """Return the counts of a rule for chains that began in the minute or day from `time_ms` on."""
        counted = self.cells.setdefault(key, {})
        counts = counted.get(time_ms)
        if counts is None:
            counts = counted[time_ms] = Counts()
        return counts

    def partition(self, number: int) -> PartitionCoverage:
        """Return the coverage of one facts partition."""
        coverage = self.partitions.get(number)
        if coverage is None:
            coverage = self.partitions[number] = PartitionCoverage()
        return coverage

    def add_backfill(self, origin: str, later: GatheredBackfill) -> None:
        """Add what a backfill says later."""
        before = self.backfills.setdefault(origin, later)
        if before is not later:
            before.add(later)

    def signal(self, uid: str, signal: Digest) -> None:
        """Add a revision of a finding: the last one counts, and the first one says when the chain began."""
        before = self.signals.get(uid)
        if before is None:
            self.signals[uid] = signal
        elif before.revision < signal.revision:
            self.signals[uid] = replace(signal, first_ms=before.first_ms)
        elif before.revision > signal.revision:
            self.signals[uid] = replace(before, first_ms=signal.first_ms)
