"""What a signal says, before any format: one rule, one trace, one verdict, and what was seen.

In: nothing. Out: the values that every format of `topics.records.signals` is written from, and the identity of a
finding. They name no rule engine and no window: the program fills them in.

Integers fit 64 bits and texts hold no lone surrogates, as after any decoding of the source records.
"""

from __future__ import annotations

import uuid
from functools import lru_cache
from typing import NamedTuple

import msgspec

from topics.values import Scalar

NAMESPACE = uuid.UUID("5e9ac12e-3d11-45c8-b885-2d8ba0be58d1")
"""The namespace of every finding's UUIDv5. Another one would make every known finding a new one."""


HOUR_MS = 3_600_000


class RuleText(msgspec.Struct, frozen=True, kw_only=True):
    """What a signal tells of its rule.

    `severity` is one of info, low, medium, high, critical; `kind` one of conditional, invariant, pattern. A control is
    "SOC2/CC6.7" or "SOC2 CC6.7".
    """

    id: str
    title: str
    description: str | None
    severity: str
    kind: str
    controls: tuple[str, ...]
    tags: tuple[str, ...]
    owner: str | None
    references: tuple[str, ...]
    fingerprint: str
    text: str


class SignalWitness(msgspec.Struct, frozen=True, kw_only=True):
    """One witness: a span or log record that satisfied a subject of the rule.

    `subject` is the subject as the rule writes it. `span_id` is a span's id, or a log record's identity hash when
    `is_log`. Of the attributes only those the rules name and the identity attributes are here.
    """

    subject: str
    span_id: bytes
    name: str
    service: str | None
    start_ns: int | None
    duration_ns: int | None
    attributes: dict[str, Scalar]
    is_log: bool = False

    def text(self, attribute: str) -> str | None:
        """An attribute that identifies somebody or something, as text; None when it says nothing.

        >>> SignalWitness(subject="a", span_id=b"", name="", service=None, start_ns=None, duration_ns=None,
        ...     attributes={"user.id": 17}).text("user.id")
        '17'
        """
        value = self.attributes.get(attribute)
        return None if value is None or isinstance(value, bool) or value == "" else str(value)


class SourceRange(NamedTuple):
    """Where the finding's records are in a source topic, first and last included."""

    topic: str
    partition: int
    first_offset: int
    last_offset: int


class PairText(NamedTuple):
    """What is told of a pair among `missing` or `present`: the pair as the rule writes it, and which spans it is about.

    `spans` is empty when no single ones are known.
    """

    pair: str
    spans: str


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A verdict to be published: `revision` 1 is the first of its chain, each change of the verdict is one more.

    `verdict` is one of broken, undetermined, held, not_applicable; the last two repair an earlier one, which
    `previous_verdict` names. Times are Unix milliseconds of record time: `first_fact_ms` that of the chain's first
    record of what this rule looks at, `first_ms` and `last_ms` the window's, `closed_ms` when it closed,
    `first_published_ms` the `closed_ms` of revision 1. `missing` are subjects that should have been there, `present`
    such that should not. Witnesses come in the order in which they are shown, the most telling first. `pairs` tells
    more of `missing` and `present`. A summary stands for all findings of a rule that the limit of signals withheld in
    an hour, `withheld` of them; it is about the first one, and shows no witnesses.
    """

    rule: RuleText
    trace_id: bytes
    verdict: str
    revision: int
    previous_verdict: str | None
    late: bool
    close_reason: str
    first_fact_ms: int
    first_ms: int
    last_ms: int
    closed_ms: int
    first_published_ms: int
    spans: int
    root_seen: bool
    missing: tuple[str, ...]
    present: tuple[str, ...]
    witnesses: tuple[SignalWitness, ...]
    sources: tuple[SourceRange, ...]
    pairs: tuple[PairText, ...] = ()
    withheld: int = 0

    @property
    def happened_ms(self) -> int:
        """When it happened: the earliest start of a witness; where no span says that, when the window closed."""
        starts_ns = [witness.start_ns for witness in self.witnesses if witness.start_ns is not None]
        return min(starts_ns) // 1_000_000 if starts_ns else self.closed_ms

    @property
    def is_summary(self) -> bool:
        """It stands for findings that were withheld."""
        return self.withheld > 0

    @property
    def hour_ms(self) -> int:
        """The beginning of the hour in which it closed."""
        return self.closed_ms - self.closed_ms % HOUR_MS

    @property
    def uid(self) -> str:
        """The finding's uid, the same for all its revisions; of summaries the same for a rule's whole hour."""
        if self.is_summary:
            return uid(self.rule.id, self.rule.fingerprint, b"", self.hour_ms)
        return uid(self.rule.id, self.rule.fingerprint, self.trace_id, self.first_fact_ms)

    @property
    def revision_uid(self) -> str:
        """The uid of this revision: what a receiver removes doubles by."""
        return f"{self.uid}.{self.revision}"

    @property
    def is_resolved(self) -> bool:
        """Late spans repaired what an earlier revision said."""
        return self.verdict in {"held", "not_applicable"}


@lru_cache(maxsize=256)
def uid(rule_id: str, rule_fingerprint: str, trace_id: bytes, first_fact_ms: int) -> str:
    """The UUIDv5 of the four, one a line: the trace id in lower-case hex, `Finding.first_fact_ms`.

    >>> uid("pii-is-audited", "5f2a", bytes(15) + b"a", 1767614400000)
    '8d59ea30-cada-5c5f-9adb-c188237550f0'
    """
    return str(uuid.uuid5(NAMESPACE, f"{rule_id}\n{rule_fingerprint}\n{trace_id.hex()}\n{first_fact_ms}"))
