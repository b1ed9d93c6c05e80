"""Encodes findings in OCSF: as a Compliance Finding when the rule names controls, else as a Detection Finding.

In: a `Finding` and its sentence. Out: the JSON of `topics.signals.ocsf_objects`. Equal findings give equal bytes,
except for `metadata.logged_time`. Lists without an order of their own are sorted and have no duplicates.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

from topics.signals import ocsf_objects as ocsf
from topics.signals.finding import Finding, RuleText, SignalWitness
from topics.signals.threats import Threat, threats
from topics.values import Scalar

LOG_NAME = "betrace.signals"
SCHEMA = 1

RISK_PROFILE = "security_control"
"""The OCSF profile that has `risk_score`."""

IP_CHARS = 40  # OCSF's ip_t

_HOST = re.compile(r"[\w.-]{1,255}")

_SEVERITIES = {
    "info": ocsf.Severity.INFORMATIONAL,
    "low": ocsf.Severity.LOW,
    "medium": ocsf.Severity.MEDIUM,
    "high": ocsf.Severity.HIGH,
    "critical": ocsf.Severity.CRITICAL,
}

_COMPLIANCE = {
    "held": ocsf.ComplianceStatus.PASS,
    "undetermined": ocsf.ComplianceStatus.WARNING,
    "broken": ocsf.ComplianceStatus.FAIL,
    "not_applicable": ocsf.ComplianceStatus.NOT_APPLICABLE,
}

_OBSERVABLE_TYPES = {
    "metadata.correlation_uid": (99, "Trace ID"),
    "resources.name": (38, "Resource Details Object: name"),
    "resources.hostname": (1, "Hostname"),
    "evidences.user.uid": (31, "User Object: uid"),
    "evidences.user.uid_alt": (31, "User Object: uid"),
    "evidences.user.name": (4, "User Name"),
    "evidences.src_endpoint.hostname": (1, "Hostname"),
    "evidences.src_endpoint.ip": (2, "IP Address"),
}
"""OCSF's type and caption for each path of an observable. OCSF has no type for a trace id: 99 is "other"."""


def _program_version() -> str | None:
    try:
        return version("betrace")
    except PackageNotFoundError:  # the program runs from a source tree that is not installed
        return None


PRODUCT = ocsf.Product(name="BeTrace", vendor_name="BeTrace", version=_program_version())


def encode(finding: Finding, *, message: str, logged_ms: int, untruncated_bytes: int | None = None) -> bytes:
    """Return the finding as UTF-8 JSON; `untruncated_bytes` is its size before truncation, None when it is complete."""
    return ocsf.encode(document(finding, message=message, logged_ms=logged_ms, untruncated_bytes=untruncated_bytes))


def document(
    finding: Finding, *, message: str, logged_ms: int, untruncated_bytes: int | None = None
) -> ocsf.OcsfFinding:
    """Return the finding as an OCSF 1.8.0 finding; the arguments are those of `encode`."""
    compliance = _compliance(finding)
    class_uid = ocsf.ClassUid.COMPLIANCE_FINDING if compliance else ocsf.ClassUid.DETECTION_FINDING
    activity = _activity(finding)
    severity = _SEVERITIES[finding.rule.severity]
    status = ocsf.Status.RESOLVED if finding.is_resolved else ocsf.Status.NEW
    starts_ns = [witness.start_ns for witness in finding.witnesses if witness.start_ns is not None]
    evidences = [_evidence(witness) for witness in finding.witnesses]
    resources = _resources(finding.witnesses)
    return ocsf.OcsfFinding(
        class_uid=class_uid,
        class_name=class_uid.caption,
        category_uid=2,
        category_name="Findings",
        activity_id=activity,
        activity_name=activity.caption,
        type_uid=class_uid * 100 + activity,
        type_name=f"{class_uid.caption}: {activity.caption}",
        severity_id=severity,
        severity=severity.caption,
        status_id=status,
        status=status.caption,
        time=finding.closed_ms,
        start_time=min(starts_ns) // 1_000_000 if starts_ns else None,
        end_time=max(starts_ns) // 1_000_000 if starts_ns else None,
        message=message,
        finding_info=_finding_info(finding),
        compliance=compliance,
        evidences=evidences or None,
        resources=resources or None,
        remediation=_remediation(finding.rule),
        risk_score=finding.rule.risk_score,
        observables=_observables(finding, evidences, resources),
        metadata=_metadata(finding, logged_ms, untruncated_bytes),
        unmapped=ocsf.Unmapped(betrace(finding)),
    )


