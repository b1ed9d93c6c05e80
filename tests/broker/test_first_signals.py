"""What a new user does: the README's five commands, with a Collector of their own, until there is a signal."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from tests.support.collector.build import GoMissingError, binary
from tests.support.collector.run import await_start
from tests.support.documents import environment, shell_commands
from tests.support.paths import ROOT
from tests.support.ports import free_port
from tests.support.waiting import wait_until
from topics.cluster.admin import connect, partition_counts

pytestmark = [pytest.mark.broker, pytest.mark.collector]

WAIT_S = 240
STOP_S = 60

YOURS = """
receivers: {{otlp: {{protocols: {{grpc: {{endpoint: "127.0.0.1:{port}"}}}}}}}}
exporters: {{file: {{path: spans.json}}}}
service: {{pipelines: {{traces: {{receivers: [otlp], exporters: [file]}}}}, telemetry: {{metrics: {{level: none}}}}}}
"""
"""A Collector's configuration that knows nothing of BeTrace."""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A directory as a clone of the repository is, with the README's rule, and an `otelcol` on the path."""
    try:
        (tmp_path / "otelcol").symlink_to(binary())
    except GoMissingError as error:
        pytest.skip(str(error))
    (tmp_path / "topics").symlink_to(ROOT / "topics")
    (tmp_path / "pii.rules").write_text('// "PII"\ntrace.has(pii.first) and trace.has(audit.log)\n')
    return tmp_path


def test_readme_commands_produce_the_signal(kafka: str, home: Path, fresh_prefix: str) -> None:
    """With the README's commands and an address for Kafka, a span sent to one's own Collector causes a signal."""
    section = (ROOT / "README.md").read_text().partition("## Your Kafka in five commands")[2]
    export, run, collector, tail, status = shell_commands(section)
    name, _, address = export.removeprefix("export ").partition("=")
    hurried = {
        name: address.replace("kafka:9092", kafka),
        "BETRACE_PREFIX": fresh_prefix,
        "BETRACE_GAP": "1s",
        "BETRACE_STATE_DIR": str(home / "state"),
    }
    admin, signals = connect({"bootstrap.servers": kafka}), f"{fresh_prefix}signals"
    port = free_port()
    (home / "yours.yaml").write_text(YOURS.format(port=port))

    with started(run, home, hurried), started(collector, home, hurried):
        await_start(port, lambda: "see above")
        wait_until(lambda: partition_counts(admin, [signals]), "the topics are made")
        with started(tail, home, hurried, home / "shown"):
            wait_until(
                lambda: sent(port) and "pii.first" in (home / "shown").read_text(), "the signal is shown", WAIT_S
            )
        shown = subprocess.run(
            status, shell=True, cwd=home, env=environment() | hurried, capture_output=True, text=True, check=True
        )

    assert "workers: ingest 1, sessions 1" in shown.stdout
    assert "pii.first" in (home / "spans.json").read_text()


def sent(port: int) -> bool:
    """An application sends one span, as a trace of its own; true once it has."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(f"127.0.0.1:{port}", insecure=True)))
    provider.get_tracer("shop").start_span("pii.first").end()
    provider.shutdown()
    return True


@contextmanager
def started(line: str, home: Path, variables: dict[str, str], said: Path | None = None) -> Iterator[None]:
    """A command line in the user's directory, for the length of a with-block; what it prints goes to `said`."""
    places = environment()
    with (said or Path(os.devnull)).open("w") as file:
        child = subprocess.Popen(
            f"exec env {line}",
            shell=True,
            cwd=home,
            env=places | variables | {"PATH": f"{home}:{places['PATH']}"},
            stdout=file,
        )
        try:
            yield
            assert child.poll() is None
            child.terminate()
            child.wait(STOP_S)
        finally:
            child.kill()
            child.wait()
