"""A signal is OCSF 1.8.0 in every attribute."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from msgspec.structs import replace

from tests.support.findings import ACCESS, AMENDED, DEDUP, FINDING, GROUPED, TRIAGED, findings, shown
from tests.support.ocsf_schema import problems
from topics.signals import ocsf
from topics.signals.finding import Finding, SourceRange


def written(finding: Finding) -> dict[str, Any]:
    """Return the finding's JSON, decoded."""
    document: dict[str, Any] = json.loads(ocsf.encode(finding, message="m", logged_ms=7))
    return document


def detection(finding: Finding) -> Finding:
    """Return the finding of the same rule without controls."""
    return replace(finding, rule=replace(finding.rule, controls=()))


@pytest.mark.parametrize(
    "finding",
    [FINDING, AMENDED, TRIAGED, GROUPED, *map(detection, (TRIAGED, GROUPED, FINDING, AMENDED))],
)
def test_known_findings_are_ocsf(finding: Finding) -> None:
    """Typical signals have only attributes that OCSF defines, and all that it requires."""
    value = ocsf.encode(finding, message="m", logged_ms=7)

    assert problems(value) == []


@given(findings)
def test_any_finding_is_ocsf(finding: Finding) -> None:
    """For any span and rule, the signal is OCSF."""
    value = ocsf.encode(finding, message="m", logged_ms=7, untruncated_bytes=600_000)

    assert problems(value) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"surprise": 1}, "$: Additional properties are not allowed ('surprise' was unexpected)"),
        ({"metadata": {"uid": 3}}, "$.metadata: 'product' is a required property"),
        (
            {"resources": [{"type": "service"}]},
            "$.resources[0]: {'type': 'service'} is not valid under any of the given schemas",
        ),
        ({"severity_id": 7}, "$.severity_id: 7 is not one of [0, 1, 2, 3, 4, 5, 6, 99]"),
        ({"is_alert": True}, "$: Additional properties are not allowed ('is_alert' was unexpected)"),
        ({"severity": "Low"}, "$.severity_id: 4 is High, not Low"),
        ({"evidences": []}, "evidences.user.uid is not u-17"),
    ],
)
def test_checker_detects_mistakes(change: dict[str, Any], expected: str) -> None:
    """The checker of these tests detects each kind of mistake, at any depth."""
    changed = json.dumps(written(FINDING) | change).encode()

    assert expected in problems(changed)


def test_equal_findings_give_equal_bytes() -> None:
    """The order in which attributes, controls and sources arrived has no effect."""
    sources = (SourceRange("logs", 1, 5, 6), SourceRange("spans", 0, 1, 2))
    attributes = {"user.id": "u-17", "client.address": "192.0.2.7"}
    rule = replace(FINDING.rule, tags=("a", "b"))
    one = replace(FINDING, rule=rule, sources=sources, witnesses=(replace(ACCESS, attributes=attributes),))
    other = replace(
        FINDING,
        rule=replace(rule, tags=("b", "a")),
        sources=sources[::-1],
        witnesses=(replace(ACCESS, attributes=dict(reversed(attributes.items()))),),
    )

    first, second = (ocsf.encode(finding, message="m", logged_ms=7) for finding in (one, other))

    assert first == second


@given(findings)
def test_only_logged_time_depends_on_the_clock(finding: Finding) -> None:
    """A signal written at another time differs only in `metadata.logged_time`."""
    early = ocsf.document(finding, message="m", logged_ms=1)
    late = ocsf.document(finding, message="m", logged_ms=2)

    assert replace(late, metadata=replace(late.metadata, logged_time=1)) == early


@pytest.mark.parametrize(
    ("finding", "class_uid", "activity", "status"),
    [
        (FINDING, 2003, "Create", "New"),
        (replace(FINDING, verdict="undetermined"), 2003, "Create", "New"),
        (replace(FINDING, revision=2, previous_verdict="undetermined"), 2003, "Update", "New"),
        (replace(FINDING, revision=3, previous_verdict="held"), 2003, "Update", "New"),
        (AMENDED, 2003, "Close", "Resolved"),
        (replace(AMENDED, verdict="not_applicable"), 2003, "Close", "Resolved"),
        (detection(FINDING), 2004, "Create", "New"),
        (detection(AMENDED), 2004, "Close", "Resolved"),
    ],
)
def test_class_and_activity(finding: Finding, class_uid: int, activity: str, status: str) -> None:
    """Controls determine the class; the first verdict creates, a change updates, a repair closes."""
    document = written(finding)

    assert [document[name] for name in ("class_uid", "activity_name", "status")] == [class_uid, activity, status]
    assert document["type_uid"] == class_uid * 100 + document["activity_id"]


