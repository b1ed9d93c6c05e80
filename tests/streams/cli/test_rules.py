"""`betrace rules`."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from streams import ruleset
from streams.cli import main
from streams.settings import Settings
from topics import admin

GOOD = '// "Access is audited"\npii.access and audit.log\n'


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """A file of one rule."""
    path = tmp_path / "a.rules"
    path.write_text(GOOD)
    return path


def push(rules: Path, bootstrap: str, prefix: str) -> Result:
    """`betrace rules push`."""
    return CliRunner(env={"BETRACE_PREFIX": prefix}).invoke(
        main, ["rules", "push", str(rules), "--bootstrap", bootstrap]
    )


@pytest.mark.broker
def test_pushed_rules_are_active(rules: Path, kafka: str, fresh_prefix: str) -> None:
    """On a new cluster the topics are made, the set is written, and its fingerprint is printed."""
    result = push(rules, kafka, fresh_prefix)

    active = ruleset.read_active(Settings(bootstrap=kafka, prefix=fresh_prefix, state_dir=Path()))
    assert (0, f"{active.fingerprint}\n") == (result.exit_code, result.stdout)
    assert {str(rules): GOOD} == dict(active.texts)


@pytest.mark.broker
def test_rules_with_an_error_are_refused_whole(rules: Path, kafka: str, fresh_prefix: str) -> None:
    """One bad rule among good ones: nothing is written, and what was active stays."""
    push(rules, kafka, fresh_prefix)
    rules.write_text(GOOD + "\n// id: bad\n// kind: pattern\na matches '('\n")

    result = push(rules, kafka, fresh_prefix)

    active = ruleset.read_active(Settings(bootstrap=kafka, prefix=fresh_prefix, state_dir=Path()))
    assert (2, "") == (result.exit_code, result.stdout)
    assert "the rules have errors" in result.stderr
    assert GOOD == active.texts[str(rules)]


def test_no_broker_is_exit_3(rules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Kafka the command says who does not answer."""
    monkeypatch.setattr(admin, "TIMEOUT_S", 1)

    result = push(rules, "127.0.0.1:1", "betrace.")

    assert 3 == result.exit_code
    assert "no Kafka answers at 127.0.0.1:1" in result.stderr
