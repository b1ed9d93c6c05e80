"""Tests what `betrace run` checks before it pushes rules, and when it pushes."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from structlog.testing import capture_logs

from dsl import RuleSet, compile_texts
from streams.cli import main, run_start
from streams.config.settings import Settings
from streams.decode import backend
from streams.evidence.ledger.storage import Directory
from streams.evidence.ledger.worker import LedgerSettings, LedgerWorker
from streams.ingest.source import OffsetMetadata, write_metadata
from streams.rules import registry
from streams.sessions import start as sessions_start
from streams.sessions.recovery import store_path
from streams.windows import lock
from tests.support.driven import DRIVEN, FAR_MS, Driven
from tests.support.evidence import SIGNER
from tests.support.installation import installed
from tests.support.ports import free_port
from tests.support.record import read_topic
from topics.records import checkpoints, facts
from topics.records.checkpoints import Checkpoint
from topics.records.facts import Facts

ACTIVE = '// "Access is audited"\npii.access and audit.log\n'
GIVEN = '// "Exports are approved"\nexport and approval\n'

pytestmark = pytest.mark.broker


@pytest.fixture
def settings(kafka: str, fresh_prefix: str, tmp_path: Path) -> Settings:
    """An installation with active rules."""
    settings = installed(kafka, fresh_prefix, tmp_path / "state")
    registry.push(settings, compiled(ACTIVE), now_ms=1)
    return settings


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Closes the stores and producers of workers that a test left open."""
    yield
    while DRIVEN:
        DRIVEN.pop().crash()


def compiled(text: str) -> RuleSet:
    """The rules in a text."""
    rules, _ = compile_texts({"a.rules": text})
    return rules


def start(settings: Settings, tmp_path: Path, *arguments: str) -> Result:
    """Starts `betrace run` with rules other than the active ones."""
    rules = tmp_path / "given.rules"
    rules.write_text(GIVEN)
    where = ["--bootstrap", settings.bootstrap, "--prefix", settings.prefix, "--state-dir", str(settings.state_dir)]
    sources = ["--source-topics", ",".join(settings.source_topics)]
    return CliRunner().invoke(main, ["run", "--rules", str(rules), "--push", *where, *sources, *arguments])


@contextmanager
def taken_port() -> Iterator[int]:
    """A port that another program has; the one before it is free."""
    with socket.create_server(("127.0.0.1", free_port(2) + 1)) as other:
        yield other.getsockname()[1]


def push(settings: Settings, text: str, *, insists: bool = False) -> str:
    """Pushes as a start does, and returns the fingerprint of the set that it uses."""
    return run_start.push(settings, compiled(text), revision=None, by="start", insists=insists).fingerprint


def test_start_without_a_key_changes_nothing(settings: Settings, tmp_path: Path) -> None:
    """No rule is pushed if the ledger would refuse to start."""
    before = read_topic(settings.bootstrap, settings.topic("rules"))

    result = start(settings, tmp_path, "--evidence", str(tmp_path / "evidence"))

    assert 2 == result.exit_code
    assert "no private key is given: give --ledger-key FILE" in result.stderr
    assert before == read_topic(settings.bootstrap, settings.topic("rules"))


def test_start_with_a_taken_port_changes_nothing(settings: Settings, tmp_path: Path) -> None:
    """No rule is pushed if sessions could not serve its metrics."""
    before = read_topic(settings.bootstrap, settings.topic("rules"))

    with taken_port() as port:
        result = start(settings, tmp_path, "--metrics-port", str(port - 1))

    assert 2 == result.exit_code
    assert f"metrics cannot be served at 127.0.0.1:{port}: " in result.stderr
    assert before == read_topic(settings.bootstrap, settings.topic("rules"))


