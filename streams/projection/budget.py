"""Bounds what is written of one source record: the facts within its budget.

In: the spans of a record, trace by trace, and the room that the record's size gives (`Budget`). Out: its facts.
Invariant: the facts of a record never exceed its room, whatever the record. What signals show is reduced first:

    whole      witnesses as the projection makes them
    shortened  texts of more than 64 bytes are truncated, with a mark and a digest of the original
    bare       a witness is only a digest of the original; hashes by which `dedup` groups signals stay
    refused    even bare facts are too large: the record is a dead letter, and its traces with hits are incomplete

Verdicts do not depend on the first three. Whether a record is refused depends on its bare facts alone, so replay, which
may show less or more of a span than ingest does, refuses the same records.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from itertools import islice
from typing import NamedTuple

import msgspec
import structlog

from dsl import Atom, Span
from dsl.judge.atoms import Use
from dsl.judge.keys import HASH_BYTES
from streams.decode.decoder import Decoded
from streams.projection.project import NOTHING_SHOWN, Projector, Shown
from topics.errors import Refusal, RefusalReason
from topics.records.facts import Fact, Witness
from topics.values import TRUNCATED_KEY, digest, truncate_with_digest

log = structlog.get_logger()

MIN_BYTES = 64 << 10
FACTOR = 16
_FACTS_EIGHTHS = 5
"""The share of the budget for facts; the audit trail, truncated, takes at most six times the record's size."""

FACT_BYTES = 128 << 10
"""The limit of one fact: it must fit into a facts message beside the data of the source partitions."""

TEXT_BYTES = 64
BARE_WITNESS_BYTES = 36
_IDENTITY_BYTES = 29
"""The most that an identity takes: that of an event of a span without an id is the longest."""
_BESIDE_BYTES = 24
"""The most that a fact without keys takes beside its identity and its witness: atom and start."""
_EMPTY_WITNESS_BYTES = 5
_HASH_TEXT_BYTES = 1 + 2 * HASH_BYTES
KEY_BYTES = 16
"""The size of one value of a key in a fact; a span seldom has more than one per key."""
NUMBER_BYTES = 48
"""The most that the number of an aggregate takes in a fact."""

CHUNK = 64
"""Facts that are measured together; whole ones take less than a megabyte."""

_FAULTS = (ArithmeticError, LookupError, RecursionError, TypeError, ValueError)
_DEDUP = Use.DEDUP
_encode = msgspec.msgpack.Encoder().encode


class _Level(IntEnum):
    """How much witnesses show."""

    WHOLE = 0
    SHORTENED = 1
    BARE = 2


@dataclass(frozen=True, slots=True)
class Budget:
    """The bytes that may be written of a source record: `factor` times its size, but at least 64 KiB."""

    factor: int = FACTOR

    @property
    def facts_share(self) -> tuple[int, int]:
        """The share of the budget for facts, as a fraction."""
        return _FACTS_EIGHTHS, 8

    def total_bytes(self, record_bytes: int) -> int:
        """Return the size of facts and audit records that a record may have in total.

        >>> Budget().total_bytes(100), Budget().total_bytes(1_000_000)
        (65536, 16000000)
        """
        return max(MIN_BYTES, self.factor * record_bytes)

    def facts_bytes(self, record_bytes: int) -> int:
        """Return the size of the facts that a record may have."""
        return self.total_bytes(record_bytes) * _FACTS_EIGHTHS // 8


DEFAULT_BUDGET = Budget()


class RecordFacts:
    """The facts of one record; `refusal` says why it is refused, None while it is not.

    `size_bytes` is the size of the facts so far.
    """

    def __init__(self, projector: Projector, room_bytes: int) -> None:
        self.refusal: Refusal | None = None
        self.size_bytes = 0
        self._projector = projector
        self._atoms = projector.rules.atoms
        self._room_bytes = room_bytes
        self._bare_bytes = 0
        self._level = _Level.WHOLE
        self._shown = Shown(projector)
        self._kept: list[list[Fact]] = []

    def of_trace(self, spans: list[Span]) -> list[Fact]:
        """Return the facts of spans of one trace.

        A later call may shorten the facts in this list, and empties it if the record is refused.
        """
        kept: list[Fact] = []
        if self.refusal is None:
            self._kept.append(kept)
            try:
                facts = self._projector.each(spans, self._shown)
                # In chunks: measuring facts one by one would take as long as making them.
                while self.refusal is None and (chunk := [*islice(facts, CHUNK)]):
                    self._add(kept, chunk)
            except _FAULTS as error:
                # A bug of this program must not end ingest, again at each start, because of one sender's record.
                log.exception("projection of a record failed: report this as a bug")
                self._refuse(Refusal(RefusalReason.PROJECTION_FAILED, type(error).__name__))
        return kept

    def _add(self, kept: list[Fact], facts: list[Fact]) -> None:
        """Add facts, unless they exceed the budget and the record is refused."""
        bare_bytes = [_bare_bytes(fact, self._atoms[fact.atom]) for fact in facts]
        self._bare_bytes += sum(bare_bytes)
        if self._bare_bytes > self._room_bytes or max(bare_bytes) > FACT_BYTES:
            self._refuse(Refusal(RefusalReason.OVER_BUDGET))
            return
        size_bytes = len(_encode(facts))
        if self._level is not _Level.WHOLE or size_bytes > FACT_BYTES:
            facts = [self._at_level(fact) for fact in facts]
            size_bytes = len(_encode(facts))
        kept += facts
        self.size_bytes += size_bytes
        while self.size_bytes > self._room_bytes and self._level is not _Level.BARE:
            self._level = _Level(self._level + 1)
            self.size_bytes = 0
            for before in self._kept:
                before[:] = [self._at_level(each) for each in before]
                self.size_bytes += len(_encode(before))

    def _at_level(self, fact: Fact) -> Fact:
        """Return the fact with its witness reduced; hashes that group signals stay, as join keys do."""
        return fact if self._atoms[fact.atom].use is _DEDUP else _at(fact, self._level)

    def _refuse(self, refusal: Refusal) -> None:
        self.refusal, self.size_bytes = refusal, 0
        for facts in self._kept:
            facts.clear()
        self._kept.clear()


