"""`betrace.verdicts`: how often each rule held, was broken or could not be judged, and which input that is about.

In: nothing. Out: the records on the topic and their bytes, one JSON object per message; `kind` says which it is.

    counts     per step, facts partition, rule and minute: verdicts added and verdicts taken back; key: the rule id
    coverage   per facts partition once a minute, also when idle: the input judged since the record before; no key

What a count speaks of can be shown later without any trace leaving now: a record holds only the hash of each verdict,
over the canonical JSON (RFC 8785) of `Leaf`, and of each verdict taken back, over that of `Retraction`.

Counts records of a facts partition are a chain: each has a sequence number and the SHA-256 of the one before it.
Coverage records follow one another without a gap, each from the facts offset, the clock and the source offsets at which
the one before it ends, and state how far the chain has come and what it sums up to. So a record that was left out,
added or changed shows in those around it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal, TypeAlias

import msgspec

from topics.distinct import DistinctTraces

SCHEMA = 3
HASH_BYTES = 32
LEAVES_LIMIT = 10_000
"""Leaves and retractions of one record, so that it stays below half of Kafka's default message limit."""

SERVICES_LIMIT = 1_000
"""Services of one coverage record, so that it stays below half of Kafka's default message limit."""

LIVE_ORIGIN = "live"
"""The origin of what sessions counts."""

BACKFILL_ORIGIN = "backfill/"
"""What the origin of a backfill begins with; after it comes the backfill's id."""

RuleMode: TypeAlias = Literal["live", "shadow"]

MINUTE_MS = 60_000

COVERAGE_EVERY_MS = 60_000

Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]


class WindowBounds(msgspec.Struct, frozen=True, gc=False):
    """The bounds of a trace's window: record time of its first and last record in ms."""

    first_ms: int
    last_ms: int


