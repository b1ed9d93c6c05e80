"""`betrace.verdicts`: how often each rule held, was broken or could not be judged, and which input was judged.

In: nothing. Out: the records on the topic and their bytes, one JSON object per message, of one of two kinds (`kind`):

    counts     per step, facts partition, rule and minute: verdicts added and verdicts taken back; key: the rule id
    coverage   per facts partition once a minute, also when idle: the input judged since the last record; no key

The verdicts behind a count can be proved later, and no trace data leaves now: a record holds only the hash of each
verdict, over the canonical JSON (RFC 8785) of `Leaf`, and of each verdict taken back, over that of `Retraction`.

The counts records of a facts partition form a chain: each has a sequence number and the SHA-256 of the previous record.
Coverage records leave no gap: each starts at the facts offset, the clock and the source offsets at which the previous
one ends, and states the length and the sums of the chain. So the records around a record that was omitted, added or
changed reveal it.
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
"""The maximum number of leaves and retractions in a record; keeps it below half of Kafka's default message limit."""

SERVICES_LIMIT = 1_000
"""The maximum number of services in a coverage record; keeps it below half of Kafka's default message limit."""

LIVE_ORIGIN = "live"
"""The origin of the records that sessions writes."""

BACKFILL_ORIGIN = "backfill/"
"""The prefix of the origin of a backfill; the backfill's id follows."""

RuleMode: TypeAlias = Literal["live", "shadow"]

MINUTE_MS = 60_000

COVERAGE_EVERY_MS = 60_000

Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]


class WindowBounds(msgspec.Struct, frozen=True, gc=False):
    """The bounds of a trace's window: the record times of its first and last record in ms."""

    first_ms: int
    last_ms: int


