"""What `betrace run` checks before it pushes, and when it pushes."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dsl import RuleSet, compile_texts
from streams.cli import main, run_start
from streams.config.settings import Settings
from streams.rules import registry
from streams.windows import lock
from tests.support.installation import installed
from tests.support.record import read_topic

ACTIVE = '// "Access is audited"\npii.access and audit.log\n'
GIVEN = '// "Exports are approved"\nexport and approval\n'

pytestmark = pytest.mark.broker


@pytest.fixture
def settings(kafka: str, fresh_prefix: str, tmp_path: Path) -> Settings:
    """An installation with active rules."""
    settings = installed(kafka, fresh_prefix, tmp_path / "state")
    registry.push(settings, compiled(ACTIVE), now_ms=1)
    return settings


def compiled(text: str) -> RuleSet:
    """The rules in a text."""
    rules, _ = compile_texts({"a.rules": text})
    return rules


def start(settings: Settings, tmp_path: Path, *arguments: str) -> Result:
    """A start of `betrace run` with other rules than the active ones."""
    rules = tmp_path / "given.rules"
    rules.write_text(GIVEN)
    where = ["--bootstrap", settings.bootstrap, "--prefix", settings.prefix, "--state-dir", str(settings.state_dir)]
    sources = ["--source-topics", ",".join(settings.source_topics)]
    return CliRunner().invoke(main, ["run", "--rules", str(rules), "--push", *where, *sources, *arguments])


@contextmanager
def taken_port() -> Iterator[int]:
    """A port that another program has."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def push(settings: Settings, text: str, *, insists: bool = False) -> str:
    """What a start pushes; returns the fingerprint of the set that it starts with."""
    return run_start.push(settings, compiled(text), revision=None, by="start", insists=insists).fingerprint


def test_start_without_a_key_changes_nothing(settings: Settings, tmp_path: Path) -> None:
    """The ledger would refuse to start: no rule is pushed."""
    before = read_topic(settings.bootstrap, settings.topic("rules"))

    result = start(settings, tmp_path, "--evidence", str(tmp_path / "evidence"))

    assert 2 == result.exit_code
    assert "there is no private key: give --ledger-key FILE" in result.stderr
    assert before == read_topic(settings.bootstrap, settings.topic("rules"))


def test_start_with_a_taken_port_changes_nothing(settings: Settings, tmp_path: Path) -> None:
    """Sessions could not serve its metrics: no rule is pushed."""
    before = read_topic(settings.bootstrap, settings.topic("rules"))

    with taken_port() as port:
        result = start(settings, tmp_path, "--metrics-port", str(port - 1))

    assert 2 == result.exit_code
    assert f"metrics cannot be served at 127.0.0.1:{port}: " in result.stderr
    assert before == read_topic(settings.bootstrap, settings.topic("rules"))


def test_start_on_a_taken_state_directory_changes_nothing(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run has the windows: no rule is pushed."""
    before = read_topic(settings.bootstrap, settings.topic("rules"))
    monkeypatch.setattr(lock, "WAIT_S", 0.0)

    with lock.locked(settings.state_dir / settings.group("sessions")):
        result = start(settings, tmp_path)

    assert 2 == result.exit_code
    assert "is in use by process" in result.stderr
    assert before == read_topic(settings.bootstrap, settings.topic("rules"))


def test_start_undoes_no_push(settings: Settings) -> None:
    """Over what `betrace rules push` made active nothing is pushed unless the operator insists."""
    active, given = compiled(ACTIVE).fingerprint, compiled(GIVEN).fingerprint

    found = [push(settings, GIVEN), push(settings, GIVEN, insists=True), push(settings, GIVEN), push(settings, ACTIVE)]

    assert [active, given, given, given] == found
    assert given == registry.read_active(settings).fingerprint


def test_first_start_pushes_and_a_restart_does_not(kafka: str, fresh_prefix: str, tmp_path: Path) -> None:
    """Rules that were edited since the last start are pushed; those that are active are not pushed again."""
    settings = installed(kafka, fresh_prefix, tmp_path)

    found = [push(settings, ACTIVE), push(settings, GIVEN), push(settings, GIVEN)]

    assert [compiled(text).fingerprint for text in (ACTIVE, GIVEN, GIVEN)] == found
    # A set, its push and what is active: of each start that pushed.
    assert 6 == len(read_topic(kafka, settings.topic("rules")))