@pytest.mark.parametrize(
    ("verdict", "status_id", "status"),
    [
        ("held", 1, "Pass"),
        ("undetermined", 2, "Warning"),
        ("broken", 3, "Fail"),
        ("not_applicable", 99, "Not Applicable"),
    ],
)
def test_compliance_status(verdict: str, status_id: int, status: str) -> None:
    """A control's status follows the verdict."""
    compliance = written(replace(FINDING, verdict=verdict))["compliance"]

    assert (compliance["status_id"], compliance["status"]) == (status_id, status)


def test_compliance_controls() -> None:
    """The first control is the control; all of them are requirements, and their frameworks are the standards."""
    controls = ("SOC2/CC6.7", "HIPAA 164.312(b)", "SOC2 CC6.1", "internal-7", " ")
    compliance = written(replace(FINDING, rule=replace(FINDING.rule, controls=controls)))["compliance"]

    assert compliance["control"] == "CC6.7"
    assert compliance["requirements"] == ["HIPAA/164.312(b)", "SOC2/CC6.1", "SOC2/CC6.7", "internal-7"]
    assert compliance["standards"] == ["HIPAA", "SOC2"]


@pytest.mark.parametrize("control", ["/", "SOC2/", "//"])
def test_odd_control_is_kept(control: str) -> None:
    """A control without a name after its framework is kept as written."""
    compliance = written(replace(FINDING, rule=replace(FINDING.rule, controls=(control,))))["compliance"]

    assert control.strip("/") in compliance["control"]
    assert compliance["control"] != ""


@pytest.mark.parametrize(
    ("severity", "severity_id"), [("info", 1), ("low", 2), ("medium", 3), ("high", 4), ("critical", 5)]
)
def test_severity(severity: str, severity_id: int) -> None:
    """A rule's severities are OCSF's first five."""
    assert written(replace(FINDING, rule=replace(FINDING.rule, severity=severity)))["severity_id"] == severity_id


def test_times() -> None:
    """Times are record times: creation is the close of revision 1; start and end are those of the witnesses."""
    second = replace(ACCESS, start_ns=1_767_614_345_000_000_000)
    unknown = replace(ACCESS, start_ns=None)
    finding = replace(FINDING, revision=2, closed_ms=1_767_614_400_000, witnesses=(unknown, second, ACCESS))

    document = written(finding)

    assert document["time"] == 1_767_614_400_000
    assert document["finding_info"]["created_time"] == 1_767_614_371_500
    assert document["finding_info"]["modified_time"] == 1_767_614_400_000
    assert (document["start_time"], document["end_time"]) == (1_767_614_340_123, 1_767_614_345_000)


def test_evidence_of_a_span() -> None:
    """A witness has its subject, ids, times and attributes, and its user and client in OCSF's own attributes."""
    evidence = written(FINDING)["evidences"]

    assert evidence == [
        {
            "data": {
                "subject": "pii.access",
                "name": "export users",
                "attributes": {"client.address": "192.0.2.7", "pii.access": True, "user.id": "u-17"},
                "span_id": "00f067aa0ba902b7",
                "service": "checkout",
                "start_ns": 1_767_614_340_123_456_789,
                "duration_ns": 25_000_000,
            },
            "user": {"uid": "u-17"},
            "src_endpoint": {"name": "192.0.2.7", "ip": "192.0.2.7"},
        }
    ]


def test_evidence_of_a_log_record() -> None:
    """A log record's identity is not a span id."""
    data = written(replace(FINDING, witnesses=(replace(ACCESS, is_log=True),)))["evidences"][0]["data"]

    assert data["log_id"] == "00f067aa0ba902b7"
    assert "span_id" not in data


def test_numbers_that_json_lacks() -> None:
    """NaN and infinities are written as in OTLP/JSON."""
    attributes = {"nan": float("nan"), "more": float("inf"), "less": float("-inf"), "half": 0.5}
    data = written(replace(FINDING, witnesses=(replace(ACCESS, attributes=attributes),)))["evidences"][0]["data"]

    assert data["attributes"] == {"half": 0.5, "less": "-Infinity", "more": "Infinity", "nan": "NaN"}