class TraceFacts(NamedTuple):
    """One trace of a record; `is_incomplete`: it has hits that are not among the facts."""

    trace_id: bytes
    span_count: int
    root_seen: bool
    facts: list[Fact]
    is_incomplete: bool = False


class Projection(NamedTuple):
    """All traces of a record; most have no facts.

    `refusal` says why the record is refused, None when it is not; `size_bytes` is the size of its facts.
    """

    traces: list[TraceFacts]
    refusal: Refusal | None
    size_bytes: int


def project(decoded: Decoded, projector: Projector, room_bytes: int) -> Projection:
    """Project the traces of a record, within `room_bytes`."""
    facts = RecordFacts(projector, room_bytes)
    per_trace = [
        (trace_id, trace, facts.of_trace(trace.spans) if trace.spans else [])
        for trace_id, trace in decoded.traces.items()
    ]
    is_refused = facts.refusal is not None
    traces = [
        TraceFacts(trace_id, trace.span_count, trace.root_seen, of_trace, is_refused and bool(trace.spans))
        for trace_id, trace, of_trace in per_trace
    ]
    return Projection(traces, facts.refusal, facts.size_bytes)


def bare_fact_bytes(atom: Atom) -> int:
    """Return the most that a fact of the atom takes without keys when its witness is bare."""
    return _BESIDE_BYTES + _IDENTITY_BYTES + _bare_witness_bytes(atom)


def _bare_witness_bytes(atom: Atom) -> int:
    """Return the most that a bare witness takes; it depends on the atom alone, as it must without witnesses too."""
    if atom.use is not _DEDUP:
        return BARE_WITNESS_BYTES
    hashes_bytes = sum(len(_encode(key.name)) + _HASH_TEXT_BYTES for key in atom.keys)
    return max(BARE_WITNESS_BYTES, _EMPTY_WITNESS_BYTES + hashes_bytes)


def _bare_bytes(fact: Fact, atom: Atom) -> int:
    """Return the most that a fact takes when its witness is bare."""
    keys_bytes = len(_encode(fact.keys)) if fact.keys else 1
    witness_bytes = 1 if fact.witness is None else _bare_witness_bytes(atom)
    return _BESIDE_BYTES + witness_bytes + len(fact.identity) + keys_bytes


def _at(fact: Fact, level: _Level) -> Fact:
    """Return the fact with its witness reduced to the level, or further if the fact is too large."""
    if level is _Level.WHOLE:
        if len(_encode(fact)) <= FACT_BYTES:
            return fact
        level = _Level.SHORTENED
    if fact.witness is None or fact.witness is NOTHING_SHOWN:
        return fact
    if level is _Level.SHORTENED:
        shortened_fact = msgspec.structs.replace(fact, witness=_shortened(fact.witness))
        if len(_encode(shortened_fact)) <= FACT_BYTES:
            return shortened_fact
    return msgspec.structs.replace(fact, witness=_bare(_shortened(fact.witness)))


def _shortened(witness: Witness) -> Witness:
    return Witness(
        truncate_with_digest(witness.name, TEXT_BYTES),
        witness.service and truncate_with_digest(witness.service, TEXT_BYTES),
        witness.duration_ns,
        {
            name: truncate_with_digest(value, TEXT_BYTES) if isinstance(value, str) else value
            for name, value in witness.attributes.items()
        },
    )


def _bare(witness: Witness) -> Witness:
    encoded = _encode(witness)
    return witness if len(encoded) < BARE_WITNESS_BYTES else Witness("", None, None, {TRUNCATED_KEY: digest(encoded)})
