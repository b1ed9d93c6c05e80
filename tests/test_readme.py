"""What the README says is what happens: every command in it is run, and its output compared."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Producer
from ruamel.yaml import YAML

from streams.archive.read import records
from tests.support import paths
from tests.support.collector.build import GoMissingError, binary
from tests.support.evidence import coverage
from topics.records import verdicts

ROOT = paths.ROOT
README = (ROOT / "README.md").read_text()
BIN = Path(sys.executable).parent
COMMAND_S = 300
RUNS_S = 8


def blocks(language: str) -> list[str]:
    """The fenced blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def dialogues(block: str) -> list[tuple[str, str]]:
    """The commands of a console block, each with its output; lines that begin with `> ` continue a command."""
    found: list[tuple[str, str]] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append((line.removeprefix("$ "), ""))
        elif line.startswith("> "):
            found[-1] = (found[-1][0] + "\n" + line.removeprefix("> "), "")
        else:
            found[-1] = (found[-1][0], found[-1][1] + line + "\n")
    return found


def shell_commands() -> list[str]:
    """The commands of the `sh` blocks, without comments."""
    return [line.split("#")[0].strip() for block in blocks("sh") for line in block.splitlines()]


def environment() -> dict[str, str]:
    """The environment of somebody who activated the virtual environment."""
    return os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}"}


def test_console_blocks_print_what_they_show(tmp_path: Path) -> None:
    """Every command of a console block prints exactly the lines below it."""
    said = [dialogue for block in blocks("console") for dialogue in dialogues(block)]

    done = [
        subprocess.run(
            command, shell=True, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
        ).stdout
        for command, _ in said
    ]

    assert len(said) >= 3
    assert [output for _, output in said] == done


def test_every_shell_command_is_run_by_a_test() -> None:
    """There is no command in the README that the tests below do not know."""
    evidence = {command for command in shell_commands() if "evidence" in command}

    assert len(evidence) == 11
    assert {
        "make demo",
        "make test",
        "betrace run --rules rules/ --bootstrap kafka:9092",
        "BETRACE_BOOTSTRAP=kafka:9092 otelcol --config yours.yaml --config topics/collector/added.yaml",
        "betrace signals tail --bootstrap kafka:9092",
        "betrace archive archive/ --bootstrap kafka:9092",
        "betrace replay --rules rules/ --from 30d --summary --bootstrap kafka:9092",
    } | evidence == {*shell_commands()}


@pytest.mark.broker
def test_make_demo_works() -> None:
    """`make demo` ends well and shows a table of rules."""
    done = subprocess.run(["make", "demo"], cwd=ROOT, capture_output=True, text=True, timeout=COMMAND_S, check=False)

    assert done.returncode == 0, done.stderr[-4000:]
    assert "96 signals." in done.stdout


def test_make_test_is_these_tests() -> None:
    """`make test` runs pytest over the whole tree."""
    command = ["make", "--no-print-directory", "-n", "test"]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1].endswith("bin/pytest")


@pytest.mark.broker
def test_the_run_command_runs_until_it_is_stopped(kafka: str, tmp_path: Path) -> None:
    """`betrace run` as written, with a real address for Kafka: it makes its topics, runs, and ends when asked to."""
    [command] = [line for line in shell_commands() if line.startswith("betrace run")]
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "pii.rules").write_text('// "PII"\ntrace.has(pii.access) and trace.has(audit.log)\n')
    words = command.replace("kafka:9092", kafka).split()
    run = subprocess.Popen(words, cwd=tmp_path, env=environment() | {"BETRACE_STATE_DIR": str(tmp_path / "state")})

    time.sleep(RUNS_S)
    still_running = run.poll() is None
    run.send_signal(signal.SIGTERM)
    code = run.wait(COMMAND_S)

    assert still_running
    assert code == 0


@pytest.mark.broker
def test_the_archive_command_keeps_what_is_there(kafka: str, tmp_path: Path) -> None:
    """`betrace archive` as written, with a real address for Kafka: what is on the source topics is in the archive."""
    [command] = [line for line in shell_commands() if line.startswith("betrace archive")]
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
    [command] = [line for line in shell_commands() if line.startswith("betrace replay")]
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
    keygen, ledger, *others = [line for line in shell_commands() if "evidence" in line]
    often = environment() | {"BETRACE_SEAL_EVERY": "100ms", "BETRACE_BOOTSTRAP": kafka, "BETRACE_PREFIX": fresh_prefix}
    subprocess.run(["betrace", "topics", "create"], env=often, check=True)
    subprocess.run(keygen, shell=True, cwd=tmp_path, env=often, check=True)
    producer = Producer({"bootstrap.servers": kafka})
    now_ms = time.time_ns() // 1_000_000
    judged = msgspec.structs.replace(coverage(0, 0), to_ms=now_ms, settled_to_ms=now_ms)
    producer.produce(f"{fresh_prefix}verdicts", verdicts.encode(judged), partition=0)
    producer.flush()

    run = subprocess.Popen(ledger.replace("kafka:9092", kafka).split(), cwd=tmp_path, env=often)
    deadline_s = time.monotonic() + COMMAND_S
    while not (tmp_path / "evidence/seals/000/000/002.tlog").exists() and time.monotonic() < deadline_s:
        time.sleep(0.1)
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
    [block] = blocks("yaml")
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
