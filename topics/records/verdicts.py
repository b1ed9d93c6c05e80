"""`betrace.verdicts`: how often each rule held, was broken or could not be judged, and which input that is about.

In: nothing. Out: the records on the topic and their bytes, one JSON object per message; `kind` says which it is.

    counts     per step, facts partition and rule: the verdicts given, as deltas, and a hash for each; key: the rule id
    coverage   per facts partition once a minute, also when idle: the input judged since the record before; no key

What a count speaks of can be shown later without any trace leaving now: a record holds only the hash of each verdict,
over the canonical JSON (RFC 8785) of `Leaf`. Coverage records of a partition follow one another without a gap: each
begins at the facts offset, the clock and the source offsets at which the one before it ends.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Annotated, TypeAlias

import msgspec

SCHEMA = 1
HASH_BYTES = 32
LEAVES_LIMIT = 10_000
"""Leaves of one record, so that it stays below half of Kafka's default message limit."""

COVERAGE_EVERY_MS = 60_000

Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]


class WindowBounds(msgspec.Struct, frozen=True, gc=False):
    """The bounds of a trace's window: record time of its first and last record in ms."""

    first_ms: int
    last_ms: int


class Leaf(msgspec.Struct, frozen=True, gc=False):
    """One verdict on one trace, its fields in the order of RFC 8785.

    `revision` is that of the signal that went out with it, None when the chain has none so far. `rule` is the rule's
    fingerprint, `trace_id` 32 hex characters, `verdict` one of held, broken, undetermined; not_applicable only where
    it takes an earlier one back.
    """

    revision: int | None
    rule: str
    trace_id: str
    verdict: str
    window: WindowBounds

    def canonical(self) -> bytes:
        """The canonical JSON of this verdict.

        >>> Leaf(None, "f0", "0a", "held", WindowBounds(1, 2)).canonical()
        b'{"revision":null,"rule":"f0","trace_id":"0a","verdict":"held","window":{"first_ms":1,"last_ms":2}}'
        """
        return _encoder.encode(self)

    def hash(self) -> bytes:
        """SHA-256 of the canonical JSON: 32 bytes."""
        return hashlib.sha256(_encoder.encode(self)).digest()


class VerdictCounts(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="counts", gc=False):
    """What one step of one facts partition judged by one rule.

    `clock_ms` is the partition's record time after the step. Applicable are held + broken + undetermined; the counts
    are deltas, an amended verdict takes its old one back. `not_applicable` counts the traces that the rule would be
    about but for an exception, which are `excepted`, too, and those that it was about until late spans came. A trace
    that hit nothing that wakes the rule is not counted: what judging costs follows hits, not rules times traces.
    `leaves` are the hashes of the verdicts given, 32 bytes each, in the order in which they were given; see `hashes`.
    """

    schema: int = SCHEMA
    rule: str
    rule_fingerprint: str
    partition: Count
    clock_ms: Count
    held: int = 0
    broken: int = 0
    undetermined: int = 0
    not_applicable: int = 0
    excepted: int = 0
    leaves: bytes = b""


class SourceCoverage(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The records of one source partition that were judged, offsets `[from_offset, to_offset)` of one epoch.

    `lost` are the ranges of them that were gone before they could be read; `dead_letters` counts those that could not
    be decoded, None where that is not known.
    """

    topic: str
    partition: Count
    epoch: int
    from_offset: Count
    to_offset: Count
    lost: list[tuple[Count, Count]] = []
    dead_letters: Count | None = None


class Coverage(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="coverage", gc=False):
    """The input that one facts partition judged since its last coverage record.

    All windows that fell due in `(from_ms, to_ms]` of record time are judged, with every record up to then; `from_ms`
    is None in a partition's first record. `[facts_from, facts_to)` are offsets of `betrace.facts`. `rule_sets` are the
    fingerprints of the sets the records were projected with. `traces_seen_estimate` is a HyperLogLog estimate of the
    distinct traces, of whatever interest, in these records: a trace that goes on over two records counts in both.
    """

    schema: int = SCHEMA
    partition: Count
    from_ms: Count | None
    to_ms: Count
    facts_from: Count
    facts_to: Count
    sources: list[SourceCoverage]
    rule_sets: list[str]
    windows_judged: Count
    traces_seen_estimate: Count


Record: TypeAlias = VerdictCounts | Coverage

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Record] = msgspec.json.Decoder(VerdictCounts | Coverage)


def hashes(leaves: bytes) -> Iterator[bytes]:
    """The hashes that are packed in `leaves`.

    >>> [one.hex()[:2] for one in hashes(bytes(32) + bytes([255] * 32))]
    ['00', 'ff']
    """
    return (leaves[at : at + HASH_BYTES] for at in range(0, len(leaves), HASH_BYTES))


def encode(record: Record) -> bytes:
    """The record's value on the topic."""
    return _encoder.encode(record)


def decode(value: bytes | str) -> Record:
    """The record in `value`; raises `msgspec.DecodeError` when it is of another schema or malformed."""
    try:
        record = _decoder.decode(value)
    except (UnicodeDecodeError, RecursionError) as error:  # msgspec makes neither one of its own
        raise msgspec.DecodeError(f"no JSON that can be read: {error}") from error
    found = fault(record)
    if found is not None:
        raise msgspec.DecodeError(found)
    return record


def fault(record: Record) -> str | None:
    """Why a record that is of the type is none all the same; None when it is one."""
    if record.schema != SCHEMA:
        return f"verdicts schema {record.schema}, this program reads {SCHEMA}: upgrade it first"
    if isinstance(record, VerdictCounts):
        size_bytes = len(record.leaves)
        return f"leaves are {size_bytes} bytes, not a multiple of {HASH_BYTES}" if size_bytes % HASH_BYTES else None
    if record.facts_from > record.facts_to or (record.from_ms is not None and record.from_ms > record.to_ms):
        return "coverage ends before it begins"
    for source in record.sources:
        lost = source.lost
        if source.from_offset > source.to_offset or (lost and any(begin > end for begin, end in lost)):
            return f"a range of {source.topic}[{source.partition}] ends before it begins"
    return None
