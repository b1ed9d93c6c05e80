"""A terminal, to see what a program writes to one."""

from __future__ import annotations

import os
import pty
import subprocess
from pathlib import Path

from tests.support.waiting import wait_until


def on_terminal(*command: str | Path) -> str:
    """What a command writes to a terminal that is its stdout and stderr."""
    ours, theirs = pty.openpty()
    parts: list[bytes] = []

    def is_done() -> bool:
        try:
            parts.append(os.read(ours, 1 << 16))
        except OSError:  # nobody has the other end any more
            return True
        return False

    environment = os.environ | {"TERM": "xterm", "COLUMNS": "300"}
    with subprocess.Popen([*map(str, command)], stdin=theirs, stdout=theirs, stderr=theirs, env=environment):
        os.close(theirs)
        wait_until(is_done, "the command has written all")
    os.close(ours)
    return b"".join(parts).decode()
