"""Tests `betrace broker`."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from confluent_kafka.admin import AdminClient

from streams.cli import main


def call(*arguments: str) -> Result:
    """Runs `betrace broker` with `arguments`."""
    return CliRunner().invoke(main, ["broker", *arguments])


@pytest.mark.broker
def test_started_broker_answers_until_it_is_stopped(tmp_path: Path) -> None:
    """`start` prints only the address, a second start prints it again, and `stop` ends the broker."""
    data_dir = ["--data-dir", str(tmp_path)]
    started = call("start", *data_dir)
    try:
        again = call("start", *data_dir)
        on_another_port = call("start", "--port", "1", *data_dir)
        brokers = AdminClient({"bootstrap.servers": started.stdout.strip()}).list_topics(timeout=10).brokers
    finally:
        stopped = call("stop", *data_dir)

    assert (started.exit_code, again.exit_code, again.stdout, len(brokers)) == (0, 0, started.stdout, 1)
    assert (on_another_port.exit_code, "not on port 1; stop it first" in on_another_port.stderr) == (2, True)
    assert (stopped.exit_code, stopped.stdout, stopped.stderr) == (0, "", f"stopped {started.stdout}")


def test_stop_without_a_broker_succeeds(tmp_path: Path) -> None:
    """Stopping without a running broker succeeds."""
    result = call("stop", "--data-dir", str(tmp_path))

    assert (result.exit_code, result.stderr) == (0, f"no broker is running on {tmp_path}\n")


def test_data_directory_is_in_the_users_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By default the data is where XDG specifies a program's state."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    result = call("stop")

    assert result.stderr == f"no broker is running on {tmp_path}/betrace/broker\n"


def test_start_that_fails_exits_3(tmp_path: Path) -> None:
    """If a broker cannot start, the exit code is that of Kafka errors and the message says why."""
    (tmp_path / "file").touch()

    result = call("start", "--data-dir", str(tmp_path / "file" / "data"))

    assert (result.exit_code, "cannot hold a broker's data" in result.stderr) == (3, True)
