"""Tests that the loss of a test process costs one test and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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


def test_a_dead_process_costs_one_test(tmp_path: Path) -> None:
    """The test that was running fails; every other test runs once, and the run ends."""
    files = {f"test_dies_{number}.py": DIES for number in range(2)}
    files |= {f"test_passes_{number}.py": PASSES for number in range(10)}
    for name, content in {"conftest.py": CONFTEST, **files}.items():
        (tmp_path / name).write_text(content)
    options = ["-p", "no:cacheprovider", "-c", "/dev/null", "--numprocesses", "2", "--dist", "loadfile"]

    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "--rootdir", str(tmp_path), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )

    assert "2 failed, 24 passed" in done.stdout
