"""`gather(store, from_ms, to_ms)`: one pass over the seals of a period.

In: a storage of evidence, and a period of record time, `to_ms` not included. Out: `Gathered`. Nothing is verified here;
a file that cannot be read is named in `unreadable`, and so are the records in it that are of no known form.

Seals are found by their wall clock: one that was made an hour before the period or earlier has nothing of it, because
records are sealed after they were judged, and record time runs ahead of the wall clock by less.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import msgspec

from streams.evidence.ledger import entry, storage
from streams.evidence.ledger.log import VERDICTS
from streams.evidence.ledger.shares import in_shares
from streams.evidence.ledger.storage import Storage
from streams.evidence.report.coverage import PartitionCoverage, SourceSum
from topics.records.verdicts import SourceCoverage
from topics.signals.digest import Digest, NoSignalError, digest

DAY_MS = 86_400_000
AHEAD_MS = 3_600_000
LOOK_BACK = 10_000
"""Seals in which a facts partition must have been heard of, to hold the end of what is judged."""

SIGNALS = "signals"


class _Log(msgspec.Struct, gc=False):
    topic: str
    partition: int
    added: int = 0
    lost: list[tuple[int, int]] = []


class _End(msgspec.Struct, gc=False):
    partition: int
    to_ms: int


class _Cover(msgspec.Struct, gc=False):
    partitions: list[_End] = []


class _Seal(msgspec.Struct, gc=False):
    """Of a seal what a report needs; all else is passed over, in a third of the time."""

    time_ms: int
    logs: list[_Log]
    cover: _Cover


class _Counts(msgspec.Struct, tag_field="kind", tag="counts", gc=False):
    rule: str
    rule_fingerprint: str
    clock_ms: int
    held: int = 0
    broken: int = 0
    undetermined: int = 0
    not_applicable: int = 0
    excepted: int = 0


class _Coverage(msgspec.Struct, tag_field="kind", tag="coverage", gc=False):
    partition: int
    from_ms: int | None
    to_ms: int
    sources: list[SourceCoverage]
    rule_sets: list[str]
    windows_judged: int
    traces_seen_estimate: int


class Counts(msgspec.Struct, gc=False):
    """Verdicts, net of those that were taken back."""

    held: int = 0
    broken: int = 0
    undetermined: int = 0
    excepted: int = 0

    @property
    def applicable(self) -> int:
        """The traces that the rule is about."""
        return self.held + self.broken + self.undetermined

    def add(self, other: Counts | _Counts) -> None:
        """Adds further verdicts."""
        self.held += other.held
        self.broken += other.broken
        self.undetermined += other.undetermined
        self.excepted += other.excepted


RuleKey = tuple[str, str]
"""A rule's id and fingerprint."""


@dataclass(slots=True)
class Gathered:
    """What the seals `[first_seal, end_seal)` say of the period.

    `counts` are by rule and day (days since 1970, UTC), `partitions` by number; `expected` are the facts partitions
    that must have coverage. `signals` hold the last revision of each finding by uid. `lost` counts records of the
    verdict topics that were gone before the ledger read them.
    """

    first_seal: int = 0
    end_seal: int = 0
    counts: dict[RuleKey, dict[int, Counts]] = field(default_factory=dict)
    partitions: dict[int, PartitionCoverage] = field(default_factory=dict)
    expected: set[int] = field(default_factory=set)
    rule_sets: dict[str, int] = field(default_factory=dict)
    signals: dict[str, Digest] = field(default_factory=dict)
    lost: int = 0
    unreadable: list[str] = field(default_factory=list)

    def add(self, later: Gathered) -> None:
        """Adds what later seals say."""
        self.end_seal = later.end_seal
        for rule, days in later.counts.items():
            for day, counts in days.items():
                self.day(rule, day).add(counts)
        for number, coverage in later.partitions.items():
            self.partition(number).extend(coverage)
        self.expected |= later.expected
        self.rule_sets = later.rule_sets | self.rule_sets
        for uid, signal in later.signals.items():
            self.signal(uid, signal)
        self.lost += later.lost
        self.unreadable += later.unreadable

    def day(self, rule: RuleKey, day: int) -> Counts:
        """The counts of one rule on one day."""
        days = self.counts.setdefault(rule, {})
        found = days.get(day)
        if found is None:
            found = days[day] = Counts()
        return found

    def partition(self, number: int) -> PartitionCoverage:
        """The coverage of one facts partition."""
        found = self.partitions.get(number)
        if found is None:
            found = self.partitions[number] = PartitionCoverage()
        return found

    def signal(self, uid: str, signal: Digest) -> None:
        """Takes in a revision of a finding: the last one counts."""
        before = self.signals.get(uid)
        if before is None or before.revision < signal.revision:
            self.signals[uid] = signal


def gather(store: Storage, from_ms: int, to_ms: int) -> Gathered:
    """One pass, on all processors; raises `ValueError` or `OSError` when the storage holds no evidence to read."""
    last = storage.last_seal(store)
    if last is None:
        raise FileNotFoundError("there is no evidence here")
    first = _first_after(store, last + 1, from_ms - AHEAD_MS)
    gathered = Gathered(first, first)
    for found in in_shares(partial(_gather, store, (from_ms, to_ms)), first, last + 1):
        gathered.add(found)
    return gathered


