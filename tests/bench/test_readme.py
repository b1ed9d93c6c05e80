"""The commands of the benches' README, in short."""

from __future__ import annotations

import shlex
import subprocess
import sys

import pytest

from tests.support.documents import environment, shell_commands
from tests.support.paths import ROOT

pytestmark = [pytest.mark.bench, pytest.mark.broker]

SHORT = ("--spans", "4000", "--runs", "1", "--workers", "1", "--only", "consume", "betrace ingest")
"""What comes last counts: few spans, once, and no peer that is to be built."""


@pytest.mark.parametrize(
    "line", [line for line in shell_commands((ROOT / "tests/bench/README.md").read_text()) if line.startswith("python")]
)
def test_command_measures(line: str) -> None:
    """Each command succeeds and prints a table of figures."""
    _, *words = shlex.split(line)

    done = subprocess.run(
        [sys.executable, *words, *SHORT], cwd=ROOT, env=environment(), capture_output=True, text=True, check=False
    )

    assert 0 == done.returncode, done.stderr
    assert "betrace ingest" in done.stdout
