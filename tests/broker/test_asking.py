"""Questions about traces in source topics, on a real Kafka: as a test of a rule, by an expression, by their names."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from streams.cli import main
from streams.config.settings import Settings
from tests.support.installation import installed
from tests.support.otlp_requests import trace_request

pytestmark = pytest.mark.broker

CONDITION = "when { payment } always { each payment has approval before with same order }"
RULE = f"rules:\n  - id: approved\n    condition: {CONDITION}\n"
SHOP = Resource(attributes=[KeyValue(key="service.name", value=AnyValue(string_value="shop"))])


def span(trace: int, number: int, name: str, parent: int = 0, order: str = "17") -> Span:
    """A span; its number is its id and its start."""
    return Span(
        trace_id=bytes([trace]) * 16,
        span_id=bytes([number]) * 8,
        parent_span_id=bytes([parent]) * 8 if parent else b"",
        name=name,
        start_time_unix_nano=1_767_614_400_000_000_000 + number,
        attributes=[KeyValue(key="order", value=AnyValue(string_value=order))],
    )


@pytest.fixture
def settings(kafka: str, fresh_prefix: str, tmp_path: Path) -> Settings:
    """Three traces: one that holds, one that is broken, and one that lasts for ten minutes."""
    topic = NewTopic(f"{fresh_prefix}spans", 1, config={"message.timestamp.type": "CreateTime"})
    client = AdminClient({"bootstrap.servers": kafka})
    for created in client.create_topics([topic]).values():
        created.result()
    settings = installed(kafka, fresh_prefix, tmp_path)
    producer, now_ms = Producer({**settings.client()}), time.time_ns() // 1_000_000
    held = (span(1, 1, "POST /pay"), span(1, 2, "approval", 1), span(1, 3, "payment", 1))
    records = [(30, held), (29, [span(2, 1, "POST /pay"), span(2, 3, "payment", 1)])]
    records += [(minute, [span(3, minute, "payment")]) for minute in range(20, 10, -1)]
    for minute, spans in records:
        value = trace_request(*spans, resource=SHOP)
        producer.produce(settings.source_topics[0], value, partition=0, timestamp=now_ms - minute * 60_000)
    producer.flush()
    return settings


def call(settings: Settings, *words: str) -> Result:
    """Runs a command in an installation, with a key for hashes."""
    where = {
        "BETRACE_BOOTSTRAP": settings.bootstrap,
        "BETRACE_PREFIX": settings.prefix,
        "BETRACE_SOURCE_TOPICS": ",".join(settings.source_topics),
        "BETRACE_REDACT_KEY": "a key of 16 bytes",
    }
    return CliRunner(env=where).invoke(main, words)


@pytest.mark.parametrize(("trace", "verdict"), [(1, "held"), (2, "broken"), (3, "undetermined")])
def test_trace_is_printed_as_a_test(settings: Settings, tmp_path: Path, trace: int, verdict: str) -> None:
    """A trace that held, that was broken or that was cut passes as a test under the rule, redacted."""
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULE)
    options = ["--max-duration", "5m", "--gap", "90s", "--redact", "order=hash"]

    printed = call(settings, "explain", bytes([trace] * 16).hex(), "--rules", str(rules), "--as-test", *options)
    rules.write_text(RULE + printed.stdout)
    checked = CliRunner().invoke(main, ["check", str(rules)])

    assert (0, [verdict], trace == 3) == (
        printed.exit_code,
        re.findall("expect: (.*)", printed.stdout),
        "close: max_duration" in printed.stdout,
    )
    assert "hmac-sha256:" in printed.stdout
    assert (0, True) == (checked.exit_code, "1 rule, 1 test: 0 errors" in checked.stderr)


def test_traces_are_found_by_an_expression(settings: Settings) -> None:
    """The traces for which an expression is true come with their services and root; a cut one is only counted."""
    options = ["--from", "1h", "--format", "json", "--max-duration", "5m", "--gap", "90s", "--processes", "1"]

    done = call(settings, "find", "payment and not approval", *options)

    assert 0 == done.exit_code
    [found] = [json.loads(line) for line in done.stdout.splitlines()]
    expected = {"trace_id": "02" * 16, "time": "2026-01-05T12:00:00.000Z", "services": ["shop"], "root": "POST /pay"}
    assert expected == found
    assert "1 traces found; 15 spans read, 0 unreadable records\n" in done.stderr
    assert "1 traces cannot be decided" in done.stderr


def test_names_are_listed(settings: Settings) -> None:
    """The names in the topics come with their counts and redacted values, those of the period only."""
    options = ["--from", "25m", "--redact", "order=hash", "--format", "json"]

    done = call(settings, "attributes", *options)

    found = {line["name"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert (0, {"payment", "order", "service.name"}) == (done.exit_code, {*found})
    assert (10, ["shop"]) == (found["payment"]["spans"], found["service.name"]["examples"])
    assert found["order"]["examples"][0].startswith("hmac-sha256:")
    assert "10 spans counted, 0 unreadable records" in done.stderr


def test_rule_that_applies_to_nothing_names_what_was_never_seen(settings: Settings, tmp_path: Path) -> None:
    """A replay of the topics names what no span had, of the names of a rule that never applied."""
    rules = tmp_path / "rules.yaml"
    rules.write_text(f"{RULE}  - id: never\n    condition: when {{ payment.where(sum > 5) }} always {{ refund }}\n")
    options = ["--from", "1h", "--summary", "--processes", "2"]

    done = call(settings, "replay", "--rules", str(rules), *options)

    said = [line for line in done.stderr.splitlines() if "applies to no trace" in line]
    assert ["never applies to no trace: nothing that was read has refund, sum on payment"] == said
