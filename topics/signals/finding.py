"""Defines the content of a signal, independent of its format: one rule, one trace, one verdict, and the witnesses.

In: nothing. Out: the values from which `topics.records.signals` writes every format, and the identity of a finding.
They do not depend on the rule engine or on windows: the program fills them in.

Integers fit 64 bits and texts hold no lone surrogates, as the decoding of the source records guarantees.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import msgspec

from topics.values import Scalar

NAMESPACE = uuid.UUID("5e9ac12e-3d11-45c8-b885-2d8ba0be58d1")
"""The namespace of every finding's UUIDv5. Changing it would turn every known finding into a new one."""


HOUR_MS = 3_600_000


class RuleText(msgspec.Struct, frozen=True, kw_only=True):
    """What a signal shows of its rule.

    `severity` is one of info, low, medium, high, critical; `kind` is one of conditional, invariant, pattern. A control
    is written "SOC2/CC6.7" or "SOC2 CC6.7". `related` are ids of rules; `attack` and `atlas` are ids of techniques and
    tactics of MITRE ATT&CK and ATLAS, such as T1059.001 and AML.TA0002; `risk_score` is from 0 to 100.
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
    author: str | None = None
    version: str | None = None
    date: str | None = None
    modified: str | None = None
    related: tuple[str, ...] = ()
    attack: tuple[str, ...] = ()
    atlas: tuple[str, ...] = ()
    runbook: str | None = None
    false_positives: tuple[str, ...] = ()
    risk_score: int | None = None


class SignalWitness(msgspec.Struct, frozen=True, kw_only=True):
    """One witness: a span, span event or log record that satisfied a subject of the rule.

    `subject` is the subject as the rule writes it. `span_id` is a span's id, or a log record's identity hash if
    `is_log`. An event has the id and name of its span, its own time as `start_ns`, and no duration. `attributes` holds
    only those that the rules name and the identity attributes.
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
        """Return an identifying attribute as text; None when it is missing, empty or a boolean.

        >>> SignalWitness(subject="a", span_id=b"", name="", service=None, start_ns=None, duration_ns=None,
        ...     attributes={"user.id": 17}).text("user.id")
        '17'
        """
        value = self.attributes.get(attribute)
        return None if value is None or isinstance(value, bool) or value == "" else str(value)


class SourceRange(NamedTuple):
    """The offsets of the finding's records in a source topic, first and last included."""

    topic: str
    partition: int
    first_offset: int
    last_offset: int


class PairText(NamedTuple):
    """A pair among `missing` or `present`: the pair as the rule writes it, and the spans that break it.

    `spans` is empty when no individual spans are known. Of an aggregate it is what the numbers are.
    """

    pair: str
    spans: str


class Dedup(msgspec.Struct, frozen=True):
    """How a signal is grouped: findings with the same `uid` are one alert.

    They are about the same rule, have the same values of the attributes `by`, and their first facts (`first_fact_ms`)
    lie in the same period, from `from_ms` up to but not including `to_ms`, in record time.
    """

    uid: str
    by: tuple[str, ...]
    from_ms: int
    to_ms: int


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A verdict to be published: `revision` 1 is the first of its chain, and each change of the verdict adds one.

    `verdict` is one of broken, undetermined, held, not_applicable; the last two repair an earlier verdict,
    `previous_verdict`. Times are Unix milliseconds of record time: `first_fact_ms` is the time of the chain's first
    record that concerns this rule, `first_ms` and `last_ms` are the bounds of the window, `closed_ms` is the time at
    which it closed, and `first_published_ms` is the `closed_ms` of revision 1. `missing` are the subjects that should
    have been in the trace, and `present` those that should not. Witnesses are in display order, the most informative
    first. `pairs` adds details to `missing` and `present`. `dedup` is None if the rule has none, and in a summary. A
    summary represents all findings of a rule that the limit of signals withheld in an hour, `withheld` of them; it
    describes the first one, without witnesses.
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
    dedup: Dedup | None = None

    @property
    def happened_ms(self) -> int:
        """The time of the event: the earliest start of a witness; without one, the time at which the window closed."""
        starts_ns = [witness.start_ns for witness in self.witnesses if witness.start_ns is not None]
        return min(starts_ns) // 1_000_000 if starts_ns else self.closed_ms

    @property
    def is_summary(self) -> bool:
        """Whether the finding is a summary of findings that were withheld."""
        return self.withheld > 0

    @property
    def hour_ms(self) -> int:
        """The start of the hour in which the window closed."""
        return self.closed_ms - self.closed_ms % HOUR_MS

    @property
    def uid(self) -> str:
        """The finding's uid, equal for all its revisions; the uid of a summary is that of a rule's hour."""
        if self.is_summary:
            return uid(self.rule.id, self.rule.fingerprint, b"", self.hour_ms)
        return uid(self.rule.id, self.rule.fingerprint, self.trace_id, self.first_fact_ms)

    @property
    def revision_uid(self) -> str:
        """The uid of this revision, by which a receiver deduplicates signals."""
        return f"{self.uid}.{self.revision}"

    @property
    def is_resolved(self) -> bool:
        """Whether late spans repaired an earlier revision."""
        return self.verdict in {"held", "not_applicable"}


@lru_cache(maxsize=256)
def uid(rule_id: str, rule_fingerprint: str, trace_id: bytes, first_fact_ms: int) -> str:
    """Return the UUIDv5 of the four values, one per line, with the trace id in lower-case hex.

    >>> uid("pii-is-audited", "5f2a", bytes(15) + b"a", 1767614400000)
    '8d59ea30-cada-5c5f-9adb-c188237550f0'
    """
    return str(uuid.uuid5(NAMESPACE, f"{rule_id}\n{rule_fingerprint}\n{trace_id.hex()}\n{first_fact_ms}"))


def dedup_of(rule_id: str, rule_fingerprint: str, values: Mapping[str, str | None], period_ms: range) -> Dedup:
    """Return how a finding is grouped by hashes of values, None where one is missing, and by its period in record time.

    >>> dedup_of("pii-is-audited", "5f2a", {"user.id": "c0ffee", "tenant.id": None}, range(0, 3_600_000)).uid
    'f4e1fbd8-0924-5408-a048-31b4f56e71b4'
    """
    from_ms, to_ms = period_ms.start, period_ms.stop
    content = ["dedup", rule_id, rule_fingerprint, sorted(values.items()), from_ms, to_ms]
    dedup_uid = uuid.uuid5(NAMESPACE, msgspec.json.encode(content).decode())
    return Dedup(str(dedup_uid), tuple(sorted(values)), from_ms, to_ms)