def test_observables() -> None:
    """Searches find trace, service, host, user and client, each listed once, with OCSF's type."""
    known = {"user.id": "u-17", "enduser.id": "e-4", "user.name": "Ada", "host.name": "node-1"}
    witnesses = (
        shown("a", **known, **{"client.address": "2001:db8::7"}),
        shown("b", **known, **{"client.address": "gateway.example"}),
    )

    observables = written(replace(FINDING, witnesses=witnesses))["observables"]

    assert [(it["name"], it["type_id"], it["type"], it["value"]) for it in observables] == [
        ("evidences.src_endpoint.hostname", 1, "Hostname", "gateway.example"),
        ("evidences.src_endpoint.ip", 2, "IP Address", "2001:db8::7"),
        ("evidences.user.name", 4, "User Name", "Ada"),
        ("evidences.user.uid", 31, "User Object: uid", "u-17"),
        ("evidences.user.uid_alt", 31, "User Object: uid", "e-4"),
        ("metadata.correlation_uid", 99, "Trace ID", "4bf92f3577b34da6a3ce929d0e0e4736"),
        ("resources.hostname", 1, "Hostname", "node-1"),
        ("resources.name", 38, "Resource Details Object: name", "checkout"),
    ]


def test_unmapped() -> None:
    """Data for which OCSF has no attribute is under `unmapped.betrace`."""
    unmapped = written(AMENDED)["unmapped"]

    assert unmapped == {
        "betrace": {
            "schema": 1,
            "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
            "verdict": "held",
            "previous_verdict": "broken",
            "revision": 2,
            "late": True,
            "close_reason": "quiet",
            "window": {"first_ms": 1_767_614_340_500, "last_ms": 1_767_614_341_500, "spans": 12, "root_seen": True},
            "rule": {
                "id": "pii-access-is-logged",
                "kind": "invariant",
                "fingerprint": "5f2ac0de",
                "text": "trace.has(pii.access) and trace.has(audit.log)",
            },
            "missing": [],
            "present": [],
            "source": [{"topic": "otlp_spans", "partition": 3, "first_offset": 1041, "last_offset": 1049}],
        }
    }


def test_finding_info() -> None:
    """The rule is the analytic and its fingerprint the version; owner, references and tags are tags."""
    info = written(FINDING)["finding_info"]

    assert info["uid"] == FINDING.uid
    assert info["title"] == "SOC2 CC6.7: PII access must be logged"
    assert info["desc"] == "Every access to personal data leaves an audit log."
    assert info["analytic"] == {
        "type_id": 1,
        "type": "Rule",
        "uid": "pii-access-is-logged",
        "name": "SOC2 CC6.7: PII access must be logged",
        "version": "5f2ac0de",
    }
    assert info["tags"] == [
        {"name": "owner", "values": ["privacy@example.com"]},
        {"name": "references", "values": ["https://example.com/policy"]},
        {"name": "tags", "values": ["audit", "pii"]},
    ]


def test_metadata() -> None:
    """The record has its program, its revision and its trace; truncation is mentioned only if it happened."""
    metadata = written(FINDING)["metadata"]

    assert metadata["product"]["name"] == "BeTrace"
    assert metadata["version"] == "1.8.0"
    assert metadata["uid"] == f"{FINDING.uid}.1"
    assert metadata["correlation_uid"] == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert metadata["log_name"] == "betrace.signals"
    assert metadata["logged_time"] == 7
    assert "is_truncated" not in metadata


def test_metadata_for_triage_has_its_places() -> None:
    """What a rule states for triage is where OCSF has a place for it, else among the tags."""
    signal = written(TRIAGED)

    assert signal["finding_info"]["attacks"] == [
        {"technique": {"uid": "AML.T0051"}, "sub_technique": {"uid": "AML.T0051.000"}},
        {"technique": {"uid": "T1005"}},
        {"technique": {"uid": "T1567"}, "sub_technique": {"uid": "T1567.002"}},
        {"tactic": {"uid": "TA0010"}},
    ]
    related = {"type_id": 1, "type": "Rule", "uid": "pii-access-is-approved"}
    assert signal["finding_info"]["related_analytics"] == [related]
    assert (signal["risk_score"], signal["metadata"]["profiles"]) == (73, ["security_control"])
    runbook = "https://example.com/runbook"
    assert signal["remediation"] == {"desc": runbook, "references": [runbook]}
    assert {tag["name"]: tag["values"] for tag in signal["finding_info"]["tags"]} == {
        "owner": ["privacy@example.com"],
        "references": ["https://example.com/policy"],
        "tags": ["audit", "pii"],
        "author": ["a.cole"],
        "version": ["1.2"],
        "date": ["2026-01-05"],
        "modified": ["2026-02-01"],
        "false_positives": ["the nightly export"],
    }


def test_dedup_is_where_the_other_formats_have_it() -> None:
    """OCSF has no attribute for a group of findings; a finding of a rule without dedup has none."""
    expected = {
        "uid": DEDUP.uid,
        "by": ["tenant.id", "user.id"],
        "from_ms": 1_767_610_800_000,
        "to_ms": 1_767_614_400_000,
    }

    assert expected == written(GROUPED)["unmapped"]["betrace"]["dedup"]
    assert "dedup" not in written(FINDING)["unmapped"]["betrace"]
