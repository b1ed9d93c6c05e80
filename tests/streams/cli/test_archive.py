"""Tests what `betrace archive` refuses before it connects to Kafka; the rest is in `tests/broker/test_archive.py`."""

from __future__ import annotations

import subprocess
import sys

from click.testing import CliRunner

from streams.cli import main


def test_unknown_url() -> None:
    """A URL of an unknown file system is a configuration error."""
    result = CliRunner().invoke(main, ["archive", "nowhere://x"])

    assert result.exit_code == 2
    assert "the archive nowhere://x cannot be reached: Protocol not known: nowhere" in result.stderr


def test_without_the_extra() -> None:
    """Without the extra the command says what to install, and other commands still work."""
    program = "import sys; sys.modules['pyarrow'] = None; from streams.cli import main; main()"

    refused = subprocess.run(
        [sys.executable, "-c", program, "archive", "x"], capture_output=True, text=True, check=False
    )
    shown = subprocess.run([sys.executable, "-c", program, "--help"], capture_output=True, text=True, check=False)

    assert refused.returncode == 2
    assert "pip install 'betrace[archive]'" in refused.stderr
    assert "archive" in shown.stdout
    assert shown.returncode == 0
