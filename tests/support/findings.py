"""Findings to test with: one that a person would recognise, and any that Hypothesis can think of."""

from __future__ import annotations

from hypothesis import strategies as st
from msgspec.structs import replace

from topics.records.signals import record
from topics.signals.digest import Digest, digest
from topics.signals.finding import Dedup, Finding, RuleText, SignalWitness, SourceRange

RULE = RuleText(
    id="pii-access-is-logged",
    title="SOC2 CC6.7: PII access must be logged",
    description="Every access to personal data leaves an audit log.",
    severity="high",
    kind="invariant",
    controls=("SOC2/CC6.7",),
    tags=("pii", "audit"),
    owner="privacy@example.com",
    references=("https://example.com/policy",),
    fingerprint="5f2ac0de",
    text="trace.has(pii.access) and trace.has(audit.log)",
)
ACCESS = SignalWitness(
    subject="pii.access",
    span_id=bytes.fromhex("00f067aa0ba902b7"),
    name="export users",
    service="checkout",
    start_ns=1_767_614_340_123_456_789,
    duration_ns=25_000_000,
    attributes={"user.id": "u-17", "client.address": "192.0.2.7", "pii.access": True},
)
FINDING = Finding(
    rule=RULE,
    trace_id=bytes.fromhex("4bf92f3577b34da6a3ce929d0e0e4736"),
    verdict="broken",
    revision=1,
    previous_verdict=None,
    late=False,
    close_reason="quiet",
    first_fact_ms=1_767_614_340_500,
    first_ms=1_767_614_340_500,
    last_ms=1_767_614_341_500,
    closed_ms=1_767_614_371_500,
    first_published_ms=1_767_614_371_500,
    spans=12,
    root_seen=True,
    missing=("audit.log",),
    present=(),
    witnesses=(ACCESS,),
    sources=(SourceRange("otlp_spans", 3, 1041, 1049),),
)
TRIAGED = replace(
    FINDING,
    rule=replace(
        RULE,
        author="a.cole",
        version="1.2",
        date="2026-01-05",
        modified="2026-02-01",
        related=("pii-access-is-approved",),
        attack=("TA0010", "T1567.002", "T1005"),
        atlas=("AML.T0051.000",),
        runbook="https://example.com/runbook",
        false_positives=("the nightly export",),
        risk_score=73,
    ),
)
DEDUP = Dedup("f4e1fbd8-0924-5408-a048-31b4f56e71b4", ("tenant.id", "user.id"), 1_767_610_800_000, 1_767_614_400_000)
GROUPED = replace(FINDING, dedup=DEDUP)
AMENDED = replace(FINDING, revision=2, previous_verdict="broken", verdict="held", missing=(), late=True)


def digested(finding: Finding) -> Digest:
    """Returns what a reader of the signals topic sees of a finding."""
    return digest(record(finding, logged_ms=7, source="s").value)


SIGNAL = digested(FINDING)

_texts = st.text(st.characters(codec="utf-8"), max_size=40)
_optional_texts = st.none() | _texts
_int64s = st.integers(-(1 << 63), (1 << 63) - 1)
_times_ms = st.integers(0, 1 << 62)
_scalars = st.none() | st.booleans() | _int64s | st.floats() | _texts | st.ip_addresses().map(str)
_attribute_names = _texts | st.sampled_from(["user.id", "enduser.id", "user.name", "client.address", "host.name"])
_lists = st.lists(_texts, max_size=4).map(tuple)

_rules = st.builds(
    RuleText,
    id=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", fullmatch=True),
    title=_texts,
    description=_optional_texts,
    severity=st.sampled_from(["info", "low", "medium", "high", "critical"]),
    kind=st.sampled_from(["conditional", "invariant", "pattern"]),
    controls=st.lists(_texts | st.sampled_from(["SOC2/CC6.7", "HIPAA 164.312(b)", "CC6.1", "/", " "]), max_size=4).map(
        tuple
    ),
    tags=_lists,
    owner=_optional_texts,
    references=_lists,
    fingerprint=st.from_regex(r"[0-9a-f]{8,64}", fullmatch=True),
    text=_texts,
    author=_optional_texts,
    version=_optional_texts,
    date=st.none() | st.dates().map(str),
    modified=st.none() | st.dates().map(str),
    related=_lists,
    attack=st.lists(st.from_regex(r"T[0-9]{4}(\.[0-9]{3})?|TA[0-9]{4}", fullmatch=True), max_size=4).map(tuple),
    atlas=st.lists(st.from_regex(r"AML\.(T[0-9]{4}(\.[0-9]{3})?|TA[0-9]{4})", fullmatch=True), max_size=4).map(tuple),
    runbook=_optional_texts | st.just("https://example.com/runbook"),
    false_positives=_lists,
    risk_score=st.none() | st.integers(0, 100),
)
_witnesses = st.builds(
    SignalWitness,
    subject=_texts,
    span_id=st.binary(max_size=16),
    name=_texts,
    service=_optional_texts,
    start_ns=st.none() | st.integers(0, (1 << 64) - 1),
    duration_ns=st.none() | st.integers(0, (1 << 64) - 1),
    attributes=st.dictionaries(_attribute_names, _scalars, max_size=6),
    is_log=st.booleans(),
)
_sources = st.builds(SourceRange, _texts, st.integers(0, 1000), _times_ms, _times_ms)

findings = st.builds(
    Finding,
    rule=_rules,
    trace_id=st.binary(min_size=16, max_size=16),
    verdict=st.sampled_from(["broken", "undetermined", "held", "not_applicable"]),
    revision=st.integers(1, 1000),
    previous_verdict=st.none() | st.sampled_from(["broken", "undetermined", "held"]),
    late=st.booleans(),
    close_reason=st.sampled_from(["quiet", "max_duration", "end_of_input"]),
    first_fact_ms=_times_ms,
    first_ms=_times_ms,
    last_ms=_times_ms,
    closed_ms=_times_ms,
    first_published_ms=_times_ms,
    spans=st.integers(0, 1 << 32),
    root_seen=st.booleans(),
    missing=_lists,
    present=_lists,
    witnesses=st.lists(_witnesses, max_size=6).map(tuple),
    sources=st.lists(_sources, max_size=4).map(tuple),
    dedup=st.none()
    | st.builds(Dedup, st.uuids().map(str), st.lists(_texts, max_size=4).map(tuple), _times_ms, _times_ms),
)
"""Any finding whose texts can be written as UTF-8 and whose numbers fit 64 bits."""


def shown(subject: str, *, name: str = "work", **attributes: str) -> SignalWitness:
    """A witness of a service called checkout."""
    return replace(ACCESS, subject=subject, name=name, attributes=dict(attributes))
