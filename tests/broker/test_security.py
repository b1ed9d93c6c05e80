"""On a cluster with TLS, SASL and an authorizer the documented ACLs are enough, and a missing one is named."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from operator import itemgetter
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AclOperation

from tests.broker import secured
from tests.broker.secured import Cluster
from tests.support import tokens
from tests.support.ports import free_port
from tests.support.program import is_ready
from tests.support.record import read_topic
from tests.support.waiting import wait_until
from topics.cluster.acls import Acl, Kind, Role, required_acls
from topics.spec import Layout

pytestmark = pytest.mark.broker

END_S = 120
LAYOUT = Layout("b.", ("b.otlp_spans",), facts_partitions=2)
STAGES = {Role.INGEST: ["run", "--role", "ingest"], Role.SESSIONS: ["run", "--role", "sessions"]}
RULE = "// id: audited\n// kind: invariant\npii.access and audit.log\n"
SPAN = {"traceId": "0a" * 16, "spanId": "01" * 8, "name": "pii.access"}
REQUEST = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [SPAN]}]}]}).encode()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A secured broker with a user for each role, who has the role's ACLs, and an installation with a rule."""
    directory = tmp_path_factory.mktemp("secured")
    with secured.running(directory) as cluster:
        for role in Role:
            cluster.add_user(role.value)
            cluster.allow(role.value, required_acls(role, LAYOUT))
        cluster.allow(secured.PLAIN_USER, required_acls(Role.SETUP, LAYOUT))
        (directory / "a.rules").write_text(RULE)
        done = [
            call(cluster, "setup", "topics", "create", *layout_options()),
            call(cluster, "setup", "rules", "push", str(directory / "a.rules"), "--prefix", LAYOUT.prefix),
        ]
        assert [0, 0] == [each.returncode for each in done], done[-1].stderr + done[0].stderr
        yield cluster


def layout_options() -> list[str]:
    """The options of the layout."""
    return [
        *("--prefix", LAYOUT.prefix, "--source-topics", ",".join(LAYOUT.source_topics)),
        *("--facts-partitions", str(LAYOUT.facts_partitions)),
    ]


def command(cluster: Cluster, user: str, *words: str, mechanism: str = "SCRAM-SHA-512") -> list[str]:
    """A command of a user."""
    return [sys.executable, "-m", "streams.cli", *words, *cluster.options(user, mechanism)]


def call(
    cluster: Cluster, user: str, *words: str, mechanism: str = "SCRAM-SHA-512"
) -> subprocess.CompletedProcess[str]:
    """What a command of a user does."""
    return subprocess.run(
        command(cluster, user, *words, mechanism=mechanism),
        capture_output=True,
        text=True,
        timeout=END_S,
        check=False,
    )


def stage(role: Role, state_dir: Path) -> list[str]:
    """The words that start a stage."""
    return [*STAGES[role], *layout_options(), "--state-dir", str(state_dir), "--gap", "1s", "--out-of-order", "100ms"]


@contextmanager
def working(cluster: Cluster, role: Role, state_dir: Path) -> Iterator[subprocess.Popen[str]]:
    """A stage for as long as the context lasts."""
    with (state_dir / f"{role.value}.log").open("w") as log:
        run = subprocess.Popen(command(cluster, role.value, *stage(role, state_dir)), stderr=log, text=True)
    try:
        yield run
    finally:
        run.send_signal(signal.SIGTERM)
        run.wait(END_S)


def without(role: Role, left_out: Acl, operation: AclOperation) -> list[Acl]:
    """A role's ACLs but for one operation on one resource."""
    kept = tuple(each for each in left_out.operations if each is not operation)
    others = [each for each in required_acls(role, LAYOUT) if each != left_out]
    return [*others, replace(left_out, operations=kept)] if kept else others


def every_acl(*roles: Role) -> list[Acl]:
    """What all of these roles need, each operation once."""
    needed = [acl for role in roles for acl in required_acls(role, LAYOUT)]
    return [*dict.fromkeys(replace(acl, operations=(operation,)) for acl in needed for operation in acl.operations)]


