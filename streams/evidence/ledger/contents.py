"""What a seal says of its entries, checked against the entries.

    trees     each entry is a leaf of its log, whose peaks the seal names
    offsets   they rise, and go on where the log's last seal ended
    cover     the seal's sums are those of its verdict records
    coverage  the coverage records of each facts partition follow one another, and nothing was lost
    counts    the counts records of each are a chain that says nothing which cannot be so (`counts`)
    signals   how many there are of each rule, to be compared with its verdicts
    audit     audit records are in the order of their source positions, and of input that was read (`audit_order`)

In: seals with their entries, in order. Out: findings. After `forget` the next seal's logs are taken at their word.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, repeat

import msgspec

from streams.evidence.ledger import audit_order, entry
from streams.evidence.ledger.audit_order import AuditReading, Unread
from streams.evidence.ledger.counts import CountsChain
from streams.evidence.ledger.cover import Continuity, CoverSum
from streams.evidence.ledger.entry import Place, Reader, Said
from streams.evidence.ledger.findings import Fault, Finding
from streams.evidence.ledger.log import AUDIT, SIGNALS, VERDICTS, LogKey
from streams.evidence.ledger.merkle import Frontier, Hash, leaf_hashes
from streams.evidence.ledger.seal import LogState, Seal
from topics.cluster.bulk import decode_many
from topics.records import verdicts
from topics.records.verdicts import HASH_BYTES, LIVE_ORIGIN, Counted, Coverage, Record, VerdictCounts
from topics.signals.digest import NotASignalError, digest

Verdicts = tuple[int, str, str]
"""Facts partition, rule and verdict."""

ChainKey = tuple[str, int]
"""Origin and facts partition: the records of each are a chain."""


@dataclass(slots=True)
class Totals:
    """What was seen of all seals: `verdicts` are leaves, `judged_from_ms` and `judged_to_ms` live's by facts partition.

    `added` counts live verdicts that call for a signal, `signals` those signals whose verdicts must be sealed too;
    `lost` are the logs of which something was gone before the ledger read it.
    """

    seals: int = 0
    verdicts: int = 0
    entries: dict[str, int] = field(default_factory=dict)
    judged_from_ms: dict[int, int | None] = field(default_factory=dict)
    judged_to_ms: dict[int, int] = field(default_factory=dict)
    added: Counter[Verdicts] = field(default_factory=Counter)
    signals: Counter[Verdicts] = field(default_factory=Counter)
    lost: set[LogKey] = field(default_factory=set)
    reading: AuditReading = field(default_factory=AuditReading)

    def add(self, later: Totals) -> None:
        """Adds what was seen of later seals."""
        self.seals += later.seals
        self.verdicts += later.verdicts
        for topic, count in later.entries.items():
            self.entries[topic] = self.entries.get(topic, 0) + count
        self.judged_from_ms = later.judged_from_ms | self.judged_from_ms
        self.judged_to_ms |= later.judged_to_ms
        self.added += later.added
        self.signals += later.signals
        self.lost |= later.lost
        self.reading.add(later.reading)


_SIGNALLED = ("broken", "undetermined")


@dataclass(slots=True)
class _Log:
    """A log as the seals so far left it, None when that is not known; `tree` is made of it when an entry comes."""

    state: LogState | None
    tree: Frontier | None = None


@dataclass(slots=True)
class _Opened:
    """A seal that is being checked: its entries with their hashes, what they sum up to, and what was found."""

    place: str
    time_ms: int
    entries: Sequence[bytes]
    leaves: list[Hash]
    total: CoverSum = field(default_factory=CoverSum)
    found: list[Finding] = field(default_factory=list)

    def find(self, state: LogState | None, fault: Fault, message: str) -> None:
        """Notes a finding, in a log where it is of one."""
        where = "" if state is None else f" {state.topic}-{state.partition}"
        self.found.append(Finding(self.place + where, fault, message))


class Contents:
    """The logs of all topic partitions, seal by seal."""

    def __init__(self, settled_ms: int | None = None) -> None:
        """Of seals made after `settled_ms` it is not expected that what belongs to them is sealed too; None is none."""
        self.totals = Totals()
        self.continuity: dict[ChainKey, Continuity] = {}
        self.counts: dict[ChainKey, CountsChain] = {}
        self.is_damaged = False
        self._settled_ms = settled_ms
        self._is_settled = False
        self._logs: dict[LogKey, _Log] = {}
        self._last: Sequence[LogState] = ()
        self._is_known = True

    def forget(self) -> None:
        """Something before the next seal is damaged."""
        self._logs.clear()
        self.continuity.clear()
        self.counts.clear()
        self.is_damaged = True
        self._last = ()
        self._is_known = False

    def begin_after(self, seal: Seal) -> None:
        """The next seal is the one after this one, which is taken at its word."""
        self._logs = {(state.topic, state.partition): _Log(state) for state in seal.logs}
        self._last = seal.logs

    def check(self, place: str, seal: Seal, entries: Sequence[bytes]) -> list[Finding]:
        """What is wrong with the next seal's entries."""
        self.totals.seals += 1
        self._is_settled = self._settled_ms is None or seal.time_ms <= self._settled_ms
        opened = _Opened(place, seal.time_ms, entries, leaf_hashes(entries))
        begin = 0
        for state, before in zip(seal.logs, chain(self._last, repeat(None)), strict=False):
            # Most logs are idle most of the time: one comparison of all tells that soonest.
            if state.added or state != before:
                self._check_log(opened, state, begin)
                begin += state.added
        if begin != len(entries):
            opened.find(None, Fault.CHANGED, f"it has {len(entries)} entries, its logs say {begin}")
        if len(self._logs) != len(seal.logs):
            opened.find(None, Fault.CHANGED, "it does not name every log, each once")
        self.totals.reading.cover(seal.cover.sources)
        if opened.total.cover() != seal.cover:
            opened.find(None, Fault.CHANGED, "the sums of its cover are not those of its entries")
        if any(finding.fault is Fault.CHANGED for finding in opened.found):
            # What its entries say is not what was sealed: the next ones are taken at their word.
            self.counts.clear()
            self.is_damaged = True
        self._last, self._is_known = seal.logs, True
        return opened.found

    def _check_log(self, opened: _Opened, state: LogState, begin: int) -> None:
        """One log, whose entries begin there."""
        key = (state.topic, state.partition)
        log = self._logs.get(key)
        if log is None:
            # Right after a damage nobody knows what the log was before this seal.
            log = self._logs[key] = _Log(_empty(state) if self._is_known else None)
        before, log.state = log.state, state
        end = begin + state.added
        next_offset = 0
        if before is not None:
            next_offset = before.next_offset
            _check_tree(opened, log, before, state, opened.leaves[begin:end])
        self.totals.entries[state.topic] = self.totals.entries.get(state.topic, 0) + state.added
        live = (LIVE_ORIGIN, state.partition)
        if state.topic == VERDICTS and live not in self.counts:
            is_first = before is not None and not before.next_offset and not state.lost and not self.is_damaged
            self.counts[live] = CountsChain(Counted() if is_first else None)
        self._add_others(opened, before, state, opened.entries[begin:end])
        for line, said in zip(opened.entries[begin:end], _said(state, opened.entries[begin:end]), strict=True):
            if said is None or not next_offset <= said.offset < state.next_offset:
                message = f"an entry is not between offsets {next_offset} and {state.next_offset}"
                opened.find(state, Fault.CHANGED, message)
                continue
            next_offset = said.offset + 1
            if isinstance(said, Said):
                self._check_verdicts(opened, state, said, line)
        if state.lost:
            self.totals.lost.add(key)
            self.counts = {chain: counts for chain, counts in self.counts.items() if chain[1] != state.partition}
        for lost_from, lost_to in state.lost:
            message = f"offsets {lost_from} to {lost_to} were gone before the ledger could read them"
            opened.find(state, Fault.GAP, message)

    def _add_others(self, opened: _Opened, before: LogState | None, state: LogState, lines: Sequence[bytes]) -> None:
        """What logs other than those of verdicts say."""
        if state.topic == SIGNALS:
            self._add_signals(state.partition, lines)
        elif state.topic == AUDIT:
            self._check_audit(opened, before, state, lines)

    def _check_audit(self, opened: _Opened, before: LogState | None, state: LogState, lines: Sequence[bytes]) -> None:
        """The source positions of audit records; how far coverage reaches is known at the end."""
        entries = audit_order.positioned(lines)
        for message in audit_order.out_of_order(before, state, entries):
            opened.find(state, Fault.INCONSISTENT, message)
        where = f"{opened.place} {state.topic}-{state.partition}"
        self.totals.reading.unread += [
            Unread(epoch, offset, opened.time_ms, where)
            for epoch, offset in audit_order.highest_offsets(entries).items()
        ]

    def _check_verdicts(self, opened: _Opened, state: LogState, said: Said[Record], line: bytes) -> None:
        """A verdict record, which is added to the seal's sums."""
        record = said.json
        if record is None or verdicts.invalid_reason(record) is not None:
            opened.total.add(None)
            opened.find(state, Fault.GAP, f"the record at offset {said.offset} is no verdict record")
            return
        chain = self._chain((record.origin, record.partition))
        if isinstance(record, VerdictCounts):
            opened.total.add_counts(record)
            self._add_counts(record)
            wrong = chain.counts(record, f"{opened.place} {state.topic}-{state.partition}", entry.json_in(line))
        else:
            opened.total.add_coverage(record)
            self._check_coverage(opened, state, record)
            wrong = chain.coverage(record, is_settled=self._is_settled)
        for message in wrong:
            opened.find(state, Fault.INCONSISTENT, f"{named((record.origin, record.partition))}: {message}")

    def _chain(self, key: ChainKey) -> CountsChain:
        chain = self.counts.get(key)
        if chain is None:
            chain = self.counts[key] = CountsChain()
        return chain

    def _add_counts(self, record: VerdictCounts) -> None:
        self.totals.verdicts += len(record.leaves) // HASH_BYTES
        if record.mode == "live":
            for verdict in _SIGNALLED:
                count = getattr(record.added, verdict)
                if count:
                    self.totals.added[record.partition, record.rule, verdict] += count

    def _add_signals(self, partition: int, lines: Sequence[bytes]) -> None:
        """Counts signals by rule; a record that is none is for the report to name."""
        for line in lines if self._is_settled else ():
            try:
                signal = digest(entry.decode(line).value_bytes())
            except (NotASignalError, msgspec.DecodeError):
                continue
            if signal.verdict in _SIGNALLED:
                self.totals.signals[partition, signal.rule_id, signal.verdict] += 1

    def _check_coverage(self, opened: _Opened, state: LogState, record: Coverage) -> None:
        key = (record.origin, record.partition)
        if record.origin == LIVE_ORIGIN:
            self.totals.judged_from_ms.setdefault(record.partition, record.from_ms)
            self.totals.judged_to_ms[record.partition] = record.to_ms
        continuity = self.continuity.get(key)
        if continuity is None:
            where = f"{opened.place} {state.topic}-{state.partition}"
            continuity = self.continuity[key] = Continuity(where)
        for gap in continuity.gaps(record):
            opened.find(state, Fault.GAP, f"{named(key)}: {gap}")


