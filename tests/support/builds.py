"""Programs that tests build once and keep in the user's cache."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable
from pathlib import Path


def cache(kind: str) -> Path:
    """The directory of one kind of built programs."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "betrace" / kind


def build_once(target: Path, build: Callable[[Path], Path]) -> Path:
    """Returns `target`, made first where it is missing; of processes that ask at the same time one builds.

    `build` gets an empty directory and returns the program's path there; what it raises is raised.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.with_name(f"{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            with tempfile.TemporaryDirectory(dir=target.parent) as directory:
                build(Path(directory)).replace(target)
    return target
