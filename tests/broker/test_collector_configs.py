"""The Collector configurations that the package ships, with a real Collector."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, NewTopic
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from tests.broker.siem.tools import SHIPPED, configured, started, wait_for
from tests.support.collector.build import GoMissingError, binary
from tests.support.collector.run import await_start
from tests.support.documents import shell_commands
from tests.support.ports import free_port
from tests.support.record import read_topic

pytestmark = pytest.mark.collector

YOURS = """
receivers: {otlp: {protocols: {grpc: {}}}}
exporters: {file: {path: spans.json}}
service: {pipelines: {traces: {receivers: [otlp], exporters: [file]}}}
"""
"""A Collector's configuration that knows nothing of BeTrace."""


@pytest.fixture(scope="module")
def otelcol() -> Path:
    """A real Collector."""
    try:
        return binary()
    except GoMissingError as error:
        pytest.skip(str(error))


def checked(otelcol: Path, configs: Sequence[Path]) -> subprocess.CompletedProcess[str]:
    """What the Collector's own check says."""
    arguments = [text for config in configs for text in ("--config", str(config))]
    return subprocess.run([otelcol, "validate", *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "names",
    [
        ["collector/collector.yaml"],
        ["collector/collector.yaml", "collector/audit.yaml"],
        ["collector/collector.yaml", "collector/added.yaml"],
        ["siem/collector/receive.yaml", "siem/collector/file.yaml"],
    ],
)
def test_shipped_configuration_is_valid(otelcol: Path, names: list[str]) -> None:
    """Each shipped configuration passes `otelcol validate` unchanged."""
    done = checked(otelcol, [SHIPPED / name for name in names])

    assert (done.returncode, done.stderr) == (0, "")


def test_documented_commands_are_valid(otelcol: Path, tmp_path: Path) -> None:
    """Each command of topics/collector/README.md passes the Collector's check, beside a configuration of one's own."""
    page = SHIPPED / "collector"
    (tmp_path / "yours.yaml").write_text(YOURS)
    lines = shell_commands((page / "README.md").read_text())

    for line in lines:
        program, *words = line.split()
        done = checked(otelcol, [page / word if (page / word).exists() else tmp_path / word for word in words[1::2]])

        assert ("otelcol", {"--config"}) == (program, set(words[::2]))
        assert (0, "") == (done.returncode, done.stderr)
    assert 3 == len(lines)


def test_only_the_splunk_exporter_is_unknown(otelcol: Path) -> None:
    """The Collector of these tests lacks one component of splunk.yaml, and reports no other error before it."""
    done = checked(otelcol, [SHIPPED / "siem/collector/receive.yaml", SHIPPED / "siem/collector/splunk.yaml"])

    assert "'exporters' unknown type: \"splunk_hec\"" in done.stderr


def test_unknown_setting_is_detected(otelcol: Path, tmp_path: Path) -> None:
    """The check rejects a setting that does not exist."""
    faulty = configured("collector/collector.yaml", tmp_path, {"required_acks": "wanted_acks"})

    assert "wanted_acks" in checked(otelcol, [faulty]).stderr


@pytest.mark.broker
def test_audit_spans_have_a_topic_of_their_own(kafka: str, fresh_prefix: str, otelcol: Path, tmp_path: Path) -> None:
    """All spans go to one topic; those with `audit.action`, and no others, also go to a second one."""
    topics = {name: f"{fresh_prefix}{name}" for name in ("otlp_spans", "otlp_logs", "otlp_audit_logs", "otlp_audit")}
    client = AdminClient({"bootstrap.servers": kafka})
    for made in client.create_topics([NewTopic(name, 1) for name in topics.values()]).values():
        made.result()
    port = free_port()
    where = {"0.0.0.0:4317": f"127.0.0.1:{port}", "0.0.0.0:4318": f"127.0.0.1:{free_port()}"}
    plain = {"localhost:9092": kafka, "topic: otlp_spans": f"topic: {topics['otlp_spans']}"}
    configs = [
        configured("collector/collector.yaml", tmp_path, where | plain),
        configured(
            "collector/audit.yaml",
            tmp_path,
            {
                "localhost:9092": kafka,
                "topic: otlp_audit": f"topic: {topics['otlp_audit']}",
                "/var/lib/otelcol/audit": str(tmp_path / "queue"),
            },
        ),
    ]
    arguments = [text for config in configs for text in ("--config", config)]

    with started([otelcol, *arguments]) as said:
        await_start(port, said)
        _send(port, {"login": {}, "role change": {"audit.action": "role_update"}, "export": {"audit.action": ""}})
        wait_for(lambda: _names(kafka, topics["otlp_audit"]), 2, said)
        wait_for(lambda: _names(kafka, topics["otlp_spans"]), 3, said)

    assert sorted(_names(kafka, topics["otlp_spans"])) == ["export", "login", "role change"]
    assert sorted(_names(kafka, topics["otlp_audit"])) == ["export", "role change"]


def _send(port: int, spans: dict[str, dict[str, str]]) -> None:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(f"127.0.0.1:{port}", insecure=True)))
    tracer = provider.get_tracer("shop")
    for name, attributes in spans.items():
        tracer.start_span(name, attributes=attributes).end()
    provider.shutdown()


def _names(bootstrap: str, topic: str) -> list[str]:
    return [
        span.name
        for frame in read_topic(bootstrap, topic)
        for resource in ExportTraceServiceRequest.FromString(frame.value).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
