"""Defines what BeTrace writes of OCSF 1.8.0: Compliance Finding (2003), Detection Finding (2004) and their objects.

In: nothing. Out: structs whose fields are attributes that OCSF allows there, and their JSON. `topics.signals.ocsf`
fills them. An attribute that is None is omitted from the JSON, never null. Of the attributes of OCSF's profiles only
`risk_score` is here; it belongs to `security_control`, which a finding with it names. Data for which OCSF has no
attribute is under `unmapped.betrace`.
"""

from __future__ import annotations

from enum import IntEnum

import msgspec

from topics.values import Scalar

OCSF_VERSION = "1.8.0"


class Caption(IntEnum):
    """An OCSF enum: the number is the `_id` attribute, `caption` the text beside it.

    >>> Severity.INFORMATIONAL.caption
    'Informational'
    """

    def __init__(self, _: int) -> None:
        self.caption = self.name.replace("_", " ").title()


class ClassUid(Caption):
    """`class_uid`."""

    COMPLIANCE_FINDING = 2003
    DETECTION_FINDING = 2004


class Activity(Caption):
    """`activity_id`: the first verdict of a chain, a changed verdict, or one that repairs."""

    CREATE = 1
    UPDATE = 2
    CLOSE = 3


class Severity(Caption):
    """`severity_id`."""

    INFORMATIONAL = 1
    LOW = 2
    MEDIUM = 3
    HIGH = 4
    CRITICAL = 5


class Status(Caption):
    """`status_id`."""

    NEW = 1
    RESOLVED = 4


class ComplianceStatus(Caption):
    """`compliance.status_id`; 99 is OCSF's "other", for a rule that no longer applies."""

    PASS = 1
    WARNING = 2
    FAIL = 3
    NOT_APPLICABLE = 99


