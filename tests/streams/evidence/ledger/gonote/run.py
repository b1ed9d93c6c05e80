"""Go's golang.org/x/mod/sumdb/note, as a program that tests call."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
RUN_S = 300


class GoMissingError(Exception):
    """There is no Go."""


def gonote(command: str, *keys: str, text: bytes) -> subprocess.CompletedProcess[bytes]:
    """Runs `gonote`; raises `GoMissingError`."""
    go = shutil.which("go")
    if go is None:
        raise GoMissingError("no Go toolchain on the PATH")
    words = [go, "run", ".", command, *keys]
    return subprocess.run(words, cwd=HERE, input=text, capture_output=True, timeout=RUN_S, check=False)
