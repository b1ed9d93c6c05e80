"""What the READMEs say is what happens: every command in them is run, and its output compared.

Commands are run as they are written, but for the address of Kafka. `tests/test_documents.py` says which test runs the
commands of the other pages.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Producer

from streams.archive.read import records
from tests.support import paths
from tests.support.documents import environment, examples, shell_commands
from tests.support.evidence import coverage
from tests.support.ports import free_port
from tests.support.program import is_ready
from tests.support.waiting import wait_until
from topics.records import verdicts

ROOT = paths.ROOT
README = (ROOT / "README.md").read_text()
COMMAND_S = 300
INSTALL_S = 1200
TRACE_ID = "0000000000000000000000000000000a"
RULE = '// "PII"\ntrace.has(pii.readme) and trace.has(audit.log)\n'


def page(folder: str) -> list[str]:
    """The commands of a folder's README."""
    return shell_commands((ROOT / folder / "README.md").read_text())


@pytest.fixture
def installed(kafka: str, fresh_prefix: str, tmp_path: Path) -> dict[str, str]:
    """The environment of an installation of its own, whose topics are there; its rules are in `rules/`."""
    variables = {
        "BETRACE_BOOTSTRAP": kafka,
        "BETRACE_PREFIX": fresh_prefix,
        "BETRACE_SOURCE_TOPICS": f"{fresh_prefix}otlp_spans",
        "BETRACE_STATE_DIR": str(tmp_path / "state"),
        "BETRACE_FACTS_PARTITIONS": "3",
    }
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "pii.rules").write_text(RULE)
    subprocess.run(["betrace", "topics", "create"], env=environment() | variables, check=True)
    return environment() | variables


def send(variables: Mapping[str, str], value: bytes) -> None:
    """Writes one source record."""
    producer = Producer({"bootstrap.servers": variables["BETRACE_BOOTSTRAP"]})
    producer.produce(variables["BETRACE_SOURCE_TOPICS"], value, partition=0)
    producer.flush()


def request(name: str) -> bytes:
    """One span, as OTLP/JSON."""
    spans = [{"traceId": TRACE_ID, "spanId": "0b" * 8, "name": name}]
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}).encode()