def test_stages_work_with_the_documented_acls(cluster: Cluster, tmp_path: Path) -> None:
    """Ingest and sessions, each as its own user, publish a signal; a reader can show status and signals."""
    producer = Producer({"bootstrap.servers": cluster.open_bootstrap})
    producer.produce(LAYOUT.source_topics[0], REQUEST, partition=0)
    producer.produce(LAYOUT.source_topics[0], b"no request", partition=0)
    producer.flush()

    with working(cluster, Role.INGEST, tmp_path), working(cluster, Role.SESSIONS, tmp_path):
        wait_until(lambda: read_topic(cluster.open_bootstrap, "b.signals"), "there is a signal")
    signals = read_topic(cluster.open_bootstrap, "b.signals")
    looked = [
        call(cluster, "reader", "status", "--prefix", "b.", "--source-topics", "b.otlp_spans", "--format", "json"),
        call(
            cluster, "reader", "signals", "tail", "--prefix", "b.", "--from", "earliest", "--once", "--format", "json"
        ),
        call(
            cluster,
            "reader",
            "explain",
            "0a" * 16,
            "--prefix",
            "b.",
            "--source-topics",
            "b.otlp_spans",
            "--format",
            "json",
        ),
        call(cluster, "reader", "dead-letters", "list", "--prefix", "b."),
    ]

    logs = "".join(path.read_text()[-3000:] for path in tmp_path.glob("*.log"))
    assert 1 == len(signals), logs
    assert secured.PASSWORD not in logs
    assert [0, 0, 0, 0] == [each.returncode for each in looked], [each.stderr for each in looked]
    assert 0 == sum(row["lag"] for row in json.loads(looked[0].stdout)["sources"])
    assert json.loads(looked[1].stdout)["unmapped"]["betrace"]["trace_id"] == "0a" * 16
    assert ("b.otlp_spans", 10) == itemgetter("topic", "length")(json.loads(looked[3].stdout))


@pytest.mark.parametrize(
    ("role", "acl", "operation"),
    [
        pytest.param(role, acl, operation, id=f"{role.value}-{operation.name}-{acl.name}")
        for role in STAGES
        for acl in required_acls(role, LAYOUT)
        for operation in acl.operations
    ],
)
def test_missing_acl_is_named(cluster: Cluster, tmp_path: Path, role: Role, acl: Acl, operation: AclOperation) -> None:
    """A stage whose user lacks one ACL ends, and its message names the operation or at least the resource."""
    cluster.allow(role.value, without(role, acl, operation))
    try:
        ended = call(cluster, role.value, *stage(role, tmp_path))
    finally:
        cluster.allow(role.value, required_acls(role, LAYOUT))

    assert ended.returncode in {2, 3}
    last = ended.stderr.splitlines()[-1]
    # DESCRIBE_CONFIGS alone does not show a topic, and of one that is not shown nothing is known to be allowed.
    is_hidden = {*acl.operations} - {operation} == {AclOperation.DESCRIBE_CONFIGS}
    missing = acl if is_hidden else replace(acl, operations=(operation,))
    named = f"{role.value} lacks ACLs for {role.value}: {missing.text()}"
    assert (acl.name in last) if acl.kind is Kind.TRANSACTIONAL_ID else (f"Error: {named}" == last), ended.stderr


@pytest.mark.parametrize("role", [Role.SESSIONS, Role.LEDGER])
def test_start_without_transactions_changes_nothing(cluster: Cluster, tmp_path: Path, role: Role) -> None:
    """A single process whose user lacks access to a stage's transactional ids ends before it pushes its rules."""
    key, rules = tmp_path / "ledger.key", tmp_path / "other.rules"
    rules.write_text(RULE.replace("audited", "other"))
    keygen = [sys.executable, "-m", "streams.cli", "evidence", "keygen", "example.com/b", "--key", str(key)]
    subprocess.run(keygen, check=True, stdout=subprocess.DEVNULL)
    asked = every_acl(Role.SETUP, *STAGES, Role.LEDGER)
    [forbidden] = [acl for acl in required_acls(role, LAYOUT) if acl.kind is Kind.TRANSACTIONAL_ID]
    before = read_topic(cluster.open_bootstrap, "b.rules")
    words = ["run", "--rules", str(rules), "--push", *layout_options(), "--state-dir", str(tmp_path / "state")]
    evidence = ["--evidence", str(tmp_path / "evidence"), "--ledger-key", str(key)]
    cluster.allow(Role.SETUP.value, [acl for acl in asked if (acl.kind, acl.name) != (forbidden.kind, forbidden.name)])
    try:
        ended = call(cluster, Role.SETUP.value, *words, *evidence)
    finally:
        cluster.allow(Role.SETUP.value, required_acls(Role.SETUP, LAYOUT))

    assert 2 == ended.returncode, ended.stderr
    assert f"setup lacks ACLs for {role.value}: {forbidden.text()}" in ended.stderr
    assert before == read_topic(cluster.open_bootstrap, "b.rules")


