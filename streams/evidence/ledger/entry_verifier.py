"""Checks what a seal says about its entries against the entries.

    trees     each entry is a leaf of its log, whose peaks the seal names
    offsets   they rise, and continue where the log's last seal ended
    sums      the seal's sums are those of its verdict records
    coverage  the coverage records of each facts partition follow one another, and nothing was lost
    counts    the counts records of each are a chain without contradictions (`counts`)
    signals   how many there are of each rule, to be compared with its verdicts
    audit     audit records are in the order of their source positions, and of input that was read (`audit_order`)

In: seals with their entries, in order. Out: findings. After `forget` the state of the next seal's logs is accepted
unchecked.
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
from streams.evidence.ledger.entry import DecodedEntry, EntryOffset, Reader
from streams.evidence.ledger.findings import Fault, Finding
from streams.evidence.ledger.log import AUDIT, SIGNALS, VERDICTS, LogKey
from streams.evidence.ledger.merkle import Frontier, Hash, leaf_hashes
from streams.evidence.ledger.seal import LogState, Seal
from streams.evidence.ledger.seal_summary import CoverageContinuity, SummaryBuilder
from topics.cluster.bulk import decode_many
from topics.records import verdicts
from topics.records.verdicts import HASH_BYTES, LIVE_ORIGIN, Counted, Coverage, Record, VerdictCounts
from topics.signals.digest import NotASignalError, digest

Verdicts = tuple[int, str, str]
"""Facts partition, rule and verdict."""

ChainKey = tuple[str, int]
"""Origin and facts partition: the records of each are a chain."""


@dataclass(slots=True, kw_only=True)
class SealTotals:
    """The sums over all seals: `verdicts` are leaves, `judged_from_ms` and `judged_to_ms` live's by facts partition.

    `added` counts live verdicts that call for a signal, `signals` those signals whose verdicts must be sealed too;
    `lost` are the logs with records that the ledger could not read.
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

    def add(self, later: SealTotals) -> None:
        """Add the sums over later seals."""
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
    """The state of a log after the seals so far, None if unknown; its `tree` is built when an entry comes."""

    state: LogState | None
    tree: Frontier | None = None


@dataclass(slots=True, kw_only=True)
class _SealCheck:
    """The check of one seal: its entries with their hashes, their sums, and the findings."""

    location: str
    time_ms: int
    entries: Sequence[bytes]
    leaves: list[Hash]
    total: SummaryBuilder = field(default_factory=SummaryBuilder)
    findings: list[Finding] = field(default_factory=list)

    def find(self, state: LogState | None, fault: Fault, message: str) -> None:
        """Add a finding, in a log if it concerns one."""
        where = "" if state is None else f" {state.topic}-{state.partition}"
        self.findings.append(Finding(self.location + where, fault, message))


