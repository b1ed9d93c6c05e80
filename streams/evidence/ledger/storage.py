"""Write-once storage: files that are created whole, once, and never changed.

    seals/000/000/042.tlog     number 42: what it adds, and the signed head after it (`streams.evidence.ledger.seal`)

In: a directory or an fsspec URL (`s3://bucket/evidence`). If two ledgers create the same file, one succeeds and the
other gets `FileExistsError`; an existing file is complete, whenever its writer was killed.

On S3 that is a conditional put. With a retention, objects are locked (Object Lock, compliance mode) if the bucket
supports it; a bucket with a default retention needs none.
"""

from __future__ import annotations

import os
import re
import secrets
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from streams.errors import ConfigError

SEALS = "seals"

RETENTION = "retention"
"""Acts of retention (`streams.evidence.audit.acts`)."""

PARTIAL = ".partial"
"""In a directory: files that are being written; what a killed ledger left there is not evidence."""

FILE_MODE, DIRECTORY_MODE = 0o440, 0o750
"""In a directory: permissions of the owner and group, less the umask; others have none."""

_LEFT_BEHIND_S = 3600
_READ_BYTES = 1 << 16
_GROUP = 1000
_SEAL_PATH = re.compile(SEALS + r"/([0-9]{3})/([0-9]{3})/([0-9]{3})\.tlog")


class Storage(Protocol):
    """The storage of evidence; paths are relative, with slashes."""

    def create(self, path: str, content: bytes) -> None:
        """Create the file, durably; raises `FileExistsError` if it exists."""

    def read(self, path: str) -> bytes:
        """Return the file's content; raises `FileNotFoundError`."""

    def remove(self, path: str) -> None:
        """Remove a file that is not evidence; raises `FileNotFoundError`, or `OSError` if it is locked."""

    def names(self, path: str) -> list[str]:
        """Return the names in a directory, sorted; empty if it does not exist, a file's own name for a file."""


