"""The ledger's state: records in, seals out; what the worker does between two calls is I/O.

    1  `take`   each record of each topic partition, in order
    2  `seal`   what was taken becomes the next seal and its tree head; nothing is changed yet
    3  the worker stores the seal: whoever makes the file of that number has the log's next entry
    4  `advance`  the state moves past it

In: records and the wall clock as values. Out: files. What must hold: the offsets to go on at are in the seal itself, so
a ledger that was killed anywhere goes on where its storage ends (`resume`), and no entry is there twice or missing.

An audit record may come twice: ingest was killed, or its offsets were reset. It is left out only when it repeats, byte
for byte, the one that was taken with its source position. Whoever can write to the topic can so add records, which
verification finds where they are out of order, but nobody can keep one out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from streams.errors import StateError
from streams.evidence.ledger import entry, notes, storage
from streams.evidence.ledger import seal as seals
from streams.evidence.ledger.cover import CoverSum
from streams.evidence.ledger.merkle import Frontier, Hash, leaf_hash
from streams.evidence.ledger.notes import NoteError, Signer
from streams.evidence.ledger.seal import LogState, Seal
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


@dataclass(slots=True)
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
    """Of the audit records since the last seal the hash of each value, by source position."""

    def state(self, key: LogKey) -> LogState:
        """The log as the next seal names it."""
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


@dataclass(frozen=True, slots=True)
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
        """A ledger without seals; without `sealed_audit` no repeat of what was sealed is recognised."""
        self.origin = origin
        self._sealed_audit = sealed_audit
        self.number = 0
        self.logs: dict[LogKey, Log] = {}
        self.pending_bytes = 0
        self._previous: str | None = None
        self._seals = Frontier()
        self._sum = CoverSum()

    @classmethod
    def after(cls, seal: Seal, before: Frontier, previous: str | None, sealed_audit: SealedAudit) -> Ledger:
        """The ledger as it was when it made `seal`, with nothing taken; `before` are the seals before it."""
        ledger = cls(seal.origin, sealed_audit)
        ledger.number, ledger._seals, ledger._previous = seal.number, before, previous
        for state in seal.logs:
            ledger.logs[state.topic, state.partition] = Log(
                state.topic_id,
                Frontier.unpacked(state.size, state.peaks),
                state.next_offset,
                sources={(at.topic, at.partition): at for at in state.sources},
            )
        return ledger

    def follow(self, key: LogKey, topic_id: str) -> int:
        """Keeps a log of this topic partition from now on; returns the offset to read from.

        Raises:
            StateError: the log there is of another topic of this name.
        """
        log = self.logs.setdefault(key, Log(topic_id))
        if log.topic_id != topic_id:
            raise StateError(
                f"topic {key[0]} was made again, this evidence is of another one of that name",
                action="keep this evidence as it is and begin new evidence elsewhere, with --evidence",
            )
        return log.next_offset

    def take(self, key: LogKey, record: Record) -> None:
        """Takes in the next record; one below the offset to read from is there already and passed over."""
        log = self.logs[key]
        if record.offset < log.next_offset:
            return
        log.next_offset = record.offset + 1
        if key[0] == AUDIT and self._is_repeat(log, key[1], record):
            log.doubles += 1
            return
        line = entry.line(
            offset=record.offset, time_ms=record.time_ms, key=record.key, value=record.value, headers=record.headers
        )
        log.entries.append(line)
        log.tree.append(leaf_hash(line))
        self.pending_bytes += len(line)
        if key[0] == VERDICTS:
            self._sum.add(_verdicts(record.value))

    def lose(self, key: LogKey, begin_offset: int) -> None:
        """Kafka has nothing below `begin_offset` any more; what the ledger had not read yet is lost, and says so."""
        log = self.logs[key]
        if begin_offset > log.next_offset:
            log.lost.append((log.next_offset, begin_offset))
            log.next_offset = begin_offset

    def seal(self, now_ms: int, signers: Sequence[Signer]) -> Sealed:
        """What was taken since the last seal as the next one, signed. The state stays as it is until `advance`."""
        seal = Seal(
            origin=self.origin,
            number=self.number,
            time_ms=now_ms,
            previous=self._previous,
            peaks=self._seals.packed(),
            logs=[self.logs[key].state(key) for key in sorted(self.logs)],
            cover=self._sum.cover(),
        )
        line = seals.line(seal)
        entries = [text for key in sorted(self.logs) for text in self.logs[key].entries]
        note = notes.sign(head(leaf_hash(line), self._seals.copy(), self.origin).text(), signers).encode()
        return Sealed(seal, line, seals.join(line, entries, note), note)

    def advance(self, seal_line: bytes, note: bytes) -> None:
        """The seal is stored with its tree head."""
        self.number += 1
        self._previous = hashlib.sha256(note).hexdigest()
        self._seals.append(leaf_hash(seal_line))
        self._sum = CoverSum()
        self.pending_bytes = 0
        for log in self.logs.values():
            log.entries, log.lost, log.doubles, log.taken = [], [], 0, {}

    def _is_repeat(self, log: Log, partition: int, record: Record) -> bool:
        """Whether the log has this audit record already; the position alone proves nothing, anybody may write it."""
        at = position_in(record.headers)
        if at is None:
            return False
        value_hash = hashlib.sha256(record.value or b"").digest()
        before = log.sources.get((at.topic, at.partition))
        if before is None or at > before:
            log.sources[at.topic, at.partition] = at
        elif value_hash == self._known_hash(log, partition, at):
            return True
        log.taken.setdefault(at, value_hash)
        return False

    def _known_hash(self, log: Log, partition: int, at: SourcePosition) -> bytes | None:
        taken = log.taken.get(at)
        if taken is not None or self._sealed_audit is None:
            return taken
        return self._sealed_audit.value_hash(partition, at, self.number)


def head(seal_leaf: Hash, seals_before: Frontier, origin: str) -> TreeHead:
    """The head of the log of seals with this one as its last, which `seals_before` has from then on."""
    seals_before.append(seal_leaf)
    return TreeHead(origin, seals_before.size, seals_before.root(), seal_leaf)


def resume(store: Storage, signers: Sequence[Signer]) -> Ledger:
    """The ledger as its storage left it.

    Raises:
        StateError: the storage is another origin's, is damaged at its end, or is signed by none of the keys.
    """
    try:
        last = storage.last_seal(store)
        return Ledger(signers[0].name, SealedAudit(store)) if last is None else _resumed(store, last, signers)
    except (msgspec.DecodeError, NoteError, OSError, ValueError) as error:
        raise StateError(
            f"this evidence cannot be continued: {error}",
            action="run betrace evidence verify, and begin new evidence elsewhere, with --evidence",
        ) from error


def _resumed(store: Storage, last: int, signers: Sequence[Signer]) -> Ledger:
    parts = seals.split(store.read(storage.seal_path(last)))
    seal = seals.decode(parts.line)
    if (seal.number, seal.origin) != (last, signers[0].name):
        raise NoteError(f"seal {last} says that it is seal {seal.number} of {seal.origin}")
    before = Frontier.unpacked(seal.number, seal.peaks)
    note = notes.decode(parts.note)
    if note.text != head(leaf_hash(parts.line), before.copy(), seal.origin).text():
        raise NoteError(f"the tree head of seal {last} speaks of another seal")
    # Whoever could write to the storage would else have what they wrote signed by the next tree head.
    if not notes.verified(note, [signer.verifier() for signer in signers]):
        raise NoteError("the last tree head is signed by none of the keys; to change keys, give both for one start")
    ledger = Ledger.after(seal, before, seal.previous, SealedAudit(store))
    ledger.advance(parts.line, parts.note)
    return ledger


def _verdicts(value: bytes | None) -> verdicts.Record | None:
    try:
        return verdicts.decode(value or b"")
    except msgspec.DecodeError:
        return None
