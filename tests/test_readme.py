"""What the README says is what happens: every command in it is run, and its output compared."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import time
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from confluent_kafka import Producer
from ruamel.yaml import YAML

from streams.archive.read import records
from streams.cli import main
from tests.support import paths
from tests.support.collector.build import GoMissingError, binary
from tests.support.documents import blocks, dialogues, environment, shell_commands
from tests.support.evidence import coverage
from tests.support.ports import free_port
from tests.support.program import is_ready
from tests.support.waiting import wait_until
from topics.records import verdicts

ROOT = paths.ROOT
README = (ROOT / "README.md").read_text()
COMMAND_S = 300


def test_console_blocks_print_what_they_show(tmp_path: Path) -> None:
    """Every command of a console block prints exactly the lines below it."""
    said = dialogues(README)

    done = [
        subprocess.run(
            command, shell=True, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
        ).stdout
        for command, _ in said
    ]

    assert len(said) >= 3
    assert [output for _, output in said] == done


@pytest.mark.parametrize("line", [line for line in shell_commands(README) if line.startswith("betrace ")])
def test_commands_and_options_are_there(line: str) -> None:
    """Each command of betrace is one that there is, with options that it takes."""
    done = CliRunner().invoke(main, [*shlex.split(line)[1:], "--help"])

    assert 0 == done.exit_code, done.output


@pytest.mark.parametrize("line", [line for line in shell_commands(README) if line.startswith("make ")])
def test_targets_are_there(line: str) -> None:
    """Each target of make is one that there is."""
    done = subprocess.run([*line.split(), "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=False)

    assert 0 == done.returncode, done.stderr


@pytest.mark.broker
def test_make_demo_works(tmp_path: Path) -> None:
    """`make demo` ends well and shows signals."""
    done = subprocess.run(
        ["make", "demo"],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        check=False,
    )

    assert done.returncode == 0, done.stderr[-4000:]
    assert "\n96 signals, the last 10 of them:\n" in done.stdout


@pytest.mark.broker
def test_the_run_command_runs_until_it_is_stopped(kafka: str, tmp_path: Path) -> None:
    """`betrace run` as written, with a real address for Kafka: it makes its topics, runs, and ends when asked to."""
    [command] = [line for line in shell_commands(README) if line.startswith("betrace run")]
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "pii.rules").write_text('// "PII"\ntrace.has(pii.access) and trace.has(audit.log)\n')
    words = command.replace("kafka:9092", kafka).split()
    port = free_port(2)
    where = {"BETRACE_STATE_DIR": str(tmp_path / "state"), "BETRACE_METRICS_PORT": str(port)}
    with subprocess.Popen(words, cwd=tmp_path, env=environment() | where) as run:
        try:
            wait_until(lambda: is_ready(port) and is_ready(port + 1), "both stages are ready", COMMAND_S)
            run.send_signal(signal.SIGTERM)
            code = run.wait(COMMAND_S)
        finally:
            run.kill()

    assert 0 == code


@pytest.mark.broker
def test_the_archive_command_keeps_what_is_there(kafka: str, tmp_path: Path) -> None:
    """`betrace archive` as written, with a real address for Kafka: what is on the source topics is in the archive."""
    [command] = [line for line in shell_commands(README) if line.startswith("betrace archive")]
    subprocess.run(["betrace", "topics", "create", "--bootstrap", kafka], env=environment(), check=True)
    producer = Producer({"bootstrap.servers": kafka})
    producer.produce("otlp_spans", b"no request", partition=0)
    producer.flush()

    subprocess.run(
        command.replace("kafka:9092", kafka).split(),
        cwd=tmp_path,
        env=environment() | {"BETRACE_UNTIL_IDLE": "1"},
        check=True,
    )

    assert b"no request" in [record.value for record in records(str(tmp_path / "archive"))]


@pytest.mark.broker
def test_the_replay_command_says_what_was(kafka: str, tmp_path: Path) -> None:
    """`betrace replay` as written, with a real address for Kafka: a line per rule, in figures and in words."""
    [command] = [line for line in shell_commands(README) if line.startswith("betrace replay")]
    subprocess.run(["betrace", "topics", "create", "--bootstrap", kafka], env=environment(), check=True)
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "pii.rules").write_text('// "PII"\ntrace.has(pii.readme) and trace.has(audit.log)\n')
    producer = Producer({"bootstrap.servers": kafka})
    spans = [{"traceId": "0a" * 16, "spanId": "0b" * 8, "name": "pii.readme"}]
    producer.produce("otlp_spans", json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}))
    producer.flush()

    done = subprocess.run(
        command.replace("kafka:9092", kafka).split(),
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )

    [line] = [json.loads(line) for line in done.stdout.splitlines()]
    assert 1 == done.returncode, done.stderr
    assert (1, 1) == (line["applicable"], line["broken"])
    assert line["statement"].startswith('1 of 1 traces broke "PII" between ')


@pytest.mark.broker
def test_the_evidence_commands_make_evidence_that_verifies(kafka: str, fresh_prefix: str, tmp_path: Path) -> None:
    """As written, with a real address for Kafka: a key, a ledger that seals until it is stopped, and every other."""
    keygen, ledger, *others = [line for line in shell_commands(README) if "evidence" in line]
    often = environment() | {"BETRACE_SEAL_EVERY": "100ms", "BETRACE_BOOTSTRAP": kafka, "BETRACE_PREFIX": fresh_prefix}
    subprocess.run(["betrace", "topics", "create"], env=often, check=True)
    subprocess.run(keygen, shell=True, cwd=tmp_path, env=often, check=True)
    producer = Producer({"bootstrap.servers": kafka})
    now_ms = time.time_ns() // 1_000_000
    judged = msgspec.structs.replace(coverage(0, 0), to_ms=now_ms, settled_to_ms=now_ms)
    producer.produce(f"{fresh_prefix}verdicts", verdicts.encode(judged), partition=0)
    (tmp_path / "coverage.jsonl").write_bytes(verdicts.encode(judged))
    producer.flush()

    run = subprocess.Popen(ledger.replace("kafka:9092", kafka).split(), cwd=tmp_path, env=often)
    wait_until((tmp_path / "evidence/seals/000/000/002.tlog").exists, "there are three seals", COMMAND_S)
    run.send_signal(signal.SIGTERM)
    code = run.wait(COMMAND_S)
    said = {
        line: subprocess.run(shlex.split(line), cwd=tmp_path, env=often, capture_output=True, text=True, check=False)
        for line in others
    }

    assert code == 0
    assert {} == {line: done.stderr for line, done in said.items() if done.returncode}
    assert said[others[0]].stdout.endswith("nothing was changed, nothing is missing\n")
    assert {"report.html", "trail.parquet", "u-17.html"} <= {path.name for path in tmp_path.iterdir()}


@pytest.mark.collector
def test_the_collector_accepts_the_configuration(tmp_path: Path) -> None:
    """The exporter's settings are valid for a real Collector."""
    try:
        collector = binary()
    except GoMissingError as error:
        pytest.skip(str(error))
    [block] = blocks(README, "yaml")
    config = YAML(typ="safe").load(block)
    config["receivers"] = {"otlp": {"protocols": {"grpc": {}}}}
    pipeline = {"receivers": ["otlp"], "exporters": ["kafka"]}
    config["service"] = {"pipelines": {"traces": pipeline, "logs": pipeline}}
    with (tmp_path / "config.yaml").open("w") as file:
        YAML(typ="safe").dump(config, file)

    done = subprocess.run(
        [collector, "validate", "--config", str(tmp_path / "config.yaml")], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
