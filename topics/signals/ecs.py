"""Encodes findings in the Elastic Common Schema.

In: a `Finding` and its sentence. Out: the JSON of `topics.signals.ecs_objects`. Equal findings give equal bytes, except
for `event.created`. Lists without an order of their own are sorted and have no duplicates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec

from topics.signals import ecs_objects as ecs
from topics.signals import ocsf
from topics.signals.finding import Finding, RuleText, SignalWitness
from topics.signals.threats import frameworks, threats
from topics.times import rfc3339, rfc3339_clamped
from topics.values import Scalar

MODULE = "betrace"
DATASET = "betrace.signals"

_SEVERITIES = {"info": 1, "low": 2, "medium": 3, "high": 4, "critical": 5}
_OUTCOMES = {"broken": "failure", "undetermined": "unknown", "held": "success", "not_applicable": "success"}

_T = TypeVar("_T")


def encode(finding: Finding, *, message: str, logged_ms: int, untruncated_bytes: int | None = None) -> bytes:
    """Return the finding as UTF-8 JSON; `untruncated_bytes` is its size before truncation, None when it is complete."""
    return ecs.encode(document(finding, message=message, logged_ms=logged_ms, untruncated_bytes=untruncated_bytes))


def document(finding: Finding, *, message: str, logged_ms: int, untruncated_bytes: int | None = None) -> ecs.EcsSignal:
    """Return the finding as a document of ECS 9; the arguments are those of `encode`."""
    witnesses = finding.witnesses
    span_id = _first(witnesses, lambda witness: None if witness.is_log else witness.span_id.hex() or None)
    service = _first(witnesses, lambda witness: witness.service or None)
    host = _first(witnesses, lambda witness: witness.text("host.name"))
    return ecs.EcsSignal(
        timestamp=rfc3339_clamped(finding.closed_ms),
        ecs=ecs.Ecs(ecs.ECS_VERSION),
        message=message,
        event=_event(finding, message, logged_ms),
        rule=_rule(finding),
        trace=ecs.Id(finding.trace_id.hex()),
        observer=ecs.Observer(ocsf.PRODUCT.name, ocsf.PRODUCT.vendor_name, ocsf.PRODUCT.version),
        betrace=_betrace(finding, untruncated_bytes),
        span=ecs.Id(span_id) if span_id else None,
        service=ecs.Name(service) if service else None,
        host=ecs.Name(host) if host else None,
        user=_first(witnesses, _user),
        client=_first(witnesses, _client),
        related=_related(witnesses),
        threat=_threat(finding.rule),
        tags=sorted(set(finding.rule.tags)) or None,
    )


def _event(finding: Finding, message: str, logged_ms: int) -> ecs.Event:
    rule = finding.rule
    starts_ns = [witness.start_ns for witness in finding.witnesses if witness.start_ns is not None]
    return ecs.Event(
        kind="alert",
        id=finding.revision_uid,
        code=finding.rule.id,
        action=f"rule-{finding.verdict.replace('_', '-')}",
        outcome=_OUTCOMES[finding.verdict],
        severity=_SEVERITIES[finding.rule.severity],
        created=rfc3339_clamped(logged_ms),
        module=MODULE,
        dataset=DATASET,
        reason=message,
        start=rfc3339(min(starts_ns) // 1_000_000) if starts_ns else None,
        end=rfc3339(max(starts_ns) // 1_000_000) if starts_ns else None,
        risk_score=None if rule.risk_score is None else float(rule.risk_score),
        reference=rule.runbook if rule.runbook and ocsf.is_url(rule.runbook) else None,
    )


def _rule(finding: Finding) -> ecs.Rule:
    rule = finding.rule
    return ecs.Rule(
        id=rule.id,
        name=rule.title,
        version=rule.fingerprint,
        category=rule.kind,
        description=rule.description or None,
        reference=next(iter(rule.references), None),
        author=[author] if (author := rule.author or rule.owner) else None,
    )


def _threat(rule: RuleText) -> ecs.Threat | None:
    named, found = frameworks(rule), threats(rule)
    if not found:
        return None
    tactics, techniques, sub_techniques = (sorted({each for each in ids if each}) for ids in zip(*found, strict=True))
    below = ecs.SubTechnique(sub_techniques) if sub_techniques else None
    return ecs.Threat(
        framework=named[0] if len(named) == 1 else None,
        tactic=ecs.Tactic(tactics) if tactics else None,
        technique=ecs.Technique(techniques, below) if techniques else None,
    )


def _triage(rule: RuleText) -> ecs.Triage | None:
    triage = ecs.Triage(
        author=rule.author or None,
        version=rule.version or None,
        date=rule.date or None,
        modified=rule.modified or None,
        related=sorted(set(rule.related)) or None,
        runbook=rule.runbook or None,
        false_positives=sorted(set(rule.false_positives)) or None,
    )
    return None if triage == ecs.Triage() else triage


def _betrace(finding: Finding, untruncated_bytes: int | None) -> ecs.BetraceFields:
    return ecs.BetraceFields(
        **msgspec.structs.asdict(ocsf.betrace(finding)),
        uid=finding.uid,
        severity=finding.rule.severity,
        controls=sorted(set(finding.rule.controls)),
        evidences=[_evidence(witness) for witness in finding.witnesses],
        triage=_triage(finding.rule),
        is_truncated=None if untruncated_bytes is None else True,
        untruncated_size=untruncated_bytes,
    )


def _evidence(witness: SignalWitness) -> ecs.Evidence:
    identity = witness.span_id.hex() or None
    return ecs.Evidence(
        subject=witness.subject,
        name=witness.name,
        attributes=[ecs.Attribute(name, text(value)) for name, value in sorted(witness.attributes.items())],
        span_id=None if witness.is_log else identity,
        log_id=identity if witness.is_log else None,
        service=witness.service,
        start_ns=witness.start_ns,
        duration_ns=witness.duration_ns,
    )


def text(value: Scalar) -> str | None:
    """Format a value as text, with numbers and booleans as in JSON; null is None.

    >>> text("u-17"), text(17), text(True), text(float("inf")), text(None)
    ('u-17', '17', 'true', 'Infinity', None)
    """
    scalar = ocsf.json_value(value)
    return scalar if scalar is None or isinstance(scalar, str) else msgspec.json.encode(scalar).decode()


def _user(witness: SignalWitness) -> ecs.User | None:
    user = ocsf.user(witness)
    return None if user is None else ecs.User(user.uid, user.name)


def _client(witness: SignalWitness) -> ecs.Client | None:
    endpoint = ocsf.client(witness)
    return None if endpoint is None else ecs.Client(endpoint.name, endpoint.ip)


def _related(witnesses: Iterable[SignalWitness]) -> ecs.Related | None:
    users = [user for user in map(ocsf.user, witnesses) if user]
    clients = [client for client in map(ocsf.client, witnesses) if client]
    hosts = [*(witness.text("host.name") for witness in witnesses), *(client.hostname for client in clients)]
    addresses = [client.ip for client in clients]
    names = [name for user in users for name in (user.uid, user.uid_alt, user.name)]
    lists = [sorted({each for each in values if each}) or None for values in (hosts, addresses, names)]
    return ecs.Related(*lists) if any(lists) else None


def _first(witnesses: Iterable[SignalWitness], find: Callable[[SignalWitness], _T | None]) -> _T | None:
    return next((value for witness in witnesses if (value := find(witness)) is not None), None)
