"""`betrace run --evidence` on a real Kafka, and what an auditor makes of the files it leaves, by command line."""

from __future__ import annotations

import csv
import dataclasses
import json
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from streams.evidence.audit import archive
from tests.support.program import CAPTURES, STOP_S, Program, expected
from tests.support.trails import ROLES
from tests.support.waiting import wait_until
from topics.embedded import capture

pytestmark = pytest.mark.broker

AGO_MS = 600_000
COMMAND_S = 240
GARBAGE = (b"no request", b"{", None)


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What a run left behind, and who reads it: `now_ms` is when it was written to."""

    program: Program
    directory: Path
    key: Path
    now_ms: int

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end."""
        command = [sys.executable, "-m", "streams.cli", *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_S, check=False)

    def query(self, sql: str) -> list[dict[str, str]]:
        """The rows that the trail answers with."""
        done = self.call("audit", "query", str(self.directory), sql)
        assert done.returncode == 0, done.stderr
        return [*csv.DictReader(done.stdout.splitlines())]


@pytest.fixture(scope="module")
def report(evidence: Evidence) -> dict[str, Any]:
    """The report of the time since the first record, and a little before it."""
    asked = ["--from", f"{2 * AGO_MS // 1000}s", "--to", "1s", "--format", "json"]
    done = evidence.call("evidence", "report", str(evidence.directory), *asked)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def evidence(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """A day of two applications, garbage, a change of a role and a log record without a trace: judged, and sealed."""
    root = tmp_path_factory.mktemp("run")
    now_ms = time.time_ns() // 1_000_000
    program = Program(kafka, f"t{uuid.uuid4().hex[:12]}.", root / "state")
    made = Evidence(program, root / "evidence", root / "ledger.pub", now_ms)
    made.key.write_text(made.call("evidence", "keygen", "example.com/test", "--key", str(root / "ledger.key")).stdout)
    kept = ("--evidence", str(made.directory), "--ledger-key", str(root / "ledger.key"))
    program = dataclasses.replace(program, options=(*program.options, *kept))
    program.make_sources()
    write(program, now_ms)
    program.run_until_idle()
    return made


def write(program: Program, now_ms: int) -> None:
    """Everything that happened, ten minutes ago by Kafka's time."""
    producer = Producer({"bootstrap.servers": program.bootstrap})
    for topic, name in ((program.spans_topic, "keyed_spans"), (program.logs_topic, "keyed_logs")):
        for frame in capture.read(CAPTURES / f"{name}.bin.gz"):
            producer.produce(topic, frame.value, frame.key, timestamp=now_ms - AGO_MS)
    for value in GARBAGE:
        producer.produce(program.spans_topic, value, partition=0, timestamp=now_ms - AGO_MS)
    producer.produce(program.spans_topic, role_update(now_ms), timestamp=now_ms - AGO_MS)
    producer.produce(program.logs_topic, login(), timestamp=now_ms - AGO_MS)
    producer.flush()


def attributes(**values: str) -> list[dict[str, object]]:
    """Attributes as OTLP/JSON has them, dots for underscores."""
    return [{"key": name.replace("__", "."), "value": {"stringValue": value}} for name, value in values.items()]


def role_update(now_ms: int) -> bytes:
    """A request with the span of a change of a role."""
    span = {
        "traceId": "0af7651916cd43dd8448eb211c80319c",
        "spanId": "b7ad6b7169203331",
        "name": "PUT /roles",
        "startTimeUnixNano": str(now_ms * 1_000_000),
        "attributes": attributes(
            audit__action="role_update",
            enduser__id="admin-1",
            audit__target_user="u-9",
            audit__old_value="viewer",
            audit__new_value="owner",
            audit__result="success",
        ),
    }
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).encode()


def login() -> bytes:
    """A request with a log record that is of no trace."""
    record = {"body": {"stringValue": "welcome"}, "attributes": attributes(audit__action="login", enduser__id="u-9")}
    return json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}).encode()


