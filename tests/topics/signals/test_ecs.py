"""A signal is ECS 9, field by field."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from msgspec.structs import replace

from tests.support.ecs_fields import problems
from tests.support.findings import ACCESS, AMENDED, DEDUP, FINDING, GROUPED, RULE, TRIAGED, findings, shown
from topics.signals import ecs, ecs_objects
from topics.signals.finding import Finding


def written(finding: Finding) -> dict[str, Any]:
    """Return the finding's JSON, decoded."""
    document: dict[str, Any] = json.loads(ecs.encode(finding, message="m", logged_ms=7))
    return document


@given(findings)
def test_any_finding_is_ecs(finding: Finding) -> None:
    """For any span and rule, every field is an ECS field of the right type, or under `betrace`."""
    value = ecs.encode(finding, message="m", logged_ms=7, untruncated_bytes=600_000)

    assert problems(value) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"event": {"kind": "surprise"}}, ["event.kind is 'surprise', which ECS does not allow"]),
        ({"event": {"severity": "4"}}, ["event.severity is '4', no long"]),
        ({"surprise": 1}, ["surprise is no field of ECS"]),
        ({"tags": "pii"}, ["tags is a list, or should be one"]),
        ({"client": {"ip": "gateway"}}, ["client.ip is 'gateway', no ip"]),
        ({"@timestamp": "soon"}, ["@timestamp is 'soon', no date"]),
    ],
)
def test_checker_detects_mistakes(change: dict[str, Any], expected: list[str]) -> None:
    """The checker of these tests detects each kind of mistake."""
    assert problems(json.dumps(written(FINDING) | change).encode()) == expected


@given(findings)
def test_any_signal_round_trip(finding: Finding) -> None:
    """Decoding returns the signal that was encoded."""
    document = ecs.document(finding, message="m", logged_ms=7)

    assert ecs_objects.decode(ecs_objects.encode(document)) == document


@given(findings)
def test_only_created_depends_on_the_clock(finding: Finding) -> None:
    """A signal written at another time differs only in `event.created`."""
    early = ecs.document(finding, message="m", logged_ms=1)
    late = ecs.document(finding, message="m", logged_ms=2)

    assert replace(late, event=replace(late.event, created=early.event.created)) == early


def test_typical_signal() -> None:
    """A typical signal, field by field."""
    document = written(FINDING)
    own = document.pop("betrace")
    document["observer"].pop("version", None)

    assert document == {
        "@timestamp": "2026-01-05T11:59:31.500Z",
        "ecs": {"version": "9.4.0"},
        "message": "m",
        "event": {
            "kind": "alert",
            "id": f"{FINDING.uid}.1",
            "code": "pii-access-is-logged",
            "action": "rule-broken",
            "outcome": "failure",
            "severity": 4,
            "created": "1970-01-01T00:00:00.007Z",
            "module": "betrace",
            "dataset": "betrace.signals",
            "reason": "m",
            "start": "2026-01-05T11:59:00.123Z",
            "end": "2026-01-05T11:59:00.123Z",
        },
        "rule": {
            "id": "pii-access-is-logged",
            "name": "SOC2 CC6.7: PII access must be logged",
            "version": "5f2ac0de",
            "category": "invariant",
            "description": "Every access to personal data leaves an audit log.",
            "reference": "https://example.com/policy",
            "author": ["privacy@example.com"],
        },
        "trace": {"id": "4bf92f3577b34da6a3ce929d0e0e4736"},
        "span": {"id": "00f067aa0ba902b7"},
        "observer": {"product": "BeTrace", "vendor": "BeTrace"},
        "service": {"name": "checkout"},
        "user": {"id": "u-17"},
        "client": {"address": "192.0.2.7", "ip": "192.0.2.7"},
        "related": {"ip": ["192.0.2.7"], "user": ["u-17"]},
        "tags": ["audit", "pii"],
    }
    assert {"uid": FINDING.uid, "revision": 1, "verdict": "broken", "severity": "high"}.items() <= own.items()
    assert own["evidences"] == [
        {
            "subject": "pii.access",
            "name": "export users",
            "attributes": [
                {"name": "client.address", "value": "192.0.2.7"},
                {"name": "pii.access", "value": "true"},
                {"name": "user.id", "value": "u-17"},
            ],
            "span_id": "00f067aa0ba902b7",
            "service": "checkout",
            "start_ns": 1_767_614_340_123_456_789,
            "duration_ns": 25_000_000,
        }
    ]