class Directory:
    """Storage in a local directory."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._is_cleared = False

    def create(self, path: str, content: bytes) -> None:
        """Create the file as `Storage.create` does: write a partial file, then link it to its name if that is free."""
        target, partial = self._root / path, self._root / PARTIAL / secrets.token_hex(8)
        for directory in (target.parent, partial.parent):
            _make_directory(directory)
        if not self._is_cleared:
            self._clear_partial()
            self._is_cleared = True
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE), "wb") as file:
            try:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                os.link(partial, target)
            finally:
                partial.unlink()
        # Sync the directories too, or a power failure loses the file's name.
        for directory in (target.parent, *target.parents[1 : 1 + path.count("/")]):
            _sync(directory)

    def read(self, path: str) -> bytes:
        """Read the file as `Storage.read` does."""
        # Not through a file object, which costs more than reading a small file.
        descriptor = os.open(f"{self._root}/{path}", os.O_RDONLY)
        try:
            parts = []
            while part := os.read(descriptor, _READ_BYTES):
                parts.append(part)
        finally:
            os.close(descriptor)
        return b"".join(parts)

    def remove(self, path: str) -> None:
        """Remove the file as `Storage.remove` does."""
        (self._root / path).unlink()
        _sync((self._root / path).parent)

    def path(self, path: str) -> Path:
        """Return the local path of a file."""
        return self._root / path

    def names(self, path: str) -> list[str]:
        """Return the names as `Storage.names` does."""
        try:
            return sorted(os.listdir(self._root / path))  # noqa: PTH208, a path for each name is dear
        except FileNotFoundError:
            return []
        except NotADirectoryError:
            return [Path(path).name]

    def _clear_partial(self) -> None:
        """Remove what a killed ledger left behind, but nothing that another one may be writing."""
        for path in (self._root / PARTIAL).glob("*"):
            # The other ledger may finish, and remove its file, at any time.
            with suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > _LEFT_BEHIND_S:
                    path.unlink()


class Remote:
    """Storage behind an fsspec URL; `retention_s` locks objects for that long if the target supports it."""

    def __init__(self, url: str, retention_s: int | None = None) -> None:
        import fsspec  # noqa: PLC0415, it takes long to import, and a directory needs none of it

        try:
            self._files, self._root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise ConfigError(f"{url} cannot be opened: {error}") from error
        self._retention_s = retention_s if retention_s is not None and self._has_lock() else None
        if retention_s is not None and self._retention_s is None:
            raise ConfigError(f"{url} does not support Object Lock: create the bucket with it, or set no retention")

    def create(self, path: str, content: bytes) -> None:
        """Create the file as `Storage.create` does."""
        target = self._path(path)
        self._files.makedirs(self._files._parent(target), exist_ok=True)  # noqa: SLF001, fsspec's own way
        self._files.pipe_file(target, content, mode="create", **self._lock())

    def read(self, path: str) -> bytes:
        """Read the file as `Storage.read` does."""
        content = self._files.cat_file(self._path(path))
        return content if isinstance(content, bytes) else bytes(content)

    def remove(self, path: str) -> None:
        """Remove the file as `Storage.remove` does."""
        self._files.rm_file(self._path(path))

    def names(self, path: str) -> list[str]:
        """Return the names as `Storage.names` does."""
        self._files.invalidate_cache()
        try:
            paths = self._files.ls(self._path(path), detail=False)
        except FileNotFoundError:
            return []
        return sorted(str(name).rstrip("/").rpartition("/")[2] for name in paths)

    def _path(self, path: str) -> str:
        return f"{self._root.rstrip('/')}/{path}".rstrip("/")

    def _has_lock(self) -> bool:
        ask = getattr(self._files, "call_s3", None)
        if ask is None:
            return False
        bucket = self._root.split("/")[0]
        try:
            answer = ask("get_object_lock_configuration", Bucket=bucket)
        except OSError:
            return False
        return bool(answer["ObjectLockConfiguration"].get("ObjectLockEnabled") == "Enabled")

    def _lock(self) -> dict[str, Any]:
        if self._retention_s is None:
            return {}
        until = datetime.fromtimestamp(time.time() + self._retention_s, UTC)
        return {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": until}


def open_storage(location: str, retention_s: int | None = None) -> Storage:
    """Return the storage at a directory or a URL; raises `ConfigError` if it does not support what is required."""
    if "://" in location:
        return Remote(location, retention_s)
    if retention_s is not None:
        raise ConfigError("a retention needs a target with Object Lock, such as s3://bucket/evidence")
    return Directory(Path(location))


def seal_path(number: int) -> str:
    """Return the path of seal `number` and its tree head.

    >>> seal_path(1234567)
    'seals/001/234/567.tlog'
    """
    return f"{SEALS}/{number // _GROUP**2:03}/{number // _GROUP % _GROUP:03}/{number % _GROUP:03}.tlog"


def seal_number(path: str) -> int | None:
    """Return the inverse of `seal_path`, None for any other file.

    >>> seal_number("seals/001/234/567.tlog"), seal_number("seals/1/2/3.tlog")
    (1234567, None)
    """
    match = _SEAL_PATH.fullmatch(path)
    return int("".join(match.groups())) if match else None


def last_seal(store: Storage) -> int | None:
    """Return the highest number of a seal, None if there is none; raises `ValueError` for an unknown file."""
    for first in reversed(store.names(SEALS)):
        for second in reversed(store.names(f"{SEALS}/{first}")):
            # A directory may be empty if a ledger was killed before it created the file.
            for file in reversed(store.names(f"{SEALS}/{first}/{second}")):
                path = f"{SEALS}/{first}/{second}/{file}"
                number = seal_number(path)
                if number is None:
                    raise ValueError(f"{path} is not a seal that this version knows")
                return number
    return None


def _make_directory(directory: Path) -> None:
    """Create a directory and its missing parents; `Path.mkdir` applies the mode only to the last one."""
    if directory.is_dir():
        return
    _make_directory(directory.parent)
    directory.mkdir(DIRECTORY_MODE, exist_ok=True)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
