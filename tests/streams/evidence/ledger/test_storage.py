"""Tests write-once storage: in a directory, and behind a URL."""

from __future__ import annotations

import os
import time
import uuid
from pathlib import Path

import pytest

from streams.errors import ConfigError
from streams.evidence.ledger import storage
from streams.evidence.ledger.storage import Storage, open_storage


@pytest.fixture(params=["directory", "memory", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """Storage of each kind."""
    places = {
        "directory": str(tmp_path / "e"),
        "memory": f"memory://{uuid.uuid4()}",
        "file": f"file://{tmp_path}/f",
    }
    return open_storage(places[request.param])


def test_a_file_is_made_once(store: Storage) -> None:
    """A file is read back, and cannot be created again."""
    store.create("a/b/c", b"one")

    with pytest.raises(FileExistsError):
        store.create("a/b/c", b"two")

    assert store.read("a/b/c") == b"one"


@pytest.mark.parametrize("size_bytes", [0, 1, 65_535, 65_536, 65_537, 300_000])
def test_a_file_of_any_size_is_read_whole(store: Storage, size_bytes: int) -> None:
    """A file of any size is read completely."""
    content = bytes(at % 251 for at in range(size_bytes))

    store.create("a", content)

    assert content == store.read("a")


def test_names_are_those_in_the_directory(store: Storage) -> None:
    """Names are sorted and without the path; an empty directory has none."""
    for path in ("a/c", "a/b/x", "d"):
        store.create(path, b"")

    assert ["b", "c"] == store.names("a")
    assert [] == store.names("z")
    assert {"a", "d"} == {*store.names("")} - {storage.PARTIAL}


def test_missing_file_cannot_be_read(store: Storage) -> None:
    """A missing file is reported as missing."""
    with pytest.raises(FileNotFoundError):
        store.read("a/b")


def test_the_last_seal_is_found(store: Storage) -> None:
    """The last seal is the one with the highest number, whichever directory it is in."""
    assert storage.last_seal(store) is None

    for number in (0, 999, 1_000, 2_000_001, 999_999):
        store.create(storage.seal_path(number), b"")

    assert storage.last_seal(store) == 2_000_001


@pytest.mark.parametrize("path", ["seals/000/000/001.jsonl", "seals/000/zzz/000.tlog", "seals/000/001/1000.tlog"])
def test_a_file_that_is_no_seal_is_named(tmp_path: Path, path: str) -> None:
    """An unknown file in place of the last seal is an error."""
    store = open_storage(str(tmp_path))
    store.create(storage.seal_path(0), b"")
    store.create(path, b"")

    with pytest.raises(ValueError, match=f"{path} is not a seal"):
        storage.last_seal(store)


def test_an_empty_directory_holds_no_seal(tmp_path: Path) -> None:
    """A ledger that was killed after it created the directory of the next seal has not created a seal."""
    store = open_storage(str(tmp_path))
    store.create(storage.seal_path(999), b"")

    (tmp_path / "seals/000/001").mkdir()
    (tmp_path / "seals/001").mkdir()

    assert storage.last_seal(store) == 999


def test_files_cannot_be_written_to(tmp_path: Path) -> None:
    """In a directory a file is read-only, and no partial file is left."""
    open_storage(str(tmp_path)).create("a", b"1")

    assert (tmp_path / "a").stat().st_mode & 0o222 == 0
    assert [] == [*(tmp_path / storage.PARTIAL).iterdir()]


@pytest.mark.parametrize(
    ("umask", "file", "directory"), [(0, 0o440, 0o750), (0o022, 0o440, 0o750), (0o077, 0o400, 0o700)]
)
def test_evidence_is_for_its_owner_and_group(tmp_path: Path, umask: int, file: int, directory: int) -> None:
    """Others cannot read it, whatever the umask; a stricter umask applies."""
    before = os.umask(umask)
    try:
        open_storage(str(tmp_path / "above" / "evidence")).create("seals/a", b"1")
    finally:
        os.umask(before)

    made = [*(tmp_path / "above").rglob("*"), tmp_path / "above"]
    assert {file} == {path.stat().st_mode & 0o777 for path in made if path.is_file()}
    assert {directory} == {path.stat().st_mode & 0o777 for path in made if path.is_dir()}


def test_partial_files_of_a_killed_ledger_are_removed(tmp_path: Path) -> None:
    """The next ledger removes an old partial file, not one that another may be writing; a reader removes nothing."""
    partial = tmp_path / storage.PARTIAL
    partial.mkdir()
    for name, age_s in (("old", 7200), ("new", 0)):
        (partial / name).write_bytes(b"")
        os.utime(partial / name, (time.time() - age_s,) * 2)

    store = open_storage(str(tmp_path))
    seen_by_reader = sorted(path.name for path in partial.iterdir())
    store.create("a", b"")

    assert seen_by_reader == ["new", "old"]
    assert ["new"] == [path.name for path in partial.iterdir()]


@pytest.mark.parametrize(
    ("place", "retention_s"),
    [("nosuch://x", None), ("memory://x", 5), ("/tmp/x", 5)],  # noqa: S108, nothing is made
)
def test_unsupported_target_is_refused(place: str, retention_s: int | None) -> None:
    """An unknown kind of URL, and a retention without locks, are configuration errors."""
    with pytest.raises(ConfigError):
        open_storage(place, retention_s)
