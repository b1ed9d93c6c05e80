"""Defines the part of the Elastic Common Schema 9 that BeTrace writes.

In: nothing. Out: structs whose fields are ECS fields, and their JSON. `topics.signals.ecs` fills them. A field that is
None is omitted from the JSON, never null. Data for which ECS has no field is under `betrace`, a custom field set.

No field's type depends on a span: Elasticsearch refuses a document if a field's type differs from that in the first
document, so attributes are lists of names and texts.
"""

from __future__ import annotations

import msgspec

from topics.signals.ocsf_objects import Betrace

ECS_VERSION = "9.4.0"


class Fields(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """An ECS field set."""


class Ecs(Fields, frozen=True):
    """The version of ECS."""

    version: str


class Event(Fields, frozen=True, kw_only=True):
    """The event. `kind` is alert, because Kibana reserves `signal`.

    `id` is the finding's uid and revision, `code` the rule's id, `severity` 1 (info) to 5 (critical), and `created` the
    time at which it was written. `outcome` is failure for a broken rule, unknown for an undetermined one, and success
    for a repaired one. `risk_score` is the rule's, from 0 to 100, and `reference` its runbook if that is a URL.
    """

    kind: str
    id: str
    code: str
    action: str
    outcome: str
    severity: int
    created: str
    module: str
    dataset: str
    reason: str
    start: str | None = None
    end: str | None = None
    risk_score: float | None = None
    reference: str | None = None


class Rule(Fields, frozen=True, kw_only=True):
    """The rule; `version` is its fingerprint, `category` its kind, `author` its author or, without one, its owner."""

    id: str
    name: str
    version: str
    category: str
    description: str | None = None
    reference: str | None = None
    author: list[str] | None = None


class Id(Fields, frozen=True):
    """The id of a trace or a span."""

    id: str


class Name(Fields, frozen=True):
    """The name of a service or a host."""

    name: str


class User(Fields, frozen=True):
    """The actor, from the identity attributes of a witness."""

    id: str | None = None
    name: str | None = None


class Client(Fields, frozen=True):
    """The client of the request."""

    address: str
    ip: str | None = None


class Related(Fields, frozen=True):
    """All users, hosts and addresses of the witnesses, for searches."""

    hosts: list[str] | None = None
    ip: list[str] | None = None
    user: list[str] | None = None


class SubTechnique(Fields, frozen=True):
    """The ids of sub-techniques."""

    id: list[str]


class Technique(Fields, frozen=True):
    """The ids of techniques, also of those whose sub-techniques are named."""

    id: list[str]
    subtechnique: SubTechnique | None = None


class Tactic(Fields, frozen=True):
    """The ids of tactics."""

    id: list[str]


class Threat(Fields, frozen=True):
    """The tactics and techniques that the rule detects; `framework` is omitted if they are of two frameworks."""

    framework: str | None = None
    tactic: Tactic | None = None
    technique: Technique | None = None


class Triage(Fields, frozen=True, kw_only=True):
    """What the rule states for triage and ECS has no field for; `version` is the one that the rule's author gave it."""

    author: str | None = None
    version: str | None = None
    date: str | None = None
    modified: str | None = None
    related: list[str] | None = None
    runbook: str | None = None
    false_positives: list[str] | None = None


class Observer(Fields, frozen=True):
    """The program that wrote the document."""

    product: str
    vendor: str
    version: str | None = None


class Attribute(Fields, frozen=True):
    """An attribute of a span as text; without a `value` it is null."""

    name: str
    value: str | None = None


class Evidence(Fields, frozen=True, kw_only=True):
    """One witness: `subject` as the rule writes it; `span_id`, or `log_id` for a log record, in lower-case hex."""

    subject: str
    name: str
    attributes: list[Attribute]
    span_id: str | None = None
    log_id: str | None = None
    service: str | None = None
    start_ns: int | None = None
    duration_ns: int | None = None


class BetraceFields(Betrace, frozen=True, kw_only=True):
    """The data for which ECS has no field; the first attributes are those of `unmapped.betrace` in OCSF.

    `is_truncated` and `untruncated_size`, in bytes, are present when witnesses or texts were omitted.
    """

    uid: str
    severity: str
    controls: list[str]
    evidences: list[Evidence]
    triage: Triage | None = None
    is_truncated: bool | None = None
    untruncated_size: int | None = None


class EcsSignal(Fields, frozen=True, kw_only=True):
    """One signal. `@timestamp` is the record time at which the window closed.

    `span`, `service`, `host`, `user` and `client` are each that of the first witness that has one.
    """

    timestamp: str = msgspec.field(name="@timestamp")
    ecs: Ecs
    message: str
    event: Event
    rule: Rule
    trace: Id
    observer: Observer
    betrace: BetraceFields
    span: Id | None = None
    service: Name | None = None
    host: Name | None = None
    user: User | None = None
    client: Client | None = None
    related: Related | None = None
    threat: Threat | None = None
    tags: list[str] | None = None


_encoder = msgspec.json.Encoder(order="deterministic")
_decoder = msgspec.json.Decoder(EcsSignal)


def encode(signal: EcsSignal) -> bytes:
    """Encode as UTF-8 JSON with the keys in a fixed order; equal signals give equal bytes."""
    return _encoder.encode(signal)


def decode(value: bytes) -> EcsSignal:
    """Decode what `encode` returned; raises `msgspec.DecodeError` (or its subclass ValidationError) for other JSON."""
    return _decoder.decode(value)
