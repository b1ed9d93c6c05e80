"""`betrace demo`, as a user starts it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from dsl import load
from streams.cli.demo import CAPTURES

pytestmark = pytest.mark.broker

DEMO_S = 480
INTERRUPT_S = 60


@contextmanager
def demo(directory: Path) -> Iterator[subprocess.Popen[str]]:
    """A running demo whose temporary files are in `directory`; the user's own settings play no part."""
    environment = os.environ | {"TMPDIR": str(directory), "PYTHONUNBUFFERED": "1", "BETRACE_PREFIX": "mine."}
    command = [sys.executable, "-m", "streams.cli", "demo"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    ) as run:
        try:
            yield run
        finally:
            run.kill()


def left(directory: Path) -> list[str]:
    """The commands of processes that have to do with `directory`."""
    commands = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
    return [command for command in commands if str(directory) in command]


def test_every_rule_has_a_signal(tmp_path: Path) -> None:
    """The demo shows a signal of each of its seven rules, ends well, and leaves neither processes nor files."""
    rules, _ = load([str(CAPTURES / "demo.rules")])
    with demo(tmp_path) as run:
        said, talk = run.communicate(timeout=DEMO_S)

    assert run.returncode == 0, talk
    shown = [rule.id for rule in rules.rules if f"\n  {rule.severity.value.capitalize():<9}{rule.title}\n" in said]
    assert 7 == len(shown) == len(rules.rules)
    assert ([], []) == (left(tmp_path), list(tmp_path.iterdir()))


@pytest.mark.parametrize("moment", ["Starting Kafka", "betrace run"])
def test_interrupt_leaves_nothing_running(moment: str, tmp_path: Path) -> None:
    """A Ctrl-C ends the demo within seconds with exit 130, and with it Kafka and every stage."""
    with demo(tmp_path) as run:
        assert run.stdout is not None
        for line in run.stdout:
            if line.startswith(moment):
                break
        run.send_signal(signal.SIGINT)

        _, talk = run.communicate(timeout=INTERRUPT_S)

    assert (130, "interrupted\n") == (run.returncode, talk)
    assert ([], []) == (left(tmp_path), list(tmp_path.iterdir()))
