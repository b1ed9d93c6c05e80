"""Gathers the figures of a period in one pass over its seals: `gather(store, from_ms, to_ms)`.

In: evidence storage, and a period of record time, `to_ms` excluded. Out: `Gathered`. Nothing is verified here;
`unreadable` names the files that cannot be read, or that have records of an unknown form.

Seals are found by their wall clock: one made two hours before the period or earlier has nothing of it, because records
are sealed after they were judged. For the days before the period only counts and the names of services are gathered.

Counts and coverage use the same time: a verdict belongs to the minute in which its chain began.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import msgspec

from streams.evidence.ledger import entry, storage
from streams.evidence.ledger.log import SIGNALS, VERDICTS
from streams.evidence.ledger.parallel import map_seal_ranges
from streams.evidence.ledger.storage import Storage
from streams.evidence.report.backfills import CoverageRecord, GatheredBackfill
from streams.evidence.report.coverage import SourceSum
from streams.evidence.report.gathered import DAY_MS, CellKey, Gathered, Reading, Settled
from topics.distinct import DistinctTraces
from topics.records.verdicts import (
    LIVE_ORIGIN,
    NO_VERDICTS,
    SCHEMA,
    VerdictSums,
    is_backfill,
)
from topics.signals.digest import Digest, NotASignalError, digest

AHEAD_MS = 7_200_000
"""Record time runs ahead of the wall clock by less than an hour, and rules are listed once an hour."""
LOOK_BACK_MS = 16 * DAY_MS
"""How long before a period a rule may last have been exercised."""
LOOK_BACK = 10_000
"""The last seals in which a facts partition must have appeared to limit what counts as judged."""


class _Log(msgspec.Struct, gc=False):
    """The part of `LogState` that a report needs."""

    topic: str
    partition: int
    added: int = 0
    lost: list[tuple[int, int]] = []


class _End(msgspec.Struct, gc=False):
    """The part of `PartitionSummary` that a report needs."""

    partition: int
    generation: int
    settled_to_ms: int
    origin: str = LIVE_ORIGIN


class _Summary(msgspec.Struct, gc=False):
    """The part of `SealSummary` that a report needs."""

    partitions: list[_End] = []


class _Seal(msgspec.Struct, gc=False):
    """The part of a seal that a report needs; skipping the rest takes a third of the time."""

    time_ms: int
    logs: list[_Log]
    cover: _Summary


class _Counts(msgspec.Struct, tag_field="kind", tag="counts", gc=False, kw_only=True):
    schema: int
    partition: int
    generation: int
    rule: str
    rule_fingerprint: str
    mode: str
    minute_ms: int
    added: VerdictSums = NO_VERDICTS
    taken_back: VerdictSums = NO_VERDICTS
    origin: str = LIVE_ORIGIN


def gather(store: Storage, from_ms: int, to_ms: int) -> Gathered:
    """Gather on all processors; raises `ValueError` or `OSError` if the storage has no readable evidence."""
    last = storage.last_seal(store)
    if last is None:
        raise FileNotFoundError("there is no evidence here")
    first = _first_after(store, last + 1, from_ms - AHEAD_MS)
    earliest = _first_after(store, first + 1, from_ms - LOOK_BACK_MS - AHEAD_MS)
    gathered = _gather_all(
        store, _Period(from_ms, to_ms, first, is_read_once=_is_read_once(store, earliest, last)), earliest, last
    )
    if gathered.is_read_once and not _has_one_generation(gathered):
        # Only counts mention a reading that ended before its first coverage record.
        gathered = _gather_all(store, _Period(from_ms, to_ms, first, is_read_once=False), earliest, last)
    gathered.signals = {uid: one for uid, one in gathered.signals.items() if _is_in(one, from_ms, to_ms)}
    return gathered


def _gather_all(store: Storage, period: _Period, earliest: int, last: int) -> Gathered:
    gathered = Gathered(first_seal=period.first_seal, end_seal=period.first_seal, is_read_once=period.is_read_once)
    for part in map_seal_ranges(partial(_gather, store, period), earliest, last + 1):
        gathered.add(part)
    return gathered


def _has_one_generation(gathered: Gathered) -> bool:
    """Return whether live's counts of each facts partition come from one reading."""
    live = {(key.partition, key.generation) for key in gathered.cells if key.origin == LIVE_ORIGIN}
    return len(live) == len({partition for partition, _ in live})


