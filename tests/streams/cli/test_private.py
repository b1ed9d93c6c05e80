"""Tests that files are readable by their owner and group only."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from streams.cli.private import private_files


@pytest.mark.parametrize(
    ("umask", "file", "directory"), [(0, 0o640, 0o750), (0o022, 0o640, 0o750), (0o077, 0o600, 0o700)]
)
def test_others_have_no_access(tmp_path: Path, umask: int, file: int, directory: int) -> None:
    """A stricter umask stays, and leaving the context restores the previous one."""
    before = os.umask(umask)
    try:
        with private_files():
            (tmp_path / "file").write_text("")
            (tmp_path / "directory").mkdir()
        (tmp_path / "after").write_text("")
    finally:
        os.umask(before)

    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert {"file": file, "directory": directory, "after": 0o666 & ~umask} == modes
