"""Tests in which order test files run, and that the loss of a process costs one test and nothing else."""

from __future__ import annotations

import subprocess
import sys
from collections import OrderedDict
from pathlib import Path
from unittest.mock import Mock

import pytest

from tests.support.scheduling import CrashTolerantScheduling
from tests.support.waiting import WAIT_S

CONFTEST = """
from tests.support.scheduling import CrashTolerantScheduling

def pytest_xdist_make_scheduler(config, log):
    return CrashTolerantScheduling(config, log)
"""
DIES = """
import os

def test_before(): pass
def test_that_dies(): os._exit(1)
def test_after(): pass
"""
PASSES = "def test_one(): pass\ndef test_two(): pass\n"


def run(root: Path, files: dict[str, str], processes: int) -> str:
    """Runs these test files, and returns what pytest printed."""
    for name, content in {"conftest.py": CONFTEST, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    options = ["-p", "no:cacheprovider", "-c", "/dev/null", "--numprocesses", str(processes), "--dist", "loadfile"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "--rootdir", str(root), str(root)],
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    return done.stdout


def test_a_dead_process_costs_one_test(tmp_path: Path) -> None:
    """The test that was running fails; every other test runs once, and the run ends."""
    files = {f"test_dies_{number}.py": DIES for number in range(2)}
    files |= {f"test_passes_{number}.py": PASSES for number in range(10)}

    assert "2 failed, 24 passed" in run(tmp_path, files, 2)


class Dead:
    """A process that died a moment ago."""

    def send_runtest_some(self, _indices: list[int]) -> None:
        """Fails as execnet does."""
        raise OSError("cannot send (already closed?)")


def test_work_that_reached_a_dead_process_is_handed_out_again() -> None:
    """The run goes on when a process dies between its last report and the next file; only one test is lost."""
    node, tests = Dead(), ["test_a.py::test_one", "test_a.py::test_two"]
    scheduler = CrashTolerantScheduling.__new__(CrashTolerantScheduling)
    scheduler.workqueue = OrderedDict({"test_a.py": dict.fromkeys(tests, False)})
    scheduler.assigned_work, scheduler.registered_collections = {}, {node: tests}

    scheduler._assign_work_unit(node)

    assert tests[0] == scheduler.remove_node(node)
    assert {"test_a.py": {tests[1]: False}} == scheduler.workqueue


def next_file(process: int, processes: int, files: list[str]) -> str:
    """Returns the file that a process gets first."""
    nodes = [Mock(spec=["send_runtest_some"]) for _ in range(processes)]
    scheduler = CrashTolerantScheduling.__new__(CrashTolerantScheduling)
    tests = {file: f"{file}::test_one" for file in files}
    scheduler.workqueue = OrderedDict((file, {test: False}) for file, test in tests.items())
    scheduler.assigned_work = {node: OrderedDict() for node in nodes}
    scheduler.registered_collections = {node: [*tests.values()] for node in nodes}
    scheduler._assign_work_unit(nodes[process])
    [file] = scheduler.assigned_work[nodes[process]]
    return str(file)


LONG, SHORT = "tests/broker/test_long.py", "tests/dsl/test_short.py"


@pytest.mark.parametrize(
    ("process", "processes", "files", "expected"),
    [
        (0, 1, [SHORT, LONG], LONG),
        (0, 3, [LONG, SHORT], SHORT),
        (1, 3, [SHORT, LONG], LONG),
        (0, 3, [LONG], LONG),
        (1, 3, [SHORT], SHORT),
    ],
)
def test_long_files_come_first_but_for_one_process(
    process: int, processes: int, files: list[str], expected: str
) -> None:
    """Of several processes the first begins with the other files, so that the processor is not idle meanwhile."""
    assert expected == next_file(process, processes, files)