class VerdictSums(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """How many verdicts of each kind.

    `not_applicable` counts the traces that the rule would be about but for an exception, which are `excepted`, too, and
    those that it was about until late spans came; of both there are no leaves. A trace that hit nothing that wakes the
    rule is not counted: what judging costs follows hits, not rules times traces.
    """

    held: Count = 0
    broken: Count = 0
    undetermined: Count = 0
    not_applicable: Count = 0
    excepted: Count = 0

    @property
    def applicable(self) -> int:
        """The verdicts on traces that the rule is about."""
        return self.held + self.broken + self.undetermined

    def plus(self, other: VerdictSums) -> VerdictSums:
        """Both together.

        >>> VerdictSums(held=1).plus(VerdictSums(held=2, broken=1)).applicable
        4
        """
        return VerdictSums(
            held=self.held + other.held,
            broken=self.broken + other.broken,
            undetermined=self.undetermined + other.undetermined,
            not_applicable=self.not_applicable + other.not_applicable,
            excepted=self.excepted + other.excepted,
        )


NO_VERDICTS = VerdictSums()


class Leaf(msgspec.Struct, frozen=True, gc=False):
    """One verdict on one trace, its fields in the order of RFC 8785.

    `revision` is that of the signal that went out with it, None when the chain has none so far. `rule` is the rule's
    fingerprint, `trace_id` 32 hex characters, `verdict` one of held, broken, undetermined.
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


class Retraction(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One verdict that is taken back, its fields in the order of RFC 8785; `window` is the one that takes it back.

    `revision` is that of the chain's last signal by then.
    """

    revision: int | None
    rule: str
    taken_back: Literal[True] = True
    trace_id: str
    verdict: str
    window: WindowBounds

    def canonical(self) -> bytes:
        """The canonical JSON of this retraction."""
        return _encoder.encode(self)

    def hash(self) -> bytes:
        """SHA-256 of the canonical JSON: 32 bytes."""
        return hashlib.sha256(_encoder.encode(self)).digest()


class VerdictCounts(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="counts", gc=False):
    """What one step of one facts partition judged by one rule, of chains that began in one minute.

    `seq` numbers the partition's counts records from 0, `prev` is the SHA-256 (hex) of the value of the one before,
    None for the first. `generation` numbers the readings of the input: it rises when the group's offsets were reset.
    `mode` is the rule's, live or shadow; `minute_ms` is when the minute began in which the chains began, in record
    time, and `clock_ms` the partition's record time after the step.

    `added` and `taken_back` are never netted: an amended verdict is in both. `leaves` are the hashes of the verdicts
    added, `retractions` those of the verdicts taken back, 32 bytes each, in the order in which they were given (see
    `hashes`); there is one for each verdict but not_applicable.

    `origin` says who judged, live or a backfill, and each has a chain of its own; `tenant` is reserved.
    """

    schema: int = SCHEMA
    origin: str = LIVE_ORIGIN
    tenant: str | None = None
    partition: Count
    seq: Count
    prev: str | None
    generation: Count = 0
    rule: str
    rule_fingerprint: str
    mode: RuleMode = "live"
    minute_ms: Count
    clock_ms: Count
    added: VerdictSums = NO_VERDICTS
    taken_back: VerdictSums = NO_VERDICTS
    leaves: bytes = b""
    retractions: bytes = b""


class Counted(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How far the chain of counts records of a facts partition has come.

    `seq` is the number of the next record, `head` the SHA-256 (hex) of the last one, None before the first; `added` and
    `taken_back` are the sums over all of them. `signals` were published and `withheld` were not, because of the limit
    of signals in an hour.
    """

    seq: Count = 0
    head: str | None = None
    added: VerdictSums = NO_VERDICTS
    taken_back: VerdictSums = NO_VERDICTS
    signals: Count = 0
    withheld: Count = 0

    def after(self, record: VerdictCounts, value: bytes) -> Counted:
        """The chain with one more record, of which `value` are the bytes."""
        return Counted(
            seq=self.seq + 1,
            head=hashlib.sha256(value).hexdigest(),
            added=self.added.plus(record.added),
            taken_back=self.taken_back.plus(record.taken_back),
            signals=self.signals,
            withheld=self.withheld,
        )


class JudgingRule(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A rule that judges every chain that begins at `from_ms` of record time or later."""

    rule: str
    fingerprint: str
    mode: RuleMode
    from_ms: Count


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


class Backfilled(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Who made a coverage record of a backfill, and when by the wall clock.

    Of `half_seen` traces of its hour nothing is counted because they were there before the records that were read, of
    `unfinished` ones because they had not ended with them.
    """

    by: str
    made_ms: Count
    half_seen: Count = 0
    unfinished: Count = 0


class Coverage(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="coverage", gc=False):
    """The input that one facts partition judged since its last coverage record.

    All windows that fell due in `(from_ms, to_ms]` of record time are judged, with every record up to then; `from_ms`
    is None in a partition's first record, and in the first of a generation. `[facts_from, facts_to)` are offsets of
    `betrace.facts`. `rule_sets` are the fingerprints of the sets the records were projected with.
    `traces_seen_estimate` is a HyperLogLog estimate of the distinct traces, of whatever interest, in these records: a
    trace that goes on over two records counts in both. `traces_seen_sketch` is what it is estimated from
    (`topics.distinct`): merged over several records it counts each trace once. A trace is in one facts partition only.

    Every chain that began in `[settled_from_ms, settled_to_ms)` has a verdict of each of the rules that judge, from the
    moment that the rule names; `settled_from_ms` is None where `from_ms` is. Of those that began before `final_to_ms`
    no verdict can be amended any more. `judging` is the hash of the list of those
    rules (`judging_hash`); `rules` is the list, None when a record of this hour has it already.

    `generation` is that of the counts. In the second and later ones `reset_ms` is the wall clock at which ingest found
    the offsets reset, and `start_ms` the record time from which this generation has every record.

    `counted` is the chain of counts records up to this record.

    `origin` is that of the counts. Records of a backfill have `backfill`, and follow one another. Each is about the
    chains that began in `[settled_from_ms, settled_to_ms)`, an hour or a part of one, and that live did not judge:
    those in `rules` have judged them, and nothing amends it. With the last record of an hour the hour is complete. No
    facts are on the topic, so their offsets are 0, and traces are estimated by live alone.

    `services` are the names of the services that sent the records, of whatever trace: sorted, redacted like every
    attribute, each of at most 256 bytes, `SERVICES_LIMIT` at most; `has_more_services` says that there were more.
    """

    schema: int = SCHEMA
    origin: str = LIVE_ORIGIN
    tenant: str | None = None
    partition: Count
    generation: Count = 0
    reset_ms: Count | None = None
    start_ms: Count | None = None
    from_ms: Count | None
    to_ms: Count
    settled_from_ms: Count | None
    settled_to_ms: Count
    final_to_ms: Count
    facts_from: Count
    facts_to: Count
    sources: list[SourceCoverage]
    rule_sets: list[str]
    judging: str
    rules: list[JudgingRule] | None = None
    windows_judged: Count
    traces_seen_estimate: Count
    traces_seen_sketch: bytes
    counted: Counted = Counted()
    backfill: Backfilled | None = None
    services: list[str] = []
    has_more_services: bool = False


Record: TypeAlias = VerdictCounts | Coverage

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Record] = msgspec.json.Decoder(VerdictCounts | Coverage)


def hashes(leaves: bytes) -> Iterator[bytes]:
    """The hashes that are packed in `leaves`.

    >>> [one.hex()[:2] for one in hashes(bytes(32) + bytes([255] * 32))]
    ['00', 'ff']
    """
    return (leaves[at : at + HASH_BYTES] for at in range(0, len(leaves), HASH_BYTES))


def is_backfill(origin: str) -> bool:
    """An origin is that of a backfill.

    >>> is_backfill("backfill/3f9a"), is_backfill("live")
    (True, False)
    """
    return origin.startswith(BACKFILL_ORIGIN)


def judging_hash(rules: Sequence[JudgingRule]) -> str:
    """SHA-256 (hex) of the list's JSON.

    >>> judging_hash([])
    '4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945'
    """
    return hashlib.sha256(_encoder.encode(rules)).hexdigest()


def encode(record: Record) -> bytes:
    """The record's value on the topic."""
    return _encoder.encode(record)


def decode(value: bytes | str) -> Record:
    """The record in `value`; raises `msgspec.DecodeError` when it is of another schema or malformed."""
    try:
        record = _decoder.decode(value)
    except (UnicodeDecodeError, RecursionError) as error:  # msgspec makes neither one of its own
        raise msgspec.DecodeError(f"no JSON that can be read: {error}") from error
    reason = invalid_reason(record)
    if reason is not None:
        raise msgspec.DecodeError(reason)
    return record


def invalid_reason(record: Record) -> str | None:
    """Why a record that is of the type is none all the same; None when it is one."""
    if record.schema != SCHEMA:
        return f"verdicts schema {record.schema}, this program reads {SCHEMA}: {_advice(record.schema)}"
    return _invalid_counts(record) if isinstance(record, VerdictCounts) else _invalid_coverage(record)


def _advice(schema: int) -> str:
    return "upgrade it first" if schema > SCHEMA else "it was never released, begin new evidence elsewhere"


def _invalid_counts(record: VerdictCounts) -> str | None:
    for name, leaves, sums in (
        ("leaves", record.leaves, record.added),
        ("retractions", record.retractions, record.taken_back),
    ):
        if len(leaves) != sums.applicable * HASH_BYTES:
            return f"{name} are {len(leaves)} bytes, {sums.applicable} verdicts need {HASH_BYTES} each"
    if record.minute_ms % MINUTE_MS:
        return "the minute does not begin with a minute"
    return None


def _invalid_coverage(record: Coverage) -> str | None:
    if record.facts_from > record.facts_to or (record.from_ms is not None and record.from_ms > record.to_ms):
        return "coverage ends before it begins"
    if record.settled_from_ms is not None and record.settled_from_ms > record.settled_to_ms:
        return "what is settled ends before it begins"
    if not record.final_to_ms <= record.settled_to_ms <= record.to_ms:
        return "what is final or settled lies ahead of the clock"
    if record.rules is not None and judging_hash(record.rules) != record.judging:
        return "the rules are not those of their hash"
    if is_backfill(record.origin) != (record.backfill is not None):
        return "who made the coverage record of a backfill is not known, or it is none"
    return _invalid_source(record)


def _invalid_source(record: Coverage) -> str | None:
    for source in record.sources:
        lost = source.lost
        if source.from_offset > source.to_offset or (lost and any(start > end for start, end in lost)):
            return f"a range of {source.topic}[{source.partition}] ends before it begins"
    return _invalid_sketch(record.traces_seen_sketch)


def _invalid_sketch(sketch: bytes) -> str | None:
    try:
        DistinctTraces.decode(sketch)
    except ValueError as error:
        return str(error)
    return None
