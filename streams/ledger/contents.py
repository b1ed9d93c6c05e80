"""What a seal says of its entries, checked against the entries.

    trees     each entry is a leaf of its log, whose peaks the seal names
    offsets   they rise, and go on where the log's last seal ended
    cover     the seal's sums are those of its verdict records
    coverage  the coverage records of each facts partition follow one another, and nothing was lost

In: seals with their entries, in order. Out: findings. After `forget` the next seal's logs are taken at their word.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from streams.ledger import entry
from streams.ledger.cover import Continuity, CoverSum
from streams.ledger.findings import Fault, Finding
from streams.ledger.log import VERDICTS, LogKey
from streams.ledger.merkle import Frontier
from streams.ledger.seal import LogState, Seal
from topics import verdicts
from topics.verdicts import HASH_BYTES, Coverage, Record, VerdictCounts


@dataclass(slots=True)
class Totals:
    """What was seen of all seals: `verdicts` are leaves, `judged_from_ms` and `judged_to_ms` by facts partition."""

    seals: int = 0
    verdicts: int = 0
    entries: dict[str, int] = field(default_factory=dict)
    judged_from_ms: dict[int, int | None] = field(default_factory=dict)
    judged_to_ms: dict[int, int] = field(default_factory=dict)

    def add(self, later: Totals) -> None:
        """Adds what was seen of later seals."""
        self.seals += later.seals
        self.verdicts += later.verdicts
        for topic, count in later.entries.items():
            self.entries[topic] = self.entries.get(topic, 0) + count
        self.judged_from_ms = later.judged_from_ms | self.judged_from_ms
        self.judged_to_ms |= later.judged_to_ms


@dataclass(slots=True)
class _Log:
    """A log as the seals so far left it; `tree` is made of `state` when an entry comes."""

    state: LogState
    tree: Frontier | None = None


class Contents:
    """The logs of all topic partitions, seal by seal."""

    def __init__(self) -> None:
        self.totals = Totals()
        self.continuity: dict[int, Continuity] = {}
        self._logs: dict[LogKey, _Log] = {}
        self._is_known = True

    def forget(self) -> None:
        """Something before the next seal is damaged."""
        self._logs.clear()
        self.continuity.clear()
        self._is_known = False

    def begin_after(self, seal: Seal) -> None:
        """The next seal is the one after this one, which is taken at its word."""
        self._logs = {(state.topic, state.partition): _Log(state) for state in seal.logs}

    def check(self, place: str, seal: Seal, entries: Sequence[bytes]) -> Iterator[Finding]:
        """What is wrong with the next seal's entries."""
        self.totals.seals += 1
        cover = CoverSum()
        begin = 0
        for state in seal.logs:
            added = entries[begin : begin + state.added]
            begin += state.added
            log = self._logs.get((state.topic, state.partition))
            # Most logs are idle most of the time: one comparison of all tells that soonest.
            if log is not None and not added and (log.state == state or _is_unchanged(log.state, state)):
                log.state = state
            else:
                yield from self._check_log(place, state, added, cover)
        if begin != len(entries):
            yield Finding(place, Fault.CHANGED, f"it has {len(entries)} entries, its logs say {begin}")
        if len(self._logs) != len(seal.logs):
            yield Finding(place, Fault.CHANGED, "it does not name every log, each once")
        if cover.cover() != seal.cover:
            yield Finding(place, Fault.CHANGED, "the sums of its cover are not those of its entries")
        self._is_known = True

    def _check_log(self, place: str, state: LogState, added: Sequence[bytes], cover: CoverSum) -> Iterator[Finding]:
        key = (state.topic, state.partition)
        where = f"{place} {state.topic}-{state.partition}"
        # Right after a damage nobody knows what the log was before this seal.
        log = self._logs.get(key) or (_Log(_empty(state), Frontier()) if self._is_known else None)
        before = None if log is None else log.state
        log = self._logs[key] = log or _Log(state)
        log.state = state
        if before is not None:
            yield from _check_tree(where, log, before, added)
        yield from self._check_entries(where, 0 if before is None else before.next_offset, state, added, cover)
        for lost_from, lost_to in state.lost:
            yield Finding(
                where, Fault.GAP, f"offsets {lost_from} to {lost_to} were gone before the ledger could read them"
            )

    def _check_entries(
        self, where: str, begin: int, state: LogState, added: Sequence[bytes], cover: CoverSum
    ) -> Iterator[Finding]:
        totals = self.totals
        totals.entries[state.topic] = totals.entries.get(state.topic, 0) + len(added)
        is_verdict = state.topic == VERDICTS
        for text in added:
            found = _value(text)
            if found is None or not begin <= found.offset < state.next_offset:
                yield Finding(where, Fault.CHANGED, f"an entry is not between offsets {begin} and {state.next_offset}")
                continue
            begin = found.offset + 1
            if is_verdict:
                record = _record(found)
                cover.add(record)
                if isinstance(record, VerdictCounts):
                    totals.verdicts += len(record.leaves) // HASH_BYTES
                else:
                    yield from self._check_record(where, found, record)

    def _check_record(self, where: str, found: entry.ValueText, record: Coverage | None) -> Iterator[Finding]:
        if record is None:
            yield Finding(where, Fault.GAP, f"the record at offset {found.offset} is no verdict record")
        else:
            self.totals.judged_from_ms.setdefault(record.partition, record.from_ms)
            self.totals.judged_to_ms[record.partition] = record.to_ms
            continuity = self.continuity.get(record.partition)
            if continuity is None:
                continuity = self.continuity[record.partition] = Continuity(where)
            for gap in continuity.gaps(record):
                yield Finding(where, Fault.GAP, f"facts partition {record.partition}: {gap}")


def _empty(state: LogState) -> LogState:
    return LogState(
        topic=state.topic,
        partition=state.partition,
        topic_id=state.topic_id,
        size=0,
        added=0,
        next_offset=0,
        peaks=b"",
    )


def _is_unchanged(before: LogState, state: LogState) -> bool:
    return (
        state.peaks == before.peaks
        and state.size == before.size
        and state.topic_id == before.topic_id
        and state.next_offset >= before.next_offset
        and not state.lost
    )


def _check_tree(where: str, log: _Log, before: LogState, added: Sequence[bytes]) -> Iterator[Finding]:
    state = log.state
    if before.topic_id != state.topic_id:
        yield Finding(where, Fault.CHANGED, "it is of another topic of this name")
    try:
        tree = log.tree or Frontier.unpacked(before.size, before.peaks)
    except ValueError as error:
        log.tree = None
        yield Finding(where, Fault.CHANGED, f"before it, {error}")
        return
    tree.extend([hashlib.sha256(b"\0" + text).digest() for text in added])
    log.tree = tree
    if tree.size != state.size or tree.packed() != state.peaks:
        log.tree = None
        yield Finding(
            where, Fault.CHANGED, f"entries {state.size - state.added} to {state.size} are not those that were sealed"
        )


def _value(text: bytes) -> entry.ValueText | None:
    try:
        return entry.decode_value(text)
    except msgspec.DecodeError:
        return None


def _record(found: entry.ValueText) -> Record | None:
    try:
        return verdicts.decode(b"" if found.value is None else found.value)
    except msgspec.DecodeError:
        return None
