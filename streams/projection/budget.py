"""How much may be written of one source record: its facts, within a bound.

In: the spans of a record, trace by trace, and the room that the record's size gives it (`Budget`). Out: its facts. What
must hold: the facts of a record never take more than its room, whatever the record. What is shown gives way first:

    whole      witnesses as the projection makes them
    shortened  texts of more than 64 bytes are cut, with a mark and a digest of what they were
    bare       a witness is a digest of what it was
    refused    even bare facts are too large: the record is a dead letter, and its traces with hits are incomplete

Verdicts depend on neither of the first three. Whether a record is refused depends on its bare facts alone, so replay,
which may show less or more of a span than ingest does, refuses the same records.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from itertools import islice
from typing import NamedTuple

import msgspec
import structlog

from dsl import Span
from streams.decode.decoder import Decoded
from streams.projection.project import NOTHING_SHOWN, Projector, Shown
from topics.records.facts import Fact, Witness
from topics.values import TRUNCATED_KEY, digest, truncate_with_digest

log = structlog.get_logger()

LEAST_BYTES = 64 << 10
FACTOR = 16
_FACTS_EIGHTHS = 5
"""So much of the budget the facts may take: the audit trail, cut, takes at most six times the record's size."""

FACT_BYTES = 128 << 10
"""A larger fact is cut as well: one must fit in a facts message beside what is said of the source partitions."""

TEXT_BYTES = 64
BARE_WITNESS_BYTES = 36
_IDENTITY_BYTES = 16
BARE_FACT_BYTES = BARE_WITNESS_BYTES + 24 + _IDENTITY_BYTES
"""A fact that says nothing of keys takes so much at most: atom, identity and start beside its witness."""
KEY_BYTES = 16
"""What one value of a key takes in a fact; a span has seldom more of a key."""

CHUNK = 64
"""So many facts are measured together, which as they are take less than a megabyte."""

_FAULTS = (ArithmeticError, LookupError, RecursionError, TypeError, ValueError)
_encode = msgspec.msgpack.Encoder().encode


class _Level(IntEnum):
    """How much witnesses show."""

    WHOLE = 0
    SHORTENED = 1
    BARE = 2


@dataclass(frozen=True, slots=True)
class Budget:
    """How many bytes may be written of a source record: `factor` times its size, or 64 KiB when that is more."""

    factor: int = FACTOR

    @property
    def facts_share(self) -> tuple[int, int]:
        """How much of the budget is for facts, as a fraction."""
        return _FACTS_EIGHTHS, 8

    def total_bytes(self, record_bytes: int) -> int:
        """What facts and audit records of a record may take together.

        >>> Budget().total_bytes(100), Budget().total_bytes(1_000_000)
        (65536, 16000000)
        """
        return max(LEAST_BYTES, self.factor * record_bytes)

    def facts_bytes(self, record_bytes: int) -> int:
        """What its facts may take."""
        return self.total_bytes(record_bytes) * _FACTS_EIGHTHS // 8


DEFAULT_BUDGET = Budget()


class RecordFacts:
    """The facts of one record; `reason` says why it is refused, None while it is not.

    `size_bytes` is what the facts take so far.
    """

    def __init__(self, projector: Projector, room_bytes: int) -> None:
        self.reason: str | None = None
        self.size_bytes = 0
        self._projector = projector
        self._room_bytes = room_bytes
        self._bare_bytes = 0
        self._level = _Level.WHOLE
        self._shown = Shown(projector)
        self._kept: list[list[Fact]] = []

    def of_trace(self, spans: list[Span]) -> list[Fact]:
        """The facts of spans of one trace.

        A list that was given before may be cut by it, and is empty as soon as the record is refused.
        """
        kept: list[Fact] = []
        if self.reason is None:
            self._kept.append(kept)
            try:
                facts = self._projector.each(spans, self._shown)
                # Some at a time: measuring them one by one would take as long as making them.
                while self.reason is None and (chunk := [*islice(facts, CHUNK)]):
                    self._add(kept, chunk)
            except _FAULTS as error:
                # A fault of this program must not end ingest, at each start again, for one record of a sender.
                log.exception("a record cannot be projected: report this as a bug")
                self._refuse(f"projection failed: {type(error).__name__}")
        return kept

    def _add(self, kept: list[Fact], facts: list[Fact]) -> None:
        """Adds facts, unless the record is refused for them."""
        bare_bytes = [_bare_bytes(fact) for fact in facts]
        self._bare_bytes += sum(bare_bytes)
        if self._bare_bytes > self._room_bytes or max(bare_bytes) > FACT_BYTES:
            self._refuse("facts take more than the record's budget")
            return
        size_bytes = len(_encode(facts))
        if self._level is not _Level.WHOLE or size_bytes > FACT_BYTES:
            facts = [_at(fact, self._level) for fact in facts]
            size_bytes = len(_encode(facts))
        kept += facts
        self.size_bytes += size_bytes
        while self.size_bytes > self._room_bytes and self._level is not _Level.BARE:
            self._level = _Level(self._level + 1)
            self.size_bytes = 0
            for before in self._kept:
                before[:] = [_at(each, self._level) for each in before]
                self.size_bytes += len(_encode(before))

    def _refuse(self, reason: str) -> None:
        self.reason, self.size_bytes = reason, 0
        for facts in self._kept:
            facts.clear()
        self._kept.clear()


class TraceFacts(NamedTuple):
    """What one record says of one trace; `is_incomplete`: it has hits that are not among the facts."""

    trace_id: bytes
    span_count: int
    root_seen: bool
    facts: list[Fact]
    is_incomplete: bool = False


class Projection(NamedTuple):
    """What a record says of each of its traces; most have no facts.

    `reason` says why the record is refused, None when it is not; `size_bytes` is what its facts take.
    """

    traces: list[TraceFacts]
    reason: str | None
    size_bytes: int


def project(decoded: Decoded, projector: Projector, room_bytes: int) -> Projection:
    """What a record says of each of its traces, in no more than so many bytes."""
    facts = RecordFacts(projector, room_bytes)
    told = [
        (trace_id, trace, facts.of_trace(trace.spans) if trace.spans else [])
        for trace_id, trace in decoded.traces.items()
    ]
    is_refused = facts.reason is not None
    traces = [
        TraceFacts(trace_id, trace.span_count, trace.root_seen, found, is_refused and bool(trace.spans))
        for trace_id, trace, found in told
    ]
    return Projection(traces, facts.reason, facts.size_bytes)


def _bare_bytes(fact: Fact) -> int:
    """What a fact takes at most when its witness is bare."""
    keys_bytes = len(_encode(fact.keys)) if fact.keys else 1
    return BARE_FACT_BYTES - _IDENTITY_BYTES + len(fact.identity) + keys_bytes


def _at(fact: Fact, level: _Level) -> Fact:
    """The fact with a witness that shows no more than the level lets it, and less where it is too large."""
    if level is _Level.WHOLE:
        if len(_encode(fact)) <= FACT_BYTES:
            return fact
        level = _Level.SHORTENED
    if fact.witness is NOTHING_SHOWN:
        return fact
    if level is _Level.SHORTENED:
        cut = msgspec.structs.replace(fact, witness=_shortened(fact.witness))
        if len(_encode(cut)) <= FACT_BYTES:
            return cut
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