def _is_in(signal: Digest, from_ms: int, to_ms: int) -> bool:
    began_ms = signal.time_ms if signal.first_ms is None else signal.first_ms
    return from_ms <= began_ms < to_ms


def _is_read_once(store: Storage, first: int, last: int) -> bool:
    """Return whether these seals have one reading of each facts partition: generations never fall, so compare ends."""
    ends = [{}, {}]  # type: list[dict[int, int]]
    for generations, numbers in ((ends[0], range(first, last + 1)), (ends[1], range(last, first - 1, -1))):
        expected: set[int] = set()
        for number in numbers:
            seal = _seal(store, number)
            if seal is None:
                return False
            expected |= {log.partition for log in seal.logs if log.topic == VERDICTS}
            for each in _live(seal):
                generations.setdefault(each.partition, each.generation)
            if (expected <= generations.keys() and generations) or abs(number - numbers[0]) > LOOK_BACK:
                break
    return ends[0] == ends[1]


def _seal(store: Storage, number: int) -> _Seal | None:
    try:
        return _seal_decoder.decode(store.read(storage.seal_path(number)).split(b"\n", 1)[0])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def judged_to(store: Storage) -> int | None:
    """Return the time before which all chains that began are judged, by the last seals; None if nothing was judged.

    If everything is being read again, an earlier reading may have come further, so it is considered too.
    """
    last = storage.last_seal(store)
    expected: set[int] = set()
    ends: dict[int, int] = {}
    first: set[int] = set()
    for number in range(last if last is not None else -1, -1, -1):
        seal = _seal(store, number)
        if seal is None:
            continue
        expected |= {log.partition for log in seal.logs if log.topic == VERDICTS}
        for each in _live(seal):
            ends[each.partition] = max(each.settled_to_ms, ends.get(each.partition, 0))
            if not each.generation:
                first.add(each.partition)
        if (expected <= first and ends) or number < (last or 0) - LOOK_BACK:
            break
    return min(ends.values(), default=None)


def _live(seal: _Seal) -> list[_End]:
    """Return what live judged: a backfill has one reading, and concerns the past."""
    return [each for each in seal.cover.partitions if each.origin == LIVE_ORIGIN]


def _first_after(store: Storage, end: int, time_ms: int) -> int:
    """Return the first seal of `[0, end)` that was made at `time_ms` or later; `end` if there is none."""
    low, high = 0, end
    while low < high:
        middle = (low + high) // 2
        seal = _seal(store, middle)
        # The time of a damaged one is unknown: starting too early costs only time.
        made_ms = time_ms if seal is None else seal.time_ms
        low, high = (middle + 1, high) if made_ms < time_ms else (low, middle)
    return low


@dataclass(frozen=True, slots=True)
class _Period:
    """The settings of a pass; seals before `first_seal` only show what rules did before the period."""

    from_ms: int
    to_ms: int
    first_seal: int
    is_read_once: bool


def _gather(store: Storage, period: _Period, first: int, end: int) -> Gathered:
    gathered = Gathered(first_seal=first, end_seal=end)
    for number in range(first, end):
        place = storage.seal_path(number)
        try:
            # Lines keep their ends, which a decoder ignores.
            line, *rest = io.BytesIO(store.read(place)).readlines() or [b""]
            seal = _seal_decoder.decode(line)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            is_read = False
        else:
            is_read = _take_seal(gathered, number, seal, rest, period)
        if not is_read and number >= period.first_seal:
            gathered.unreadable.append(place)
    return gathered


def _take_seal(gathered: Gathered, number: int, seal: _Seal, lines: Sequence[bytes], period: _Period) -> bool:
    """Add the content of a seal; return whether it is complete and could be read."""
    verdicts: list[bytes] = []
    signals: list[bytes] = []
    is_of_period = number >= period.first_seal
    begin = 0
    for log in seal.logs:
        end = begin + log.added
        if log.topic == VERDICTS:
            gathered.expected.add(log.partition)
            verdicts += lines[begin:end]
            for lost_from, lost_to in log.lost if is_of_period else ():
                gathered.lost += lost_to - lost_from
        elif log.topic == SIGNALS:
            signals += lines[begin:end]
        begin = end
    # An empty line follows the entries, and then the tree head.
    is_whole = lines[begin : begin + 1] == [b"\n"]
    is_read = _take_verdicts(gathered, verdicts, period)
    if is_of_period:
        is_read &= _take_signals(gathered, signals)
    return is_read and is_whole


