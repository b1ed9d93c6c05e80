"""The lock of a state directory."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from streams.errors import ConfigError
from streams.windows.lock import locked
from tests.support.waiting import next_line

HOLDS = """
import signal, sys
from pathlib import Path
from streams.windows.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    signal.pause()
"""


def test_second_one_is_refused(tmp_path: Path) -> None:
    """The second program learns which process has the directory, and gets it once the first one releases it."""
    with locked(tmp_path / "state"):
        expected = f"is in use by process {os.getpid()}: stop that process, or choose another --state-dir"
        with pytest.raises(ConfigError, match=expected), locked(tmp_path / "state", wait_s=0):
            pass

    with locked(tmp_path / "state", wait_s=0):
        pass


def test_killed_one_leaves_it(tmp_path: Path) -> None:
    """The kernel releases the lock however its holder ended; no file has to be removed."""
    holder = subprocess.Popen([sys.executable, "-c", HOLDS, str(tmp_path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    with holder.stdout:
        next_line(holder.stdout, "the lock is held")
        holder.send_signal(signal.SIGKILL)
        holder.wait(10)

    with locked(tmp_path, wait_s=0):
        pass


def test_child_that_inherits_it_holds_it(tmp_path: Path) -> None:
    """Stages that outlive a killed supervisor for a moment still hold the lock."""
    with locked(tmp_path) as descriptor:
        child = subprocess.Popen(
            [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE, pass_fds=[descriptor]
        )
    assert child.stdin is not None
    with child.stdin, pytest.raises(ConfigError, match="is in use"), locked(tmp_path, wait_s=0):
        pass
    child.wait(10)

    with locked(tmp_path, wait_s=0):
        pass


def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message states what to do about the disk."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", refuse)

    with pytest.raises(ConfigError, match="No space left on device: free space"), locked(tmp_path):
        pass


def test_directory_that_cannot_be_created(tmp_path: Path) -> None:
    """A file in place of the directory is an error that the operator can fix."""
    (tmp_path / "state").write_text("")

    expected = r"the state directory .*state/sessions cannot be used: Not a directory"
    with pytest.raises(ConfigError, match=expected), locked(tmp_path / "state" / "sessions"):
        pass