def audited() -> int:
    """How many spans and log records of the day have an attribute of the trail, by OpenTelemetry's own classes."""
    spans = [
        span
        for frame in capture.read(CAPTURES / "keyed_spans.bin.gz")
        for resource in ExportTraceServiceRequest.FromString(frame.value).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    logs = [
        record
        for frame in capture.read(CAPTURES / "keyed_logs.bin.gz")
        for resource in ExportLogsServiceRequest.FromString(frame.value).resource_logs
        for scope in resource.scope_logs
        for record in scope.log_records
    ]
    return sum(any(each.key.startswith("audit.") for each in one.attributes) for one in (*spans, *logs))


def test_evidence_of_a_run_verifies(evidence: Evidence) -> None:
    """The files and the public key suffice to verify that nothing was changed and nothing is missing."""
    done = evidence.call("evidence", "verify", str(evidence.directory), "--key", str(evidence.key))

    assert (0, True) == (done.returncode, "unchanged and complete" in done.stdout), done.stdout


def test_changed_byte_is_found(evidence: Evidence, tmp_path: Path) -> None:
    """A change of one byte of a seal is found."""
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", str(evidence.directory), str(copy)], check=True)
    seal = max(copy.rglob("*.tlog"), key=lambda path: path.stat().st_size)
    seal.chmod(0o644)
    content = bytearray(seal.read_bytes())
    content[len(content) // 2] ^= 1
    seal.write_bytes(bytes(content))

    done = evidence.call("evidence", "verify", str(copy), "--key", str(evidence.key))

    assert (1, True) == (done.returncode, f"{seal.relative_to(copy)}" in done.stdout), done.stdout


def test_report_counts_broken_traces(report: dict[str, Any]) -> None:
    """For each rule the report counts, and shows, as many traces as the applications broke."""
    rules = report["rules"]

    found = {rule["id"]: rule["counts"]["broken"] for rule in rules}
    truth = [rule for rule, _ in expected()]
    assert {rule: truth.count(rule) for rule in found} == found
    assert len(truth) == sum(found.values()) == sum(len(rule["broken_traces"]) for rule in rules)


def test_report_counts_dead_letters(report: dict[str, Any]) -> None:
    """Dead letters are in the coverage of their source partition, once, and prevent a statement about the period."""
    told = report["input"]

    assert len(GARBAGE) == told["undecodable"]
    assert [len(GARBAGE)] == [one["dead_letters"] for one in told["sources"] if one["dead_letters"]]
    assert "3 source records could not be read and became dead letters" in report["statement"]
    assert not report["is_whole"]


def test_audit_trail_is_complete(evidence: Evidence) -> None:
    """The trail has every span and log record with an `audit.*` attribute, even one without a trace."""
    [row] = evidence.query("SELECT count(*) AS n FROM audit_spans")
    logins = evidence.query(
        "SELECT trace_id, is_log, body FROM audit_spans WHERE attributes['audit.action'] = 'login' AND trace_id IS NULL"
    )

    assert audited() + 2 == int(row["n"])
    assert [{"trace_id": "", "is_log": "True", "body": "welcome"}] == logins


def test_auditors_query_runs_unchanged(evidence: Evidence) -> None:
    """The query that finds who changed which role runs on records that came through Kafka."""
    rows = [row for row in evidence.query(ROLES) if row["actor"] == "admin-1"]

    assert [("u-9", "viewer", "owner", "success")] == [
        (row["target"], row["previous_role"], row["new_role"], row["outcome"]) for row in rows
    ]


def test_trail_is_archived_and_verified(evidence: Evidence, tmp_path: Path) -> None:
    """When the ledger runs on, it writes Parquet; read access suffices to verify and export the trail."""
    archived(evidence)
    file = tmp_path / "trail.csv"

    verified = evidence.call("audit", "verify", str(evidence.directory), "--key", str(evidence.key))
    exported = evidence.call("audit", "export", str(evidence.directory), str(file))

    assert (0, f"{audited() + 2} audit records, unchanged\n") == (verified.returncode, verified.stdout)
    assert 0 == exported.returncode, exported.stderr
    with file.open(newline="") as lines:
        assert audited() + 2 == sum(1 for _ in csv.DictReader(lines))


def archived(evidence: Evidence) -> None:
    """Runs a ledger until there is a file of the trail."""
    program, key = evidence.program, evidence.key.with_name("ledger.key")
    words = ["ledger", "--evidence", str(evidence.directory), "--ledger-key", str(key), "--seal-every", "20ms"]
    where = ["--bootstrap", program.bootstrap, "--prefix", program.prefix]
    ledger = subprocess.Popen([sys.executable, "-m", "streams.cli", *words, *where], stderr=subprocess.DEVNULL)
    try:
        wait_until((evidence.directory / archive.manifest_path(0)).exists, "there is a file of the trail")
    finally:
        ledger.send_signal(signal.SIGTERM)
        assert 0 == ledger.wait(STOP_S)