def named(key: ChainKey) -> str:
    """A chain, for people.

    >>> named(("live", 3)), named(("backfill/3f9a", 3))
    ('facts partition 3', 'facts partition 3 of backfill/3f9a')
    """
    origin, partition = key
    return f"facts partition {partition}" + ("" if origin == LIVE_ORIGIN else f" of {origin}")


def _said(state: LogState, entries: Sequence[bytes]) -> Sequence[Place | None]:
    """What a log's entries say; of logs other than those of verdicts their offsets are enough."""
    return _reader.read(entries) if state.topic == VERDICTS else decode_many(_places, entries)


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


def _check_tree(opened: _Opened, log: _Log, before: LogState, state: LogState, leaves: Sequence[Hash]) -> None:
    if before.topic_id != state.topic_id:
        opened.find(state, Fault.CHANGED, "it is of another topic of this name")
    if not leaves and state.size == before.size and state.peaks == before.peaks:
        return
    try:
        tree = log.tree or Frontier.unpacked(before.size, before.peaks)
    except ValueError as error:
        opened.find(state, Fault.CHANGED, f"before it, {error}")
        return
    tree.extend(leaves)
    log.tree = tree
    if tree.size != state.size or tree.packed() != state.peaks:
        log.tree = None
        message = f"entries {state.size - state.added} to {state.size} are not those that were sealed"
        opened.find(state, Fault.CHANGED, message)


_reader: Reader[Record] = Reader(msgspec.json.Decoder(Said[Record]), msgspec.json.Decoder(Record))
_places: msgspec.json.Decoder[Place | None] = msgspec.json.Decoder(Place)