def test_archive_and_ledger_work_with_the_documented_acls(cluster: Cluster, tmp_path: Path) -> None:
    """The archive ends by itself; the ledger writes evidence until it is stopped."""
    where = ["--prefix", LAYOUT.prefix]
    sources = ["--source-topics", ",".join(LAYOUT.source_topics)]
    key, evidence = tmp_path / "ledger.key", tmp_path / "evidence"
    keygen = [sys.executable, "-m", "streams.cli", "evidence", "keygen", "example.com/b", "--key", str(key)]
    subprocess.run(keygen, check=True, stdout=subprocess.DEVNULL)

    archived = call(cluster, "archive", "archive", str(tmp_path / "archive"), *where, *sources, "--until-idle")
    words = ["ledger", "--evidence", str(evidence), "--ledger-key", str(key), "--seal-every", "100ms", *where]
    ledger = subprocess.Popen(command(cluster, "ledger", *words), stderr=subprocess.PIPE, text=True)
    wait_until(lambda: [*evidence.glob("seals/*/*/*.tlog")] or ledger.poll() is not None, "there is a seal")
    ledger.send_signal(signal.SIGTERM)
    _, said = ledger.communicate(timeout=END_S)

    assert 0 == archived.returncode, archived.stderr
    assert 0 == ledger.returncode, said
    assert [*evidence.glob("seals/*/*/*.tlog")]


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
def test_mechanisms(cluster: Cluster, mechanism: str) -> None:
    """Clients authenticate with a password by PLAIN and by SCRAM."""
    user = secured.PLAIN_USER if mechanism == "PLAIN" else "setup"

    ended = call(cluster, user, "topics", "describe", *layout_options(), "--format", "json", mechanism=mechanism)

    assert 0 == ended.returncode, ended.stderr
    assert {True} == {json.loads(line)["present"] for line in ended.stdout.splitlines()}


@pytest.mark.parametrize("role", STAGES)
def test_stage_is_ready_with_tokens(cluster: Cluster, tmp_path: Path, role: Role) -> None:
    """With OAUTHBEARER the clients of each stage, Faust's too, obtain tokens by themselves; then the stage is ready."""
    port = free_port()
    with tokens.serving() as server, (tmp_path / "log").open("w") as log:
        words = [*stage(role, tmp_path), "--metrics-port", str(port), "--sasl-token-url", server.url]
        run = subprocess.Popen(command(cluster, role.value, *words, mechanism="OAUTHBEARER"), stderr=log)
        wait_until(lambda: is_ready(port) or run.poll() is not None, "it is ready")
        was_ready = is_ready(port)
        run.send_signal(signal.SIGTERM)
        run.wait(END_S)

    said = (tmp_path / "log").read_text()
    assert was_ready, said[-3000:]
    assert secured.PASSWORD not in said


def test_wrong_password_is_not_shown(cluster: Cluster) -> None:
    """A refused user exits with 3, with no secret in the message; the password may be in the environment."""
    words = command(cluster, "setup", "topics", "describe", *layout_options())
    at = words.index("--sasl-password-file")
    environment = os.environ | {"BETRACE_SASL_PASSWORD": "a-wrong-one"}

    ended = subprocess.run(
        words[:at] + words[at + 2 :], env=environment, capture_output=True, text=True, timeout=END_S, check=False
    )

    assert 3 == ended.returncode
    assert f"no Kafka answers at {cluster.bootstrap}" in ended.stderr
    assert "a-wrong-one" not in ended.stderr