class VerdictSums(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The number of verdicts of each kind.

    `not_applicable` counts the traces to which the rule would apply but for an exception, which `excepted` counts as
    well, and those to which it applied until late spans arrived; neither have leaves. A trace without a hit that
    triggers the rule is not counted, so the cost of judging grows with hits and not with rules times traces.
    """

    held: Count = 0
    broken: Count = 0
    undetermined: Count = 0
    not_applicable: Count = 0
    excepted: Count = 0

    @property
    def applicable(self) -> int:
        """The number of verdicts on traces to which the rule applies."""
        return self.held + self.broken + self.undetermined

    def plus(self, other: VerdictSums) -> VerdictSums:
        """Return the sums of both.

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


class Leaf(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One verdict on one trace; the fields are in the order of RFC 8785.

    `revision` is that of the signal published with it, None while the chain has no signal. `rule` is the rule's
    fingerprint, `trace_id` is 32 hex characters, and `verdict` is one of held, broken, undetermined.
    """

    revision: int | None
    rule: str
    trace_id: str
    verdict: str
    window: WindowBounds

    def canonical(self) -> bytes:
        """Return the canonical JSON of this verdict.

        >>> window = WindowBounds(1, 2)
        >>> Leaf(revision=None, rule="f0", trace_id="0a", verdict="held", window=window).canonical()
        b'{"revision":null,"rule":"f0","trace_id":"0a","verdict":"held","window":{"first_ms":1,"last_ms":2}}'
        """
        return _encoder.encode(self)

    def hash(self) -> bytes:
        """Return the SHA-256 of the canonical JSON: 32 bytes."""
        return hashlib.sha256(_encoder.encode(self)).digest()


class Retraction(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One verdict that is taken back; the fields are in the order of RFC 8785.

    `window` is the window that takes it back; `revision` is that of the chain's last signal at that time.
    """

    revision: int | None
    rule: str
    taken_back: Literal[True] = True
    trace_id: str
    verdict: str
    window: WindowBounds

    def canonical(self) -> bytes:
        """Return the canonical JSON of this retraction."""
        return _encoder.encode(self)

    def hash(self) -> bytes:
        """Return the SHA-256 of the canonical JSON: 32 bytes."""
        return hashlib.sha256(_encoder.encode(self)).digest()


class VerdictCounts(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="counts", gc=False):
    """The verdicts of one rule in one step of one facts partition, on chains that started in one minute.

    `seq` numbers the partition's counts records from 0; `prev` is the SHA-256 (hex) of the previous record's value,
    None for the first. `generation` numbers the readings of the input: it increases when the group's offsets are reset.
    `mode` is the rule's, live or shadow. `minute_ms` is the start of the minute in which the chains started, in record
    time, and `clock_ms` is the partition's record time after the step.

    `added` and `taken_back` are never netted: an amended verdict is in both. `leaves` are the hashes of the verdicts
    added and `retractions` those of the verdicts taken back, 32 bytes each, in the order of the verdicts (see
    `hashes`); not_applicable verdicts have none.

    `origin` identifies the judge, live or a backfill; each has its own chain. `tenant` is reserved.
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
    """The state of the chain of counts records of a facts partition.

    `seq` is the number of the next record; `head` is the SHA-256 (hex) of the last one, None before the first; `added`
    and `taken_back` are the sums of all records. `signals` counts the signals published, `withheld` those that the
    hourly limit withheld.
    """

    seq: Count = 0
    head: str | None = None
    added: VerdictSums = NO_VERDICTS
    taken_back: VerdictSums = NO_VERDICTS
    signals: Count = 0
    withheld: Count = 0

    def after(self, record: VerdictCounts, value: bytes) -> Counted:
        """Return the state of the chain after one more record, encoded as `value`."""
        return Counted(
            seq=self.seq + 1,
            head=hashlib.sha256(value).hexdigest(),
            added=self.added.plus(record.added),
            taken_back=self.taken_back.plus(record.taken_back),
            signals=self.signals,
            withheld=self.withheld,
        )


class JudgingRule(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A rule that judges every chain that starts at record time `from_ms` or later."""

    rule: str
    fingerprint: str
    mode: RuleMode
    from_ms: Count


class SourceCoverage(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The records of one source partition that were judged: offsets `[from_offset, to_offset)` of one epoch.

    `lost` are the ranges among them that Kafka deleted before they could be read; `dead_letters` counts those that
    could not be decoded, None if that is unknown.
    """

    topic: str
    partition: Count
    epoch: int
    from_offset: Count
    to_offset: Count
    lost: list[tuple[Count, Count]] = []
    dead_letters: Count | None = None


class Backfilled(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The author of a coverage record of a backfill, and the wall time at which it was made.

    Some traces of its hour are not counted: `half_seen` had started before the records that were read, and `unfinished`
    had not ended after them.
    """

    by: str
    made_ms: Count
    half_seen: Count = 0
    unfinished: Count = 0


class Coverage(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="coverage", gc=False):
    """The input that one facts partition judged since its last coverage record.

    All windows that became due in `(from_ms, to_ms]` of record time are judged, with every record up to `to_ms`;
    `from_ms` is None in the first record of a partition and of a generation. `[facts_from, facts_to)` are offsets of
    `betrace.facts`. `rule_sets` are the fingerprints of the sets with which the records were projected.
    `traces_seen_estimate` is a HyperLogLog estimate of the distinct traces in these records, with or without hits: a
    trace that spans two coverage records counts in both. `traces_seen_sketch` is its sketch (`topics.distinct`): merged
    over several records it counts each trace once. A trace is in only one facts partition.

    Every chain that started in `[settled_from_ms, settled_to_ms)` has a verdict of each rule that judges it, from the
    time that the rule names; `settled_from_ms` is None where `from_ms` is. The verdicts on chains that started before
    `final_to_ms` can no longer be amended. `judging` is the hash of the list of those rules (`judging_hash`); `rules`
    is the list, None when an earlier record of this hour has it.

    `generation` is that of the counts. From the second one on, `reset_ms` is the wall time at which ingest found the
    offsets reset, and `start_ms` the record time from which this generation has every record.

    `counted` is the state of the chain of counts records up to this record.

    `origin` is that of the counts. Records of a backfill have `backfill` and form a sequence. Each covers the chains
    that started in `[settled_from_ms, settled_to_ms)`, an hour or a part of one, and that live did not judge: the rules
    in `rules` have judged them, and nothing amends those verdicts. The last record of an hour completes it. A backfill
    writes no facts, so their offsets are 0; only live estimates the number of traces.

    `services` are the names of the services that sent the records of all traces: sorted, redacted like every attribute,
    each at most 256 bytes long, and at most `SERVICES_LIMIT` of them; `has_more_services` means that there were more.
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
    """Return the hashes that are packed in `leaves`.

    >>> [one.hex()[:2] for one in hashes(bytes(32) + bytes([255] * 32))]
    ['00', 'ff']
    """
    return (leaves[at : at + HASH_BYTES] for at in range(0, len(leaves), HASH_BYTES))


def is_backfill(origin: str) -> bool:
    """Return whether an origin is that of a backfill.

    >>> is_backfill("backfill/3f9a"), is_backfill("live")
    (True, False)
    """
    return origin.startswith(BACKFILL_ORIGIN)


def judging_hash(rules: Sequence[JudgingRule]) -> str:
    """Return the SHA-256 (hex) of the list's JSON.

    >>> judging_hash([])
    '4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945'
    """
    return hashlib.sha256(_encoder.encode(rules)).hexdigest()


def encode(record: Record) -> bytes:
    """Encode the record's value."""
    return _encoder.encode(record)


def decode(value: bytes | str) -> Record:
    """Decode a record; raises `msgspec.DecodeError` if it has another schema or is malformed."""
    try:
        record = _decoder.decode(value)
    except (UnicodeDecodeError, RecursionError) as error:  # msgspec does not convert these
        raise msgspec.DecodeError(f"invalid JSON: {error}") from error
    reason = invalid_reason(record)
    if reason is not None:
        raise msgspec.DecodeError(reason)
    return record


def invalid_reason(record: Record) -> str | None:
    """Return why a well-typed record is still invalid, or None."""
    if record.schema != SCHEMA:
        return f"verdicts schema {record.schema}, this program reads {SCHEMA}: {_advice(record.schema)}"
    return _invalid_counts(record) if isinstance(record, VerdictCounts) else _invalid_coverage(record)


def _advice(schema: int) -> str:
    return "upgrade it first" if schema > SCHEMA else "it was never released, start new evidence elsewhere"


def _invalid_counts(record: VerdictCounts) -> str | None:
    for name, leaves, sums in (
        ("leaves", record.leaves, record.added),
        ("retractions", record.retractions, record.taken_back),
    ):
        if len(leaves) != sums.applicable * HASH_BYTES:
            return f"{name} are {len(leaves)} bytes, {sums.applicable} verdicts need {HASH_BYTES} each"
    if record.minute_ms % MINUTE_MS:
        return "minute_ms is not the start of a minute"
    return None


def _invalid_coverage(record: Coverage) -> str | None:
    if record.facts_from > record.facts_to or (record.from_ms is not None and record.from_ms > record.to_ms):
        return "coverage ends before it starts"
    if record.settled_from_ms is not None and record.settled_from_ms > record.settled_to_ms:
        return "settled_from_ms is after settled_to_ms"
    if not record.final_to_ms <= record.settled_to_ms <= record.to_ms:
        return "final_to_ms, settled_to_ms and to_ms are not in order"
    if record.rules is not None and judging_hash(record.rules) != record.judging:
        return "the rules do not match their hash"
    if is_backfill(record.origin) != (record.backfill is not None):
        return "a backfill lacks its author, or a live record has one"
    return _invalid_source(record)


def _invalid_source(record: Coverage) -> str | None:
    for source in record.sources:
        lost = source.lost
        if source.from_offset > source.to_offset or (lost and any(start > end for start, end in lost)):
            return f"a range of {source.topic}[{source.partition}] ends before it starts"
    return _invalid_sketch(record.traces_seen_sketch)


def _invalid_sketch(sketch: bytes) -> str | None:
    try:
        DistinctTraces.decode(sketch)
    except ValueError as error:
        return str(error)
    return None