class EntryVerifier:
    """Checks the entries of all topic partitions' logs, seal by seal."""

    def __init__(self, settled_ms: int | None = None) -> None:
        """Start without seals; related records need not be sealed yet in seals made after `settled_ms`, if given."""
        self.totals = SealTotals()
        self.continuity: dict[ChainKey, CoverageContinuity] = {}
        self.counts: dict[ChainKey, CountsChain] = {}
        self.is_damaged = False
        self._settled_ms = settled_ms
        self._is_settled = False
        self._logs: dict[LogKey, _Log] = {}
        self._last: Sequence[LogState] = ()
        self._is_known = True

    def forget(self) -> None:
        """Drop all expectations, so that the next seal is accepted as a new starting point."""
        self._logs.clear()
        self.continuity.clear()
        self.counts.clear()
        self.is_damaged = True
        self._last = ()
        self._is_known = False

    def resume_after(self, seal: Seal) -> None:
        """Accept this seal unchecked; the next seal is the one after it."""
        self._logs = {(state.topic, state.partition): _Log(state) for state in seal.logs}
        self._last = seal.logs

    def check(self, location: str, seal: Seal, entries: Sequence[bytes]) -> list[Finding]:
        """Return the findings for the next seal's entries."""
        self.totals.seals += 1
        self._is_settled = self._settled_ms is None or seal.time_ms <= self._settled_ms
        check = _SealCheck(location=location, time_ms=seal.time_ms, entries=entries, leaves=leaf_hashes(entries))
        start = 0
        for state, before in zip(seal.logs, chain(self._last, repeat(None)), strict=False):
            # Most logs are idle most of the time: one comparison of all is the fastest test.
            if state.added or state != before:
                self._check_log(check, state, start)
                start += state.added
        if start != len(entries):
            check.find(None, Fault.CHANGED, f"it has {len(entries)} entries, but its logs add up to {start}")
        if len(self._logs) != len(seal.logs):
            check.find(None, Fault.CHANGED, "it does not name every log exactly once")
        self.totals.reading.add_coverage(seal.cover.sources)
        if check.total.summary() != seal.cover:
            check.find(None, Fault.CHANGED, "the sums of its cover do not match its entries")
        if any(finding.fault is Fault.CHANGED for finding in check.findings):
            # These entries are not what was sealed: accept the next ones unchecked.
            self.counts.clear()
            self.is_damaged = True
        self._last, self._is_known = seal.logs, True
        return check.findings

    def _check_log(self, check: _SealCheck, state: LogState, start: int) -> None:
        """Check one log, whose entries begin there."""
        key = (state.topic, state.partition)
        log = self._logs.get(key)
        if log is None:
            # Right after damage the state of the log before this seal is unknown.
            log = self._logs[key] = _Log(_empty(state) if self._is_known else None)
        before, log.state = log.state, state
        end = start + state.added
        next_offset = 0
        if before is not None:
            next_offset = before.next_offset
            _check_tree(check, log, before, state, check.leaves[start:end])
        self.totals.entries[state.topic] = self.totals.entries.get(state.topic, 0) + state.added
        live = (LIVE_ORIGIN, state.partition)
        if state.topic == VERDICTS and live not in self.counts:
            is_first = before is not None and not before.next_offset and not state.lost and not self.is_damaged
            self.counts[live] = CountsChain(Counted() if is_first else None)
        self._add_others(check, before, state, check.entries[start:end])
        for line, decoded in zip(check.entries[start:end], _decoded(state, check.entries[start:end]), strict=True):
            if decoded is None or not next_offset <= decoded.offset < state.next_offset:
                message = f"an entry is not between offsets {next_offset} and {state.next_offset}"
                check.find(state, Fault.CHANGED, message)
                continue
            next_offset = decoded.offset + 1
            if isinstance(decoded, DecodedEntry):
                self._check_verdicts(check, state, decoded, line)
        if state.lost:
            self.totals.lost.add(key)
            self.counts = {chain: counts for chain, counts in self.counts.items() if chain[1] != state.partition}
        for lost_from, lost_to in state.lost:
            message = f"the ledger could not read offsets {lost_from} to {lost_to}: deleted before, or damaged"
            check.find(state, Fault.GAP, message)

    def _add_others(self, check: _SealCheck, before: LogState | None, state: LogState, lines: Sequence[bytes]) -> None:
        """Add the entries of logs other than verdicts."""
        if state.topic == SIGNALS:
            self._add_signals(state.partition, lines)
        elif state.topic == AUDIT:
            self._check_audit(check, before, state, lines)

    def _check_audit(self, check: _SealCheck, before: LogState | None, state: LogState, lines: Sequence[bytes]) -> None:
        """Check the source positions of audit records; how far coverage reaches is known only at the end."""
        entries = audit_order.positioned(lines)
        for message in audit_order.out_of_order(before, state, entries):
            check.find(state, Fault.INCONSISTENT, message)
        where = f"{check.location} {state.topic}-{state.partition}"
        self.totals.reading.unread += [
            Unread(epoch, offset, check.time_ms, where)
            for epoch, offset in audit_order.highest_offsets(entries).items()
        ]

    def _check_verdicts(self, check: _SealCheck, state: LogState, decoded: DecodedEntry[Record], line: bytes) -> None:
        """Check a verdict record, and add it to the seal's sums."""
        record = decoded.json
        if record is None or verdicts.invalid_reason(record) is not None:
            check.total.add(None)
            check.find(state, Fault.GAP, f"the record at offset {decoded.offset} is not a verdict record")
            return
        chain = self._chain((record.origin, record.partition))
        if isinstance(record, VerdictCounts):
            check.total.add_counts(record)
            self._add_counts(record)
            wrong = chain.counts(record, f"{check.location} {state.topic}-{state.partition}", entry.json_in(line))
        else:
            check.total.add_coverage(record)
            self._check_coverage(check, state, record)
            wrong = chain.coverage(record, is_settled=self._is_settled)
        for message in wrong:
            check.find(state, Fault.INCONSISTENT, f"{named((record.origin, record.partition))}: {message}")

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
        """Count signals by rule; a record that is not a signal is left to the report."""
        for line in lines if self._is_settled else ():
            try:
                signal = digest(entry.decode(line).value_bytes())
            except (NotASignalError, msgspec.DecodeError):
                continue
            if signal.verdict in _SIGNALLED:
                self.totals.signals[partition, signal.rule_id, signal.verdict] += 1

    def _check_coverage(self, check: _SealCheck, state: LogState, record: Coverage) -> None:
        key = (record.origin, record.partition)
        if record.origin == LIVE_ORIGIN:
            self.totals.judged_from_ms.setdefault(record.partition, record.from_ms)
            self.totals.judged_to_ms[record.partition] = record.to_ms
        continuity = self.continuity.get(key)
        if continuity is None:
            where = f"{check.location} {state.topic}-{state.partition}"
            continuity = self.continuity[key] = CoverageContinuity(where)
        for gap in continuity.gaps(record):
            check.find(state, Fault.GAP, f"{named(key)}: {gap}")


def named(key: ChainKey) -> str:
    """Return the name of a chain, for people.

    >>> named(("live", 3)), named(("backfill/3f9a", 3))
    ('facts partition 3', 'facts partition 3 of backfill/3f9a')
    """
    origin, partition = key
    return f"facts partition {partition}" + ("" if origin == LIVE_ORIGIN else f" of {origin}")


def _decoded(state: LogState, entries: Sequence[bytes]) -> Sequence[EntryOffset | None]:
    """Return the decoded entries of a log; of logs other than verdicts only their offsets."""
    return _reader.read(entries) if state.topic == VERDICTS else decode_many(_offsets, entries)


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


def _check_tree(check: _SealCheck, log: _Log, before: LogState, state: LogState, leaves: Sequence[Hash]) -> None:
    if before.topic_id != state.topic_id:
        check.find(state, Fault.CHANGED, "it belongs to another topic of this name")
    if not leaves and state.size == before.size and state.peaks == before.peaks:
        return
    try:
        tree = log.tree or Frontier.unpacked(before.size, before.peaks)
    except ValueError as error:
        check.find(state, Fault.CHANGED, f"before it, {error}")
        return
    tree.extend(leaves)
    log.tree = tree
    if tree.size != state.size or tree.packed() != state.peaks:
        log.tree = None
        message = f"entries {state.size - state.added} to {state.size} do not match what was sealed"
        check.find(state, Fault.CHANGED, message)


_reader: Reader[Record] = Reader(msgspec.json.Decoder(DecodedEntry[Record]), msgspec.json.Decoder(Record))
_offsets: msgspec.json.Decoder[EntryOffset | None] = msgspec.json.Decoder(EntryOffset)
