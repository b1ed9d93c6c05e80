"""Holds the ledger's state: records in, seals out; all I/O is in the worker, between two calls.

    1  `take`   each record of each topic partition, in order
    2  `seal`   what was taken becomes the next seal and its tree head; nothing is changed yet
    3  the worker stores the seal: whoever makes the file of that number has the log's next entry
    4  `advance`  the state moves past it

In: records and the wall clock as values. Out: files. The next offsets to read are in the seal itself, so a ledger
killed at any point continues where its storage ends (`resume`), and no entry is duplicated or missing.

An audit record may come twice: ingest was killed, or its offsets were reset. It is skipped only if it repeats, byte for
byte, the one taken before with its source position. Anybody who can write to the topic can thus add records, which
verification finds if they are out of order, but nobody can suppress one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from streams.errors import StateError
from streams.evidence.ledger import entry, notes, storage
from streams.evidence.ledger import seal as seals
from streams.evidence.ledger.merkle import Frontier, Hash, leaf_hash
from streams.evidence.ledger.notes import NoteError, Signer
from streams.evidence.ledger.seal import LogState, Seal
from streams.evidence.ledger.seal_summary import SummaryBuilder
from streams.evidence.ledger.sealed_audit import SealedAudit
from streams.evidence.ledger.storage import Storage
from streams.evidence.ledger.tree_head import TreeHead
from topics.records import verdicts
from topics.records.audit import SourcePosition, position_in

VERDICTS = "verdicts"
AUDIT = seals.AUDIT
SIGNALS = "signals"

LogKey = tuple[str, int]
"""A log's name, which is the topic's without the prefix, and its partition."""


@dataclass(slots=True, kw_only=True)
class Log:
    """The log of one topic partition, and what was taken since the last seal."""

    topic_id: str
    tree: Frontier = field(default_factory=Frontier)
    next_offset: int = 0
    entries: list[bytes] = field(default_factory=list)
    doubles: int = 0
    lost: list[tuple[int, int]] = field(default_factory=list)
    sources: dict[tuple[str, int], SourcePosition] = field(default_factory=dict)
    taken: dict[SourcePosition, bytes] = field(default_factory=dict)
    """The hash of each audit record's value since the last seal, by source position."""

    def state(self, key: LogKey) -> LogState:
        """Return the state of the log as the next seal names it."""
        return LogState(
            topic=key[0],
            partition=key[1],
            topic_id=self.topic_id,
            size=self.tree.size,
            added=len(self.entries),
            next_offset=self.next_offset,
            peaks=self.tree.packed(),
            doubles=self.doubles,
            lost=[*self.lost],
            sources=sorted(self.sources.values()),
        )