def split_control(control: str) -> tuple[str | None, str]:
    """Split a control into its standard, None if it names none, and its name.

    >>> split_control("SOC2/CC6.7"), split_control("PCI DSS 8.2.3"), split_control("CC6.7")
    (('SOC2', 'CC6.7'), ('PCI DSS', '8.2.3'), (None, 'CC6.7'))
    """
    text = control.strip()
    standard, _, name = text.partition("/") if "/" in text else text.rpartition(" ")
    return (standard.strip() or None, name.strip()) if name.strip() else (None, text)


def _activity(finding: Finding) -> ocsf.Activity:
    if finding.revision == 1:
        return ocsf.Activity.CREATE
    return ocsf.Activity.CLOSE if finding.is_resolved else ocsf.Activity.UPDATE


def _compliance(finding: Finding) -> ocsf.Compliance | None:
    controls = [split_control(control) for control in finding.rule.controls if control.strip()]
    if not controls:
        return None
    status = _COMPLIANCE[finding.verdict]
    return ocsf.Compliance(
        control=controls[0][1],
        requirements=sorted({f"{standard}/{control}" if standard else control for standard, control in controls}),
        standards=sorted({standard for standard, _ in controls if standard}) or None,
        status_id=status,
        status=status.caption,
    )


def _finding_info(finding: Finding) -> ocsf.FindingInfo:
    rule = finding.rule
    return ocsf.FindingInfo(
        uid=finding.uid,
        title=rule.title,
        desc=rule.description or None,
        analytic=ocsf.Analytic(type_id=1, type="Rule", uid=rule.id, name=rule.title, version=rule.fingerprint),
        created_time=finding.first_published_ms,
        modified_time=finding.closed_ms,
        tags=_tags(rule) or None,
        attacks=[_attack(each) for each in threats(rule)] or None,
        related_analytics=[ocsf.RelatedAnalytic(1, "Rule", uid) for uid in sorted(set(rule.related))] or None,
    )


def _attack(threat: Threat) -> ocsf.Attack:
    return ocsf.Attack(*(None if uid is None else ocsf.ThreatId(uid) for uid in threat))


def _remediation(rule: RuleText) -> ocsf.Remediation | None:
    if not rule.runbook:
        return None
    return ocsf.Remediation(rule.runbook, [rule.runbook] if is_url(rule.runbook) else None)


def is_url(text: str) -> bool:
    """Return whether a text is the address of a page.

    >>> is_url("https://example.com/runbook"), is_url("ask the privacy team")
    (True, False)
    """
    return text.startswith(("https://", "http://"))


def _tags(rule: RuleText) -> list[ocsf.Tag]:
    named = {"owner": (rule.owner,), "references": rule.references, "tags": rule.tags, "author": (rule.author,)}
    named |= {"version": (rule.version,), "date": (rule.date,), "modified": (rule.modified,)}
    named |= {"false_positives": rule.false_positives}
    present = {name: [text for text in texts if text] for name, texts in named.items()}
    return [ocsf.Tag(name, sorted(set(values))) for name, values in present.items() if values]


def _evidence(witness: SignalWitness) -> ocsf.Evidence:
    identity = witness.span_id.hex() or None
    data = ocsf.EvidenceData(
        subject=witness.subject,
        name=witness.name,
        service=witness.service,
        span_id=None if witness.is_log else identity,
        log_id=identity if witness.is_log else None,
        start_ns=witness.start_ns,
        duration_ns=witness.duration_ns,
        attributes={name: json_value(value) for name, value in witness.attributes.items()},
    )
    return ocsf.Evidence(data, user(witness), client(witness))


