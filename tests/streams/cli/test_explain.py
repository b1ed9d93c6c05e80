"""Tests `betrace explain` on a real Kafka."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Producer
from msgspec.structs import replace

from streams.cli import main
from streams.config.settings import Settings
from streams.inspect.published import in_force_since
from streams.rules import registry
from streams.rules.history import history
from tests.support.driven import AUDITED, compiled
from tests.support.findings import FINDING
from tests.support.installation import installed
from topics.records.signals import record

pytestmark = pytest.mark.broker

TRACE, OTHER = "0a" * 16, "0b" * 16
BROKEN = "\n// id: denied\n// kind: pattern\npii.access\n"
NEVER = "// id: never\n// kind: pattern\nagent.tool\n"


def request(trace: str, span: str, name: str, parent: str = "") -> bytes:
    """An OTLP request with one span."""
    found = {"traceId": trace, "spanId": span, "parentSpanId": parent, "name": name}
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [found]}]}]}).encode()


@pytest.fixture
def settings(kafka: str, fresh_prefix: str, tmp_path: Path) -> Settings:
    """A trace in two records with another one between, and a rule."""
    settings = installed(kafka, fresh_prefix, tmp_path)
    registry.push(settings, compiled(AUDITED), now_ms=1)
    producer = Producer({**settings.client()})
    for value in (
        request(TRACE, "01" * 8, "pii.access"),
        request(OTHER, "02" * 8, "audit.log"),
        request(TRACE, "03" * 8, "cart\nshow", "01" * 8),
        b"no request, but " + TRACE.encode(),
    ):
        producer.produce(settings.source_topics[0], value, partition=0)
    producer.flush()
    return settings


def call(settings: Settings, *arguments: str) -> Result:
    """Runs `betrace explain` in an installation."""
    where = {
        "BETRACE_BOOTSTRAP": settings.bootstrap,
        "BETRACE_PREFIX": settings.prefix,
        "BETRACE_SOURCE_TOPICS": ",".join(settings.source_topics),
    }
    return CliRunner(env=where).invoke(main, ["explain", *arguments])


def test_explanation_of_a_trace(settings: Settings) -> None:
    """Lists the trace's records, and each rule's verdict, matches and missing parts; reports unreadable records."""
    result = call(settings, TRACE.upper())

    first, *others = result.stdout.splitlines()
    time = r"\d{4}-\d\d-\d\dT[\d:.]+Z"
    assert re.fullmatch(rf"2 spans in 2 records from {time} to {time}, a root; the longest pause is [\d.]+s", first)
    assert [
        "",
        "audited: broken",
        "  signal: none: a trace is judged 30s after its last span; check betrace status for lag",
        "  audit.log: not seen",
        "  pii.access: 0101010101010101 pii.access",
        "  missing: audit.log",
    ] == others
    assert f"{settings.source_topics[0]}[0] 3 cannot be read: " in result.stderr
    assert 0 == result.exit_code


def test_signal_of_the_trace_is_named(settings: Settings) -> None:
    """A published signal is shown with its uid."""
    finding = replace(FINDING, rule=replace(FINDING.rule, id="audited"), trace_id=bytes.fromhex(TRACE))
    producer = Producer({**settings.client()})
    producer.produce(settings.topic("signals"), record(finding, logged_ms=7, source="s").value, finding.uid)
    producer.flush()

    result = call(settings, TRACE)

    assert f"  signal: {finding.uid}.1, broken" in result.stdout.splitlines()


def test_reason_for_a_missing_signal(settings: Settings) -> None:
    """A rule pushed after the trace began says from when it judges; an inactive rule says so."""
    registry.push(settings, compiled(AUDITED + BROKEN), now_ms=2)
    later = call(settings, TRACE, "--format", "json")
    registry.push(settings, compiled(AUDITED), now_ms=3)

    [audited, broken] = [json.loads(line)["no_signal"] for line in later.stdout.splitlines()]

    assert "a trace is judged 30s after its last span; check betrace status for lag" == audited
    assert broken.startswith("the rule judges traces that begin after about ")
    fingerprint = next(rule.fingerprint for rule in compiled(AUDITED + BROKEN).rules if rule.id == "denied")
    assert None is in_force_since(fingerprint, history(settings))


def test_rules_from_a_file_replace_the_active_ones(settings: Settings, tmp_path: Path) -> None:
    """Rules from a file replace the active ones; one that does not apply to the trace says so."""
    (tmp_path / "never.rules").write_text(NEVER)

    result = call(settings, TRACE, "--rules", str(tmp_path / "never.rules"), "--format", "json")

    assert {
        "rule": "never",
        "verdict": "not_applicable",
        "missing": [],
        "present": [],
        "atoms": [{"atom": "agent.tool", "spans": []}],
        "signal": None,
        "no_signal": None,
    } == json.loads(result.stdout)


def test_missing_trace(settings: Settings) -> None:
    """A trace without any remaining record exits with 2, with the topics that were read."""
    result = call(settings, "0c" * 16)

    assert (2, "") == (result.exit_code, result.stdout)
    assert f"no record of trace {'0c' * 16} is on {settings.source_topics[0]} since earliest" in result.stderr


def test_invalid_trace_id(settings: Settings) -> None:
    """An invalid trace id is refused before connecting to Kafka."""
    result = call(settings, "abc")

    assert 2 == result.exit_code
    assert "'abc' is not a trace id: give 32 hex characters" in result.stderr


def test_one_rule_is_explained(settings: Settings, tmp_path: Path) -> None:
    """With --rule only this rule is shown; options that only --as-test uses are refused without it."""
    rules = tmp_path / "several.rules"
    rules.write_text(AUDITED + BROKEN)

    one = call(settings, TRACE, "--rules", str(rules), "--rule", "denied", "--format", "json")
    refused = [call(settings, TRACE, option, value) for option, value in (("--max-duration", "5m"), ("--redact", "x"))]

    assert ["denied"] == [json.loads(line)["rule"] for line in one.stdout.splitlines()]
    assert [(2, ""), (2, "")] == [(each.exit_code, each.stdout) for each in refused]
    assert ["--max-duration needs --as-test", "--redact needs --as-test"] == [
        match for each in refused for match in re.findall("--.* needs --as-test", each.stderr)
    ]
