"""Tests the location of an archive: what cannot be used is refused, with the reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.archive.store import Store
from streams.errors import ConfigError


def test_unknown_url() -> None:
    """A URL of an unknown file system is a configuration error."""
    with pytest.raises(ConfigError, match="the archive nowhere://x cannot be reached"):
        Store.at("nowhere://x")


def test_prepared_store_is_empty(tmp_path: Path) -> None:
    """Preparing creates the directory and leaves nothing in it."""
    store = Store.at(str(tmp_path / "new" / "archive"))

    store.prepare()

    assert list((tmp_path / "new" / "archive").iterdir()) == []


@pytest.mark.parametrize("path", ["file", "file/below"])
def test_unwritable_location(tmp_path: Path, path: str) -> None:
    """An unwritable location is refused before anything is read."""
    (tmp_path / "file").touch()

    with pytest.raises(ConfigError, match="is not writable"):
        Store.at(str(tmp_path / path)).prepare()