def json_value(value: Scalar) -> Scalar:
    """Convert a value to one that JSON can represent: NaN and infinities become the texts that OTLP/JSON uses.

    >>> json_value(float("-inf")), json_value(0.5)
    ('-Infinity', 0.5)
    """
    if not isinstance(value, float) or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def user(witness: SignalWitness) -> ocsf.User | None:
    """Return the actor, from the identity attributes of a witness."""
    user_id, end_user_id, name = map(witness.text, ("user.id", "enduser.id", "user.name"))
    uid = user_id or end_user_id
    if uid is None and name is None:
        return None
    return ocsf.User(uid, end_user_id if end_user_id != uid else None, name)


def client(witness: SignalWitness) -> ocsf.Endpoint | None:
    """Return the client of a witness.

    A text that is neither an address nor a host name, for instance because it was redacted, is only a name.
    """
    address = witness.text("client.address")
    if address is None:
        return None
    if _is_ip(address):
        return ocsf.Endpoint(address, ip=address)
    return ocsf.Endpoint(address, hostname=address if _HOST.fullmatch(address) else None)


def _is_ip(address: str) -> bool:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return len(address) <= IP_CHARS and "%" not in address


def _resources(witnesses: Iterable[SignalWitness]) -> list[ocsf.Resource]:
    """Return the services of the witnesses and their hosts."""
    names = {(witness.service, witness.text("host.name")) for witness in witnesses}
    services = [ocsf.Resource(service, "service", host) for service, host in names if service]
    hosts = [ocsf.Resource(host, "host", host) for service, host in names if host and not service]
    return sorted(services + hosts, key=lambda resource: (resource.type, resource.name, resource.hostname or ""))


def _observables(
    finding: Finding, evidences: Iterable[ocsf.Evidence], resources: Iterable[ocsf.Resource]
) -> list[ocsf.Observable]:
    values: set[tuple[str, str | None]] = {("metadata.correlation_uid", finding.trace_id.hex())}
    for resource in resources:
        values |= {("resources.name", resource.name), ("resources.hostname", resource.hostname)}
    for actor in filter(None, (evidence.user for evidence in evidences)):
        values |= {(f"evidences.user.{name}", getattr(actor, name)) for name in ("uid", "uid_alt", "name")}
    for endpoint in filter(None, (evidence.src_endpoint for evidence in evidences)):
        values |= {(f"evidences.src_endpoint.{name}", getattr(endpoint, name)) for name in ("ip", "hostname")}
    present = sorted((path, value) for path, value in values if value)
    return [ocsf.Observable(path, *_OBSERVABLE_TYPES[path], value) for path, value in present]


def _metadata(finding: Finding, logged_ms: int, untruncated_bytes: int | None) -> ocsf.Metadata:
    return ocsf.Metadata(
        version=ocsf.OCSF_VERSION,
        product=PRODUCT,
        uid=finding.revision_uid,
        correlation_uid=finding.trace_id.hex(),
        log_name=LOG_NAME,
        logged_time=logged_ms,
        is_truncated=None if untruncated_bytes is None else True,
        untruncated_size=untruncated_bytes,
        profiles=None if finding.rule.risk_score is None else [RISK_PROFILE],
    )


def betrace(finding: Finding) -> ocsf.Betrace:
    """Return the fields that every JSON format has under `betrace`."""
    rule = finding.rule
    return ocsf.Betrace(
        schema=SCHEMA,
        trace_id=finding.trace_id.hex(),
        verdict=finding.verdict,
        previous_verdict=finding.previous_verdict,
        revision=finding.revision,
        late=finding.late,
        close_reason=finding.close_reason,
        window=ocsf.Window(finding.first_ms, finding.last_ms, finding.spans, finding.root_seen),
        rule=ocsf.Rule(rule.id, rule.kind, rule.fingerprint, rule.text),
        missing=list(finding.missing),
        present=list(finding.present),
        source=[ocsf.Source(*source) for source in sorted(finding.sources)],
        dedup=_dedup(finding),
    )


def _dedup(finding: Finding) -> ocsf.Dedup | None:
    dedup = finding.dedup
    return None if dedup is None else ocsf.Dedup(dedup.uid, list(dedup.by), dedup.from_ms, dedup.to_ms)