@dataclass(frozen=True, slots=True)
class Sealed:
    """A seal and its tree head; `content` is the file that has both."""

    seal: Seal
    seal_line: bytes
    content: bytes
    note: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A record as Kafka delivers it."""

    offset: int
    time_ms: int
    key: bytes | None
    value: bytes | None
    headers: entry.Headers = ()


class Ledger:
    """All logs of one origin; see the module docstring for the order of calls."""

    def __init__(self, origin: str, sealed_audit: SealedAudit | None = None) -> None:
        """Start without seals; without `sealed_audit`, repeats of sealed audit records are not recognised."""
        self.origin = origin
        self._sealed_audit = sealed_audit
        self.number = 0
        self.logs: dict[LogKey, Log] = {}
        self.pending_bytes = 0
        self._previous: str | None = None
        self._seals = Frontier()
        self._sum = SummaryBuilder()

    @classmethod
    def after(cls, seal: Seal, before: Frontier, previous: str | None, sealed_audit: SealedAudit) -> Ledger:
        """Return the ledger as it was after `seal`, with nothing taken; `before` are the seals before it."""
        ledger = cls(seal.origin, sealed_audit)
        ledger.number, ledger._seals, ledger._previous = seal.number, before, previous
        for state in seal.logs:
            ledger.logs[state.topic, state.partition] = Log(
                topic_id=state.topic_id,
                tree=Frontier.unpacked(state.size, state.peaks),
                next_offset=state.next_offset,
                sources={(position.topic, position.partition): position for position in state.sources},
            )
        return ledger

    def follow(self, key: LogKey, topic_id: str) -> int:
        """Keep a log of this topic partition from now on, and return the offset to read from.

        Raises:
            StateError: the existing log belongs to another topic of this name.
        """
        log = self.logs.setdefault(key, Log(topic_id=topic_id))
        if log.topic_id != topic_id:
            raise StateError(
                f"topic {key[0]} was recreated; this evidence belongs to the earlier topic of that name",
                action="keep this evidence unchanged and start new evidence elsewhere, with --evidence",
            )
        return log.next_offset

    def take(self, key: LogKey, record: Record) -> None:
        """Take in the next record; skip one below the offset to read from, which is already sealed."""
        log = self.logs[key]
        if record.offset < log.next_offset:
            return
        log.next_offset = record.offset + 1
        if key[0] == AUDIT and self._is_repeat(log, key[1], record):
            log.doubles += 1
            return
        line = entry.encode_line(
            offset=record.offset, time_ms=record.time_ms, key=record.key, value=record.value, headers=record.headers
        )
        log.entries.append(line)
        log.tree.append(leaf_hash(line))
        self.pending_bytes += len(line)
        if key[0] == VERDICTS:
            self._sum.add(_verdicts(record.value))

    def lose(self, key: LogKey, begin_offset: int) -> None:
        """Record that nothing below `begin_offset` can be read any more; unread records there are lost."""
        log = self.logs[key]
        if begin_offset > log.next_offset:
            log.lost.append((log.next_offset, begin_offset))
            log.next_offset = begin_offset

    def seal(self, now_ms: int, signers: Sequence[Signer]) -> Sealed:
        """Return what was taken since the last seal as the next one, signed; `advance` changes the state."""
        seal = Seal(
            origin=self.origin,
            number=self.number,
            time_ms=now_ms,
            previous=self._previous,
            peaks=self._seals.packed(),
            logs=[self.logs[key].state(key) for key in sorted(self.logs)],
            cover=self._sum.summary(),
        )
        line = seals.line(seal)
        entries = [text for key in sorted(self.logs) for text in self.logs[key].entries]
        note = notes.sign(head(leaf_hash(line), self._seals.copy(), self.origin).text(), signers).encode()
        return Sealed(seal, line, seals.join(line, entries, note), note)

    def advance(self, seal_line: bytes, note: bytes) -> None:
        """Move past the seal, which is now stored with its tree head."""
        self.number += 1
        self._previous = hashlib.sha256(note).hexdigest()
        self._seals.append(leaf_hash(seal_line))
        self._sum = SummaryBuilder()
        self.pending_bytes = 0
        for log in self.logs.values():
            log.entries, log.lost, log.doubles, log.taken = [], [], 0, {}

    def _is_repeat(self, log: Log, partition: int, record: Record) -> bool:
        """Return whether the log already has this audit record; its position proves nothing, anybody may write it."""
        position = position_in(record.headers)
        if position is None:
            return False
        value_hash = hashlib.sha256(record.value or b"").digest()
        before = log.sources.get((position.topic, position.partition))
        if before is None or position > before:
            log.sources[position.topic, position.partition] = position
        elif value_hash == self._known_hash(log, partition, position):
            return True
        log.taken.setdefault(position, value_hash)
        return False

    def _known_hash(self, log: Log, partition: int, position: SourcePosition) -> bytes | None:
        taken = log.taken.get(position)
        if taken is not None or self._sealed_audit is None:
            return taken
        return self._sealed_audit.value_hash(partition, position, self.number)


def head(seal_leaf: Hash, seals_before: Frontier, origin: str) -> TreeHead:
    """Return the tree head of the log of seals with this one as its last, and add it to `seals_before`."""
    seals_before.append(seal_leaf)
    return TreeHead(origin, seals_before.size, seals_before.root(), seal_leaf)


def resume(store: Storage, signers: Sequence[Signer]) -> Ledger:
    """Return the ledger in the state of its storage.

    Raises:
        StateError: the storage is another origin's, is damaged at its end, or is not signed by any of the keys.
    """
    try:
        last = storage.last_seal(store)
        return Ledger(signers[0].name, SealedAudit(store)) if last is None else _resumed(store, last, signers)
    except (msgspec.DecodeError, NoteError, OSError, ValueError) as error:
        raise StateError(
            f"this evidence cannot be continued: {error}",
            action="run betrace evidence verify, and start new evidence elsewhere, with --evidence",
        ) from error


def _resumed(store: Storage, last: int, signers: Sequence[Signer]) -> Ledger:
    parts = seals.split(store.read(storage.seal_path(last)))
    seal = seals.decode(parts.line)
    if (seal.number, seal.origin) != (last, signers[0].name):
        raise NoteError(f"seal {last} claims to be seal {seal.number} of {seal.origin}")
    before = Frontier.unpacked(seal.number, seal.peaks)
    note = notes.decode(parts.note)
    if note.text != head(leaf_hash(parts.line), before.copy(), seal.origin).text():
        raise NoteError(f"the tree head of seal {last} is for another seal")
    # Otherwise the next tree head would sign what somebody else wrote to the storage.
    if not notes.verified(note, [signer.verifier() for signer in signers]):
        raise NoteError("the last tree head is not signed by any of the keys; to rotate keys, give both for one start")
    ledger = Ledger.after(seal, before, seal.previous, SealedAudit(store))
    ledger.advance(parts.line, parts.note)
    return ledger


def _verdicts(value: bytes | None) -> verdicts.Record | None:
    try:
        return verdicts.decode(value or b"")
    except msgspec.DecodeError:
        return None