class Object(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """An OCSF object."""


class Product(Object, frozen=True):
    """The program that wrote the record."""

    name: str
    vendor_name: str
    version: str | None = None


class Metadata(Object, frozen=True, kw_only=True):
    """The metadata of the record. `uid` is the finding's uid and revision, `correlation_uid` the trace id.

    `logged_time` is the only value of a signal that a replay does not reproduce. `is_truncated` and `untruncated_size`,
    in bytes, are present when witnesses or texts were omitted. `profiles` names the profile of `risk_score`.
    """

    version: str
    product: Product
    uid: str
    correlation_uid: str
    log_name: str
    logged_time: int
    is_truncated: bool | None = None
    untruncated_size: int | None = None
    profiles: list[str] | None = None


class Analytic(Object, frozen=True, kw_only=True):
    """The rule; `version` is its fingerprint."""

    type_id: int
    type: str
    uid: str
    name: str
    version: str


class Tag(Object, frozen=True):
    """OCSF's key_value_object."""

    name: str
    values: list[str]


class RelatedAnalytic(Object, frozen=True):
    """A rule that the rule names as related: OCSF's analytic with an id only."""

    type_id: int
    type: str
    uid: str


class ThreatId(Object, frozen=True):
    """OCSF's tactic, technique and sub_technique, with the id that MITRE gives it."""

    uid: str


class Attack(Object, frozen=True):
    """A tactic or technique of MITRE ATT&CK or ATLAS that the rule detects."""

    tactic: ThreatId | None = None
    technique: ThreatId | None = None
    sub_technique: ThreatId | None = None


class Remediation(Object, frozen=True):
    """What to do about the finding: the rule's runbook; `references` has it if it is a URL."""

    desc: str
    references: list[str] | None = None


class FindingInfo(Object, frozen=True, kw_only=True):
    """The finding and its rule. `uid` is the same for all revisions; times are Unix ms."""

    uid: str
    title: str
    analytic: Analytic
    created_time: int
    modified_time: int
    desc: str | None = None
    tags: list[Tag] | None = None
    attacks: list[Attack] | None = None
    related_analytics: list[RelatedAnalytic] | None = None


class Compliance(Object, frozen=True, kw_only=True):
    """The controls that the rule checks, and whether this trace complied with them."""

    control: str
    requirements: list[str]
    status_id: ComplianceStatus
    status: str
    standards: list[str] | None = None


class User(Object, frozen=True):
    """The actor, from the span's identity attributes."""

    uid: str | None = None
    uid_alt: str | None = None
    name: str | None = None


class Endpoint(Object, frozen=True):
    """OCSF's network_endpoint: the client."""

    name: str
    hostname: str | None = None
    ip: str | None = None


class EvidenceData(Object, frozen=True, kw_only=True):
    """One witness: `subject` as the rule writes it; `span_id`, or `log_id` for a log record, in lower-case hex."""

    subject: str
    name: str
    attributes: dict[str, Scalar]
    span_id: str | None = None
    log_id: str | None = None
    service: str | None = None
    start_ns: int | None = None
    duration_ns: int | None = None


class Evidence(Object, frozen=True):
    """OCSF's evidences."""

    data: EvidenceData
    user: User | None = None
    src_endpoint: Endpoint | None = None


class Resource(Object, frozen=True):
    """OCSF's resource_details: a service or host that took part."""

    name: str
    type: str
    hostname: str | None = None


class Observable(Object, frozen=True):
    """A value for searches; `name` is the path of the attribute that holds it, without array indexes."""

    name: str
    type_id: int
    type: str
    value: str


class Window(Object, frozen=True):
    """The record times of the first and last arrival, in Unix ms; `spans` is informative."""

    first_ms: int
    last_ms: int
    spans: int
    root_seen: bool


class Rule(Object, frozen=True):
    """The rule that was judged."""

    id: str
    kind: str
    fingerprint: str
    text: str


class Source(Object, frozen=True):
    """A range of source offsets, first and last included."""

    topic: str
    partition: int
    first_offset: int
    last_offset: int


class Dedup(Object, frozen=True):
    """How the finding is grouped: those with the same `uid` are one alert.

    They have the same values of the attributes `by`, and began in the period from `from_ms` up to but not including
    `to_ms`, in record time.
    """

    uid: str
    by: list[str]
    from_ms: int
    to_ms: int


class Betrace(Object, frozen=True, kw_only=True):
    """Data for which OCSF has no attribute. `missing` should have been in the trace, `present` should not.

    `dedup` is omitted if the rule has none.
    """

    schema: int
    trace_id: str
    verdict: str
    revision: int
    late: bool
    close_reason: str
    window: Window
    rule: Rule
    missing: list[str]
    present: list[str]
    source: list[Source]
    previous_verdict: str | None = None
    dedup: Dedup | None = None


class Unmapped(Object, frozen=True):
    """OCSF's open object."""

    betrace: Betrace


class OcsfFinding(Object, frozen=True, kw_only=True):
    """One signal. `compliance` is present exactly when `class_uid` is 2003. Times are Unix ms.

    `time` is the record time at which the window closed; `start_time` and `end_time` are the first and last start of a
    witness. `risk_score`, from 0 to 100, is the rule's, and an attribute of the profile `security_control`.
    """

    class_uid: ClassUid
    class_name: str
    category_uid: int
    category_name: str
    activity_id: Activity
    activity_name: str
    type_uid: int
    type_name: str
    severity_id: Severity
    severity: str
    status_id: Status
    status: str
    time: int
    message: str
    finding_info: FindingInfo
    observables: list[Observable]
    metadata: Metadata
    unmapped: Unmapped
    start_time: int | None = None
    end_time: int | None = None
    compliance: Compliance | None = None
    evidences: list[Evidence] | None = None
    resources: list[Resource] | None = None
    remediation: Remediation | None = None
    risk_score: int | None = None


_encoder = msgspec.json.Encoder(order="deterministic")
_decoder = msgspec.json.Decoder(OcsfFinding)


def encode(finding: OcsfFinding) -> bytes:
    """Encode as UTF-8 JSON with the keys in a fixed order; equal findings give equal bytes."""
    return _encoder.encode(finding)


def decode(value: bytes) -> OcsfFinding:
    """Decode what `encode` returned; raises `msgspec.DecodeError` (or its subclass ValidationError) for other JSON."""
    return _decoder.decode(value)
