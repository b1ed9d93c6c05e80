"""Tests `betrace demo` from the command line."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from streams.cli.demo import CAPTURES
from streams.evidence.ledger.storage import open_storage
from streams.evidence.report.gather import gather, judged_to

pytestmark = pytest.mark.broker

DEMO_S = 480
INTERRUPT_S = 60


@contextmanager
def demo(directory: Path) -> Iterator[subprocess.Popen[str]]:
    """A running demo with temporary files in `directory`, without the user's own settings."""
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
    """Returns the command lines of processes that mention `directory`."""
    commands = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
    return [command for command in commands if str(directory) in command]


@dataclass(frozen=True)
class Played:
    """A finished demo: its output, and the directory it left."""

    said: str
    directory: Path

    def commands(self) -> list[str]:
        """Returns the commands that it suggests next."""
        return [line.strip() for line in self.said.partition("To continue")[2].splitlines() if line.startswith("  ")]

    def shown(self) -> list[str]:
        """Returns the uids of the signals that it shows."""
        return re.findall(r"^ +signal ([0-9a-f-]{36}), trace ", self.said, re.MULTILINE)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """A demo that was not interrupted."""
    place = tmp_path_factory.mktemp("demo")
    with demo(place) as run:
        said, talk = run.communicate(timeout=DEMO_S)
    assert (0, "", []) == (run.returncode, talk, left(place))
    [directory] = place.iterdir()
    return Played(said, directory)


def test_table_matches_the_applications(played: Played) -> None:
    """For each of the seven rules the table counts the traces that break it according to the applications."""
    expected = json.loads((CAPTURES / "expected.json").read_text())
    rows = [line.split("│") for line in played.said.partition("signals, the last")[2].splitlines() if "│" in line]
    table = {row[1].strip().removesuffix("…"): int(row[5]) for row in rows}

    shown = {rule: count for name, count in table.items() for rule in expected if rule.startswith(name)}
    assert 7 == len(shown)
    assert {rule: len(traces["broken"]) for rule, traces in expected.items()} == shown


def test_last_ten_signals_are_shown(played: Played) -> None:
    """The demo prints the number of signals and shows ten, which the evidence contains."""
    store = open_storage(str(played.directory / "evidence"))

    known = gather(store, 0, judged_to(store) or 0).signals.keys()
    assert f"\n{len(known)} signals, the last 10 of them:\n" in played.said
    assert 10 == len(set(played.shown()))
    assert set() == set(played.shown()) - known


def test_pages_are_written(played: Played) -> None:
    """The report covers every rule, the page the last signal and its trace, and the output names both."""
    report, page = ((played.directory / name).read_text() for name in ("report.html", "signal.html"))

    expected = json.loads((CAPTURES / "expected.json").read_text())
    assert [] == [rule for rule in expected if rule not in report]
    assert "NOT VERIFIED" not in report
    assert f"{played.shown()[-1]}.1" in page
    assert page.count('class="bar"') > 1
    assert [] == [name for name in ("report.html", "signal.html") if f"{played.directory / name}\n" not in played.said]
    assert ["evidence", "kafka", "ledger.pub", "report.html", "signal.html"] == sorted(
        path.name for path in played.directory.iterdir()
    )


def test_next_commands_work(played: Played) -> None:
    """The suggested commands work in one shell: Kafka restarts, the last signal is shown, the evidence verifies."""
    start, show, verify = played.commands()
    [stop] = re.findall("^To stop that Kafka: (.+)$", played.said, re.MULTILINE)

    try:
        done = subprocess.run(["sh", "-ec", f"{start}\n{show}"], capture_output=True, text=True, check=False)
        verified = subprocess.run(["sh", "-ec", verify], capture_output=True, text=True, check=False)
    finally:
        subprocess.run(["sh", "-ec", stop], check=True)

    assert (0, 0) == (done.returncode, verified.returncode), done.stderr + verified.stderr
    assert played.shown()[-1] in show
    assert f"signal    {played.shown()[-1]}.1\n" in done.stdout
    # A bar is a span, a line a log record: the last trace may have either.
    assert {"█", "│"} & {*done.stdout}
    assert verified.stdout.endswith("unchanged and complete\n")
    assert [] == left(played.directory)


@pytest.mark.parametrize("moment", ["Starting Kafka", "betrace run"])
def test_interrupt_leaves_nothing_running(moment: str, tmp_path: Path) -> None:
    """A Ctrl-C right after a step began ends the demo with exit 130, with Kafka and every stage."""
    with demo(tmp_path) as run:
        assert run.stdout is not None
        for line in run.stdout:
            if line.startswith(moment):
                break
        run.send_signal(signal.SIGINT)

        _, talk = run.communicate(timeout=INTERRUPT_S)

    assert (130, "interrupted\n") == (run.returncode, talk)
    assert ([], []) == (left(tmp_path), list(tmp_path.iterdir()))