def judged_to(store: Storage) -> int | None:
    """The time up to which every facts partition has judged, by the last seals; None when nothing was judged."""
    last = storage.last_seal(store)
    expected: set[int] = set()
    ends: dict[int, int] = {}
    for number in range(last if last is not None else -1, -1, -1):
        try:
            seal = _seal_decoder.decode(store.read(storage.seal_path(number)).split(b"\n", 1)[0])
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        expected |= {log.partition for log in seal.logs if log.topic == VERDICTS}
        for each in seal.cover.partitions:
            ends.setdefault(each.partition, each.to_ms)
        if (expected <= ends.keys() and ends) or number < (last or 0) - LOOK_BACK:
            break
    return min(ends.values(), default=None)


def _first_after(store: Storage, end: int, time_ms: int) -> int:
    """The first seal of `[0, end)` that was made at `time_ms` or later; `end` when there is none."""
    low, high = 0, end
    while low < high:
        middle = (low + high) // 2
        try:
            made_ms = _seal_decoder.decode(store.read(storage.seal_path(middle)).split(b"\n", 1)[0]).time_ms
        except (OSError, msgspec.DecodeError):
            # Of one that is damaged nothing is known: to begin too early costs only time.
            made_ms = time_ms
        low, high = (middle + 1, high) if made_ms < time_ms else (low, middle)
    return low


def _gather(store: Storage, period: tuple[int, int], first: int, end: int) -> Gathered:
    gathered = Gathered(first, end)
    for number in range(first, end):
        place = storage.seal_path(number)
        try:
            # Lines keep their ends, which a decoder passes over.
            line, *rest = io.BytesIO(store.read(place)).readlines() or [b""]
            seal = _seal_decoder.decode(line)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            gathered.unreadable.append(place)
            continue
        if not _take_seal(gathered, seal, rest, period):
            gathered.unreadable.append(place)
    return gathered


def _take_seal(gathered: Gathered, seal: _Seal, lines: Sequence[bytes], period: tuple[int, int]) -> bool:
    """Takes in what a seal brings; returns whether all of it is there and could be read."""
    verdicts: list[bytes] = []
    signals: list[bytes] = []
    begin = 0
    for log in seal.logs:
        end = begin + log.added
        if log.topic == VERDICTS:
            gathered.expected.add(log.partition)
            verdicts += lines[begin:end]
            for lost_from, lost_to in log.lost:
                gathered.lost += lost_to - lost_from
        elif log.topic == SIGNALS:
            signals += lines[begin:end]
        begin = end
    # Under the entries is an empty line, and then the checkpoint.
    is_whole = lines[begin : begin + 1] == [b"\n"]
    is_read = _take_verdicts(gathered, verdicts, *period)
    return _take_signals(gathered, signals, *period) and is_read and is_whole


def _take_verdicts(gathered: Gathered, lines: Sequence[bytes], from_ms: int, to_ms: int) -> bool:
    is_read = True
    for said in _reader.read(lines):
        record = said.json if said else None
        if record is None:
            is_read = False
        elif isinstance(record, _Counts):
            # What was judged by then: of the time before it, as a coverage record that ends with it.
            if from_ms < record.clock_ms <= to_ms:
                gathered.day((record.rule, record.rule_fingerprint), (record.clock_ms - 1) // DAY_MS).add(record)
        elif record.to_ms >= from_ms and (record.from_ms is None or record.from_ms < to_ms):
            _take_coverage(gathered, record)
    return is_read


def _take_coverage(gathered: Gathered, record: _Coverage) -> None:
    coverage = gathered.partition(record.partition)
    coverage.add(record.from_ms, record.to_ms)
    coverage.windows_judged += record.windows_judged
    coverage.traces_seen_estimate += record.traces_seen_estimate
    sources = coverage.sources
    for source in record.sources:
        key = (source.topic, source.partition, source.epoch)
        summed = sources.get(key)
        if summed is None:
            summed = sources[key] = SourceSum(source.from_offset, source.to_offset)
        summed.add(source)
    for rule_set in record.rule_sets:
        gathered.rule_sets.setdefault(rule_set, record.to_ms)


def _take_signals(gathered: Gathered, lines: Sequence[bytes], from_ms: int, to_ms: int) -> bool:
    is_read = True
    for line in lines:
        try:
            signal = digest(entry.decode(line).value_bytes())
        except (NoSignalError, msgspec.DecodeError):
            is_read = False
            continue
        if from_ms < signal.time_ms <= to_ms:
            gathered.signal(signal.uid, signal)
    return is_read


_seal_decoder = msgspec.json.Decoder(_Seal)
_reader: entry.Reader[_Counts | _Coverage] = entry.Reader(
    msgspec.json.Decoder(entry.Said[_Counts | _Coverage]), msgspec.json.Decoder(_Counts | _Coverage)
)