def run(line: str, home: Path, variables: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """A command line that has ended, with the installation's Kafka in place of the page's."""
    words = shlex.split(line.replace("kafka:9092", variables["BETRACE_BOOTSTRAP"]))
    return subprocess.run(
        words, cwd=home, env=variables, capture_output=True, text=True, timeout=COMMAND_S, check=False
    )


def run_all(lines: Sequence[str], home: Path, variables: Mapping[str, str]) -> list[str]:
    """What each line prints; all must end well."""
    done = [(line, run(line, home, variables)) for line in lines]
    assert {} == {line: each.stderr for line, each in done if each.returncode}
    return [each.stdout for _, each in done]


def test_examples_print_what_they_show(tmp_path: Path) -> None:
    """A block of commands prints exactly the block below it."""
    [(commands, printed)] = examples(README)

    done = subprocess.run(
        ["sh"], input=commands, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )

    assert (1, printed) == (done.returncode, done.stdout)


@pytest.mark.timeout(INSTALL_S + COMMAND_S)
def test_install_commands_install(tmp_path: Path) -> None:
    """In a clone, the commands of "Install" give a `betrace` that judges. Nothing is compiled: that takes minutes."""
    clone = tmp_path / "clone"
    for name in ("dsl", "topics", "streams"):
        shutil.copytree(ROOT / name, clone / name, ignore=shutil.ignore_patterns("*.so", "*.c", "__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, clone)
    install = shell_commands(README.partition("| extra |")[0])
    [(commands, printed)] = examples(README)
    bare = os.environ | {"CC": "false", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    done = subprocess.run(
        ["sh"],
        input="\n".join(["set -e", *install, "set +e", "cd ..", "command -v betrace", commands]),
        cwd=clone,
        env=bare,
        capture_output=True,
        text=True,
        timeout=INSTALL_S,
        check=False,
    )

    assert 3 == len(install)
    assert f"{clone}/.venv/bin/betrace\n{printed}" in done.stdout, done.stderr


@pytest.mark.broker
def test_make_demo_works(tmp_path: Path) -> None:
    """`make demo` succeeds and shows signals."""
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
def test_run_command_runs_until_it_is_stopped(installed: dict[str, str], tmp_path: Path) -> None:
    """The `betrace run` command as written runs, and exits with 0 when it is stopped."""
    [command] = [line for line in shell_commands(README) if line.startswith("betrace run")]
    (tmp_path / "pii.rules").write_text(RULE)
    port = free_port(2)
    with subprocess.Popen(
        shlex.split(command), cwd=tmp_path, env=installed | {"BETRACE_METRICS_PORT": str(port)}
    ) as started:
        try:
            wait_until(lambda: is_ready(port) and is_ready(port + 1), "both stages are ready", COMMAND_S)
            started.send_signal(signal.SIGTERM)
            code = started.wait(COMMAND_S)
        finally:
            started.kill()

    assert 0 == code


@pytest.mark.broker
def test_archive_command_archives_the_topics(installed: dict[str, str], tmp_path: Path) -> None:
    """The `betrace archive` command archives the records of the source topics."""
    send(installed, b"no request")

    run_all(page("streams/archive"), tmp_path, installed | {"BETRACE_UNTIL_IDLE": "1"})

    assert [b"no request"] == [record.value for record in records(str(tmp_path / "archive"))]


@pytest.mark.broker
def test_replay_command_prints_a_summary(installed: dict[str, str], tmp_path: Path) -> None:
    """The `betrace replay` command prints a line per rule, in figures and in words."""
    command, _ = page("streams/replay")
    send(installed, request("pii.readme"))

    done = run(command, tmp_path, installed)

    [line] = [json.loads(line) for line in done.stdout.splitlines()]
    assert 1 == done.returncode, done.stderr
    assert (1, 1) == (line["applicable"], line["broken"])
    assert line["statement"].startswith('1 of 1 traces broke "PII" between ')


@pytest.mark.broker
def test_find_command_prints_the_traces(installed: dict[str, str], tmp_path: Path) -> None:
    """The `betrace find` command prints the traces for which its expression is true."""
    _, command = page("streams/replay")
    send(installed, request("payment"))

    done = run(f"{command} --format json", tmp_path, installed)

    assert 0 == done.returncode, done.stderr
    assert [TRACE_ID] == [json.loads(line)["trace_id"] for line in done.stdout.splitlines()]


@pytest.mark.broker
def test_rules_commands_push_show_and_roll_back(installed: dict[str, str], tmp_path: Path) -> None:
    """A push replaces an earlier one, can be shown, and can be rolled back."""
    (tmp_path / "before.rules").write_text('// "before"\ntrace.has(a) and trace.has(b)\n')
    run_all(["betrace rules push before.rules"], tmp_path, installed)

    pushed, listed, history, shown, diff, _ = run_all(page("streams/rules"), tmp_path, installed)

    fingerprint = pushed.strip()
    assert re.search(rf"^{fingerprint} +active .* v1$", listed, re.MULTILINE)
    assert re.search(rf" {fingerprint} +push .* v1$", history, re.MULTILINE)
    assert RULE in shown
    assert "" == diff
    assert "before" in run("betrace rules show", tmp_path, installed).stdout


@pytest.mark.broker
def test_topics_commands_create_and_describe_topics(
    installed: dict[str, str], fresh_prefix: str, tmp_path: Path
) -> None:
    """Existing topics are not created again, each topic is described, and there is no signal yet."""
    made, described, signals = run_all(page("topics"), tmp_path, installed)

    assert ("", "") == (made, signals)
    assert f"{fresh_prefix}facts" in described


@pytest.mark.broker
def test_inspection_commands_show_an_idle_installation(installed: dict[str, str], tmp_path: Path) -> None:
    """Status, explain and doctor work where rules are active and no worker has run."""
    run_all(["betrace rules push rules/"], tmp_path, installed)
    send(installed, request("pii.readme"))

    status, explained, _ = run_all(page("streams/inspect"), tmp_path, installed)

    assert "1 rule (pii) judges nothing yet" in status
    assert "broken" in explained


@pytest.mark.broker
def test_dead_letter_commands_decrypt_the_bytes(installed: dict[str, str], tmp_path: Path) -> None:
    """They generate a key, list what could not be read, and decrypt its bytes."""
    keygen, *others = page("streams/ingest")
    run_all([keygen], tmp_path, installed)
    send(installed, b"no request")
    run_all(["betrace run --rules rules/ --until-idle --gap 1s --dead-letter-key letters.pub"], tmp_path, installed)

    listed, _ = run_all(others, tmp_path, installed)

    assert installed["BETRACE_SOURCE_TOPICS"] in listed
    assert [b"no request"] == [path.read_bytes() for path in (tmp_path / "letters").iterdir() if path.suffix != ".json"]


@pytest.mark.broker
def test_evidence_commands_make_evidence_that_verifies(
    installed: dict[str, str], fresh_prefix: str, tmp_path: Path
) -> None:
    """They generate a key, run a ledger until it is stopped, and verify and report what it sealed."""
    keygen, ledger, *others = page("streams/evidence")
    often = installed | {"BETRACE_SEAL_EVERY": "100ms"}
    run_all([keygen], tmp_path, often)
    producer = Producer({"bootstrap.servers": often["BETRACE_BOOTSTRAP"]})
    now_ms = time.time_ns() // 1_000_000
    judged = msgspec.structs.replace(coverage(0, 0), to_ms=now_ms, settled_to_ms=now_ms)
    producer.produce(f"{fresh_prefix}verdicts", verdicts.encode(judged), partition=0)
    (tmp_path / "coverage.jsonl").write_bytes(verdicts.encode(judged))
    producer.flush()

    started = subprocess.Popen(
        shlex.split(ledger.replace("kafka:9092", often["BETRACE_BOOTSTRAP"])), cwd=tmp_path, env=often
    )
    wait_until((tmp_path / "evidence/seals/000/000/002.tlog").exists, "there are three seals", COMMAND_S)
    started.send_signal(signal.SIGTERM)
    code = started.wait(COMMAND_S)
    verified, *_ = run_all(others, tmp_path, often)

    assert code == 0
    assert verified.endswith("unchanged and complete\n")
    assert {"report.html", "trail.parquet", "u-17.html"} <= {path.name for path in tmp_path.iterdir()}
