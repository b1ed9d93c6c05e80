"""What an operator sets of signals, through a real run."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from streams.projection.redact import KEY_VARIABLE
from tests.support.ecs_fields import problems
from tests.support.program import CAPTURES, Program
from topics.embedded import capture

pytestmark = pytest.mark.broker

KEY = "a key of this test alone"
REDACTED = "user.id=hash,enduser.id=drop,client.address=mask"
PERSONAL = {"user.id", "enduser.id", "client.address"}


@pytest.fixture
def program(kafka: str, fresh_prefix: str, tmp_path: Path) -> Program:
    """An installation that redacts and writes ECS, with the recorded day on its source topics."""
    shown = ("--redact", REDACTED, "--signal-format", "ecs", "--identity", "user.id,client.address,enduser.id")
    program = Program(kafka, fresh_prefix, tmp_path)
    program = Program(kafka, fresh_prefix, tmp_path, options=(*program.options, *shown))
    program.make_sources()
    producer = Producer({"bootstrap.servers": kafka})
    for name, topic in (("keyed_spans", program.spans_topic), ("keyed_logs", program.logs_topic)):
        for frame in capture.read(CAPTURES / f"{name}.bin.gz"):
            producer.produce(topic, frame.value, frame.key)
    producer.flush()
    return program


def test_a_redacted_value_is_on_no_topic(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashed, dropped and masked values are in neither facts nor signals; the key's owner can identify the user."""
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    personal = set(_values(PERSONAL))
    hashes = {"hmac-sha256:" + hmac.new(KEY.encode(), each.encode(), hashlib.sha256).hexdigest() for each in personal}

    program.run_until_idle()

    written = [frame.value for name in ("facts", "signals") for frame in program.records(name)]
    assert [each for each in personal if any(each.encode() in value for value in written)] == []
    values = [frame.value for frame in program.records("signals")]
    assert [problem for value in values for problem in problems(value)] == []
    said = {json.loads(value).get("user", {}).get("id") for value in values} - {None}
    assert said
    assert said <= hashes


def _values(names: set[str]) -> Iterator[str]:
    """What the spans and log records of the day have under these names."""
    for frame in capture.read(CAPTURES / "keyed_spans.bin.gz"):
        for resource in ExportTraceServiceRequest.FromString(frame.value).resource_spans:
            for span in (span for scope in resource.scope_spans for span in scope.spans):
                yield from (it.value.string_value for it in span.attributes if it.key in names)
    for frame in capture.read(CAPTURES / "keyed_logs.bin.gz"):
        for resource in ExportLogsServiceRequest.FromString(frame.value).resource_logs:
            for log in (log for scope in resource.scope_logs for log in scope.log_records):
                yield from (it.value.string_value for it in log.attributes if it.key in names)