def test_start_on_a_taken_state_directory_changes_nothing(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No rule is pushed if another run uses the windows."""
    before = read_topic(settings.bootstrap, settings.topic("rules"))
    monkeypatch.setattr(lock, "WAIT_S", 0.0)

    with lock.locked(settings.state_dir / settings.group("sessions")):
        result = start(settings, tmp_path)

    assert 2 == result.exit_code
    assert "is in use by process" in result.stderr
    assert before == read_topic(settings.bootstrap, settings.topic("rules"))


def refused(settings: Settings, tmp_path: Path, *arguments: str) -> Result:
    """Asserts that a start fails and pushes nothing."""
    before = read_topic(settings.bootstrap, settings.topic("rules"))

    result = start(settings, tmp_path, *arguments)

    assert before == read_topic(settings.bootstrap, settings.topic("rules"))
    return result


def produce(settings: Settings, topic: str, key: bytes | None, value: bytes) -> None:
    """Writes a record to partition 0 of one of BeTrace's own topics."""
    producer = Producer({**settings.client()})
    producer.produce(settings.topic(topic), value, key, 0)
    producer.flush()


def test_start_with_a_damaged_store_continues(settings: Settings) -> None:
    """Sessions rebuilds its windows and logs it."""
    driven = Driven(settings, compiled(ACTIVE))
    driven.apply(10_000)
    driven.step()
    driven.crash()
    (store_path(settings, 0) / "CURRENT").write_text("no manifest\n")

    with capture_logs() as logged:
        sessions_start.check(AdminClient({**settings.client()}), [settings])

    assert any(str(store_path(settings, 0)) in entry.get("reason", "") for entry in logged), logged


def test_start_with_a_store_that_cannot_be_opened_changes_nothing(settings: Settings, tmp_path: Path) -> None:
    """No rule is pushed if sessions could not write its windows."""
    driven = Driven(settings, compiled(ACTIVE))
    driven.apply(10_000)
    driven.step()

    result = refused(settings, tmp_path)

    assert 3 == result.exit_code
    assert f"the store {store_path(settings, 0)} cannot be opened" in result.stderr
    assert "Action: stop the other worker that has it" in result.stderr


def test_start_over_a_checkpoint_of_another_version_changes_nothing(settings: Settings, tmp_path: Path) -> None:
    """No rule is pushed if sessions could not continue from the checkpoint."""
    later = Checkpoint(
        version=checkpoints.VERSION + 1, topic_id="topic", published_to=0, start_offset=0, start=b"", covered=b""
    )
    produce(settings, "checkpoints", checkpoints.key(0), checkpoints.encode(later))

    result = refused(settings, tmp_path)

    assert 3 == result.exit_code
    assert f"the checkpoint of facts partition 0 cannot be read: checkpoint format {later.version}" in result.stderr


def test_start_over_facts_of_another_version_changes_nothing(settings: Settings, tmp_path: Path) -> None:
    """No rule is pushed if sessions could not read the checkpoints."""
    produce(settings, "facts", None, facts.encode(Facts(version=facts.VERSION + 1, rules="set", sections=[])))

    result = refused(settings, tmp_path)

    assert 3 == result.exit_code
    assert "facts message 0/0 cannot be read" in result.stderr


def test_start_over_facts_without_their_beginning_continues(settings: Settings) -> None:
    """A worker starts with the remaining facts, whether or not a local store or a checkpoint knows what was before."""
    driven = Driven(settings, compiled(ACTIVE))
    driven.apply(10_000)
    driven.step()
    driven.crash()
    client = AdminClient({**settings.client()})
    for done in client.delete_records([TopicPartition(settings.topic("facts"), 0, 1)]).values():
        done.result()
    elsewhere = replace(settings, state_dir=settings.state_dir / "elsewhere")

    sessions_start.check(client, [settings])
    sessions_start.check(client, [elsewhere])


def test_start_after_a_partial_reset_changes_nothing(settings: Settings, tmp_path: Path) -> None:
    """No rule is pushed if ingest could not start."""
    [topic] = settings.source_topics
    said = write_metadata(OffsetMetadata(epoch=1, topic_id="id", record_ms=None, read_at_ms=1))
    consumer = Consumer({**settings.client(), "group.id": settings.group("ingest")})
    offsets = [TopicPartition(topic, 0, 0, said), TopicPartition(topic, 1, 0)]
    consumer.commit(offsets=offsets, asynchronous=False)
    consumer.close()

    result = refused(settings, tmp_path)

    assert 3 == result.exit_code
    assert f"the group's offsets were reset for {topic}[1] but not for {topic}[0]" in result.stderr


def test_start_with_evidence_of_another_installation_changes_nothing(settings: Settings, tmp_path: Path) -> None:
    """No rule is pushed if the ledger would contradict what is published."""
    key = tmp_path / "ledger.key"
    key.write_text(SIGNER.encode())
    own = LedgerSettings(Directory(tmp_path / "evidence"), [SIGNER])
    ledger = LedgerWorker(settings, own)
    ledger.stop()
    ledger.run()

    result = refused(settings, tmp_path, "--evidence", str(tmp_path / "elsewhere"), "--ledger-key", str(key))

    assert 3 == result.exit_code
    assert "a tree head over 1 seals was published, which the evidence of 0 seals does not have" in result.stderr


def test_start_with_an_unknown_scanner_changes_nothing(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No rule is pushed if ingest could not decode."""
    monkeypatch.setenv(backend.VARIABLE, "fast")

    result = refused(settings, tmp_path)

    assert 2 == result.exit_code
    assert f"{backend.VARIABLE} is 'fast', must be auto, pure or cython" in result.stderr


def test_start_fences_no_worker(settings: Settings) -> None:
    """The checks before a push fence nobody: the owner of a facts partition keeps it."""
    driven = Driven(settings, compiled(ACTIVE))
    driven.apply(10_000, driven.entry(100, "pii.access"))
    elsewhere = replace(settings, state_dir=settings.state_dir / "elsewhere")

    run_start.check_stages(AdminClient({**settings.client()}), [elsewhere], None, ())

    driven.apply(FAR_MS)
    driven.step()
    assert 1 == len(driven.signals())


def test_start_undoes_no_push(settings: Settings) -> None:
    """Rules pushed with `betrace rules push` are not replaced unless the operator insists."""
    active, given = compiled(ACTIVE).fingerprint, compiled(GIVEN).fingerprint

    found = [push(settings, GIVEN), push(settings, GIVEN, insists=True), push(settings, GIVEN), push(settings, ACTIVE)]

    assert [active, given, given, given] == found
    assert given == registry.read_active(settings).fingerprint


def test_first_start_pushes_and_a_restart_does_not(kafka: str, fresh_prefix: str, tmp_path: Path) -> None:
    """Rules edited since the last start are pushed; active ones are not pushed again."""
    settings = installed(kafka, fresh_prefix, tmp_path)

    found = [push(settings, ACTIVE), push(settings, GIVEN), push(settings, GIVEN)]

    assert [compiled(text).fingerprint for text in (ACTIVE, GIVEN, GIVEN)] == found
    # For each start that pushed: a set, its push and the active fingerprint.
    assert 6 == len(read_topic(kafka, settings.topic("rules")))
