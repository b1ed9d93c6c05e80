"""Compares evidence with a copy of the coverage that a second party keeps.

A ledger proves that what it sealed was not changed. Whoever runs it, has its key, and invents or omits records before
they are sealed can make a history that is consistent in itself. Each coverage record states the input that was judged
and the hash of the last counts record, which names the one before it, and so on: a second party that kept the coverage
records, with any consumer of `betrace.verdicts` or with a ledger of its own, can tell such a history from the one that
was on the topic.

In: two streams of coverage records. Out: sentences about their differences, and the number of records that agree.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from streams.config.units import iso_ms
from streams.errors import ConfigError
from streams.evidence.ledger import entry, storage
from streams.evidence.ledger import seal as seals
from streams.evidence.ledger.entry_verifier import ChainKey, named
from streams.evidence.ledger.log import VERDICTS
from streams.evidence.ledger.storage import Storage
from topics.records import verdicts
from topics.records.verdicts import LIVE_ORIGIN, Coverage

Moment = tuple[int, int, int, int]
"""Generation, record time and facts offset up to which a coverage record speaks, and when what is settled ends: their
order in a chain."""


@dataclass(frozen=True, slots=True)
class Statement:
    """The statement of a coverage record: its hash, and the number of records in its chain of counts."""

    value_hash: bytes
    counts: int


@dataclass(slots=True)
class Comparison:
    """The result of `differences`: how many records agree, and the record time up to which live's do, by partition."""

    agree: int = 0
    to_ms: dict[int, int] = field(default_factory=dict)

    def differences(self, ours: Iterable[Coverage], theirs: Iterable[Coverage]) -> Iterator[str]:
        """Yield the differences within the period that both streams cover.

        Raises:
            ConfigError: there is no such period.
        """
        copies, mine = _by_chain(theirs), _by_chain(ours)
        for key in sorted(copies.keys() & mine.keys()):
            yield from self._chain(key, mine[key], copies[key])
        if not any(_common(mine[each], copies[each]) for each in copies.keys() & mine.keys()):
            raise ConfigError("the copy has no coverage of a period that the evidence covers: nothing was compared")
        for key in sorted(copies.keys() - mine.keys()):
            yield f"{named(key)}: only the copy has coverage"

    def _chain(self, key: ChainKey, ours: dict[Moment, Statement], theirs: dict[Moment, Statement]) -> Iterator[str]:
        for moment in _common(ours, theirs):
            mine, copy = ours.get(moment), theirs.get(moment)
            what = f"{named(key)}: coverage up to {iso_ms(moment[1])}"
            if mine is None or copy is None:
                yield f"{what} is only in {'the copy' if mine is None else 'the evidence'}"
            elif mine != copy:
                other = f", after {mine.counts} counts records here and {copy.counts} there"
                yield f"{what} differs in the copy{'' if mine.counts == copy.counts else other}"
            else:
                self.agree += 1
                if key[0] == LIVE_ORIGIN:
                    self.to_ms[key[1]] = max(moment[1], self.to_ms.get(key[1], 0))


def sealed(store: Storage) -> Iterator[Coverage]:
    """Yield the coverage records in evidence; invalid ones are left to verification."""
    last = storage.last_seal(store)
    for number in range(-1 if last is None else last + 1):
        try:
            parts = seals.split(store.read(storage.seal_path(number)))
            logs = seals.decode(parts.line).logs
        except (msgspec.DecodeError, OSError):
            continue
        start = 0
        for state in logs:
            if state.topic == VERDICTS:
                yield from _coverage(_values(parts.entries[start : start + state.added]))
            start += state.added


def copied(path: Path) -> Iterator[Coverage]:
    """Yield the coverage records in a file of records of `betrace.verdicts`, one per line, as any consumer prints them.

    Raises:
        ConfigError: it cannot be read, or contains no coverage.
    """
    count = 0
    try:
        with path.open("rb") as lines:
            for record in _coverage(line.strip() for line in lines):
                count += 1
                yield record
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    if not count:
        raise ConfigError(f"{path} contains no coverage records: give evidence, or records of the verdicts topic")


def _values(lines: Iterable[bytes]) -> Iterator[bytes]:
    for line in lines:
        try:
            yield entry.decode(line).value_bytes()
        except msgspec.DecodeError:
            continue


def _coverage(values: Iterable[bytes]) -> Iterator[Coverage]:
    for value in values:
        try:
            record = verdicts.decode(value)
        except msgspec.DecodeError:
            continue
        if isinstance(record, Coverage):
            yield record


def _by_chain(records: Iterable[Coverage]) -> dict[ChainKey, dict[Moment, Statement]]:
    statements: dict[ChainKey, dict[Moment, Statement]] = {}
    for record in records:
        statement = Statement(hashlib.sha256(verdicts.encode(record)).digest(), record.counted.seq)
        moment = (record.generation, record.to_ms, record.facts_to, record.settled_to_ms)
        # Of two records for one moment the first counts: then the other one shows as a difference.
        statements.setdefault((record.origin, record.partition), {}).setdefault(moment, statement)
    return statements


def _common(ours: dict[Moment, Statement], theirs: dict[Moment, Statement]) -> list[Moment]:
    """Return the moments of either stream in the period that both cover."""
    start, end = max(min(ours), min(theirs)), min(max(ours), max(theirs))
    return sorted(moment for moment in ours.keys() | theirs.keys() if start <= moment <= end)
