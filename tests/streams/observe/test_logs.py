"""Tests that log lines of several processes on one stderr stay separate lines."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from confluent_kafka import Producer
from structlog.testing import capture_logs

from streams.config.settings import Settings
from streams.observe.logs import KAFKA_CLIENT, REPEAT_EVERY_S, LibraryHandler, OncePerMinute
from tests.support.waiting import wait_until

LOG = """import structlog
from streams.observe import logs
logs.configure()
structlog.get_logger().info("it began", count=1)"""
LONGEST_BYTES = 4096


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_line_is_written_at_once(unbuffered: str) -> None:
    """A line and its end are one write, so that no other process writes between them."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)

    with ours, theirs:
        environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
        subprocess.run([sys.executable, "-c", LOG], stderr=theirs.fileno(), env=environment, check=True)
        written = ours.recv(LONGEST_BYTES)

    assert written.endswith(b"}\n")
    assert {"event": "it began", "count": 1}.items() <= json.loads(written).items()


class Clock:
    """Continues when told to."""

    now_s = 1000.0

    def __call__(self) -> float:
        """The time."""
        return self.now_s


def test_repeated_warning_is_logged_once_a_minute() -> None:
    """A warning is logged at once, then once a minute with the number suppressed, whatever its fields are."""
    clock = Clock()
    repeated = OncePerMinute(clock)

    with capture_logs() as events:
        for passed_s in (0, 1, REPEAT_EVERY_S - 1, REPEAT_EVERY_S):
            clock.now_s = Clock.now_s + passed_s
            repeated.warning("query failed", reason=f"after {passed_s:g} s")
        repeated.warning("another query failed")

    assert [
        ("query failed", "after 0 s", None),
        ("query failed", "after 60 s", 2),
        ("another query failed", None, None),
    ] == [(event["event"], event.get("reason"), event.get("left_out")) for event in events]


def test_library_lines_of_one_kind_are_logged_once_a_minute() -> None:
    """The first line is logged at once, then one a minute with the number suppressed; other kinds are not delayed."""
    clock = Clock()
    logger = logging.getLogger("test_logs.library")
    logger.addHandler(LibraryHandler(clock))

    logger.propagate = False

    with capture_logs() as events:
        for number in range(3):
            logger.error("cannot reach node %s", number)
        logger.error("another")
        clock.now_s += REPEAT_EVERY_S
        logger.error("cannot reach node %s", 3)

    assert [
        {"event": "cannot reach node 0", "logger": "test_logs.library", "log_level": "error"},
        {"event": "another", "logger": "test_logs.library", "log_level": "error"},
        {"event": "cannot reach node 3", "logger": "test_logs.library", "log_level": "error", "left_out": 2},
    ] == events


def test_unreachable_kafka_is_one_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that retries many times a second logs once."""
    producer = Producer({**Settings(bootstrap="127.0.0.1:1", state_dir=tmp_path).client()})
    lines: list[str] = []
    counting = logging.Handler()
    counting.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger(KAFKA_CLIENT)
    # Another test may have configured the root logger, which would log it too.
    monkeypatch.setattr(logger, "propagate", False)
    ours = LibraryHandler()
    logger.addHandler(counting)
    logger.addHandler(ours)

    def have_come() -> bool:
        producer.poll(0.1)
        return len([line for line in lines if line.startswith("FAIL ")]) > 1

    try:
        with capture_logs() as events:
            wait_until(have_come, "the client says twice that it finds no broker")
    finally:
        logger.removeHandler(counting)
        logger.removeHandler(ours)

    [event] = [event for event in events if event["event"].startswith("FAIL ")]
    assert ("warning", KAFKA_CLIENT) == (event["log_level"], event["logger"])
    assert "Connection refused" in event["event"]