@pytest.mark.parametrize(
    ("verdict", "outcome", "action"),
    [
        ("broken", "failure", "rule-broken"),
        ("undetermined", "unknown", "rule-undetermined"),
        ("held", "success", "rule-held"),
        ("not_applicable", "success", "rule-not-applicable"),
    ],
)
def test_outcome(verdict: str, outcome: str, action: str) -> None:
    """The verdict determines outcome and action."""
    event = written(replace(AMENDED, verdict=verdict))["event"]

    assert (event["outcome"], event["action"], event["id"]) == (outcome, action, f"{FINDING.uid}.2")


def test_log_record_has_no_span() -> None:
    """A log record's identity is not a span id; the signal has the first span."""
    log = replace(ACCESS, is_log=True, span_id=bytes(16))
    document = written(replace(FINDING, witnesses=(log, ACCESS)))

    assert document["span"] == {"id": "00f067aa0ba902b7"}
    assert document["betrace"]["evidences"][0]["log_id"] == "00" * 16


def test_related_has_all_witnesses() -> None:
    """Searches find the users, hosts and addresses of every witness, each listed once."""
    witnesses = (
        shown("a", **{"user.id": "u-1", "enduser.id": "e-1", "client.address": "2001:db8::7", "host.name": "node-1"}),
        shown("b", **{"user.id": "u-2", "user.name": "Ada", "client.address": "gateway.example", "host.name": "n-2"}),
        shown("c", **{"user.id": "u-2", "client.address": "[masked]"}),
    )

    related = written(replace(FINDING, witnesses=witnesses))["related"]

    assert related == {
        "hosts": ["gateway.example", "n-2", "node-1"],
        "ip": ["2001:db8::7"],
        "user": ["Ada", "e-1", "u-1", "u-2"],
    }


def test_time_beyond_the_calendar() -> None:
    """A time beyond the calendar becomes the calendar's last, since ECS requires a time."""
    assert written(replace(FINDING, closed_ms=1 << 62))["@timestamp"] == "9999-12-31T23:59:59.999Z"


def test_metadata_for_triage_has_its_places() -> None:
    """What a rule states for triage is where ECS has a field for it, else under `betrace.triage`."""
    signal = written(TRIAGED)

    assert problems(json.dumps(signal).encode()) == []
    assert signal["threat"] == {
        "tactic": {"id": ["TA0010"]},
        "technique": {"id": ["AML.T0051", "T1005", "T1567"], "subtechnique": {"id": ["AML.T0051.000", "T1567.002"]}},
    }
    assert (signal["event"]["risk_score"], signal["event"]["reference"]) == (73, "https://example.com/runbook")
    assert signal["rule"]["author"] == ["a.cole"]
    assert signal["betrace"]["triage"] == {
        "author": "a.cole",
        "version": "1.2",
        "date": "2026-01-05",
        "modified": "2026-02-01",
        "related": ["pii-access-is-approved"],
        "runbook": "https://example.com/runbook",
        "false_positives": ["the nightly export"],
    }


@pytest.mark.parametrize(
    ("attack", "atlas", "expected"), [(("T1005",), (), "MITRE ATT&CK"), ((), ("AML.T0051",), "MITRE ATLAS")]
)
def test_threats_of_one_framework_name_it(attack: tuple[str, ...], atlas: tuple[str, ...], expected: str) -> None:
    """ECS has one framework per document, so it is named if all ids are of one."""
    finding = replace(FINDING, rule=replace(RULE, attack=attack, atlas=atlas))

    assert written(finding)["threat"]["framework"] == expected


def test_dedup_is_under_betrace() -> None:
    """ECS has no field for a group of alerts; a signal of a rule without dedup has none."""
    signal = written(GROUPED)

    assert problems(json.dumps(signal).encode()) == []
    assert (DEDUP.uid, ["tenant.id", "user.id"]) == (
        signal["betrace"]["dedup"]["uid"],
        signal["betrace"]["dedup"]["by"],
    )
    assert "dedup" not in written(FINDING)["betrace"]