def _take_verdicts(gathered: Gathered, lines: Sequence[bytes], period: _Period) -> bool:
    is_read = True
    for decoded in _reader.read(lines):
        record = decoded.json if decoded else None
        if record is None or record.schema != SCHEMA:
            is_read = False
        elif isinstance(record, _Counts):
            _take_counts(gathered, record, period)
        elif is_backfill(record.origin):
            _take_backfill(gathered, record, period)
        else:
            is_read &= _take_coverage(gathered, record, period)
    return is_read


def _take_counts(gathered: Gathered, record: _Counts, period: _Period) -> None:
    time_ms = record.minute_ms
    if not period.from_ms - LOOK_BACK_MS <= time_ms < period.to_ms:
        return
    if period.is_read_once:
        day_ms = time_ms // DAY_MS * DAY_MS
        # A day of which only a part is in the period is split in two.
        time_ms = max(day_ms, period.from_ms) if time_ms >= period.from_ms else day_ms
    key = CellKey(record.partition, record.generation, record.rule, record.rule_fingerprint, record.mode, record.origin)
    gathered.cell(key, time_ms).count(record.added, record.taken_back)


def _take_coverage(gathered: Gathered, record: CoverageRecord, period: _Period) -> bool:
    """Add a coverage record; return whether it is one: its numbers of traces may be damaged."""
    # The first record of a reading covers everything since it began, if that is known.
    begin_ms = record.start_ms if record.settled_from_ms is None else record.settled_from_ms
    if begin_ms is None:
        begin_ms = record.settled_to_ms
    is_of_period = record.settled_to_ms >= period.from_ms and begin_ms < period.to_ms
    try:
        traces = DistinctTraces.decode(record.traces_seen_sketch) if is_of_period else None
    except ValueError:
        return False
    if record.rules is not None:
        gathered.listed[record.judging] = record.rules
    reading = gathered.readings.get((record.partition, record.generation))
    if reading is None:
        reading = Reading(record.start_ms, record.reset_ms)
        gathered.readings[record.partition, record.generation] = reading
    _take_services(gathered, record, period)
    # A record that settles nothing new still tells what is final by now.
    if begin_ms <= record.settled_to_ms:
        reading.add(record.judging, Settled(begin_ms, record.settled_to_ms, record.final_to_ms))
    if traces is None:
        return True
    coverage = gathered.partition(record.partition)
    coverage.add(begin_ms, max(begin_ms, record.settled_to_ms))
    coverage.windows_judged += record.windows_judged
    coverage.traces.merge(traces)
    sources = coverage.sources
    for source in record.sources:
        key = (source.topic, source.partition, source.epoch)
        summed = sources.get(key)
        if summed is None:
            summed = sources[key] = SourceSum(source.from_offset, source.to_offset)
        summed.add(source)
    for rule_set in record.rule_sets:
        gathered.rule_sets.setdefault(rule_set, record.to_ms)
    return True


def _take_services(gathered: Gathered, record: CoverageRecord, period: _Period) -> None:
    if record.to_ms >= period.to_ms:
        return
    day = (record.to_ms - 1) // DAY_MS
    for name in record.services:
        gathered.services.setdefault(name, set()).add(day)
    if record.has_more_services:
        gathered.unlisted_services.add(day)


def _take_backfill(gathered: Gathered, record: CoverageRecord, period: _Period) -> None:
    """Add what a backfill judged of the period: its input was judged then, even if only by its rules."""
    if record.rules is not None:
        gathered.listed[record.judging] = record.rules
    backfill, from_ms = GatheredBackfill.of(record), record.settled_from_ms
    if backfill is None or from_ms is None or record.settled_to_ms <= period.from_ms or from_ms >= period.to_ms:
        return
    gathered.partition(record.partition).add(from_ms, record.settled_to_ms)
    gathered.add_backfill(record.origin, backfill)


def _take_signals(gathered: Gathered, lines: Sequence[bytes]) -> bool:
    is_read = True
    for line in lines:
        try:
            signal = digest(entry.decode(line).value_bytes())
        except (NotASignalError, msgspec.DecodeError):
            is_read = False
            continue
        gathered.signal(signal.uid, signal)
    return is_read


_seal_decoder = msgspec.json.Decoder(_Seal)
_reader: entry.Reader[_Counts | CoverageRecord] = entry.Reader(
    msgspec.json.Decoder(entry.DecodedEntry[_Counts | CoverageRecord]), msgspec.json.Decoder(_Counts | CoverageRecord)
)
