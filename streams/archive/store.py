"""Accesses an archive: a directory or any URL that fsspec supports, and the files in it.

In: a directory or a URL. Out: its files, opened, created and deleted. A file with its final name is complete: it is
written as `….part` and renamed at the end. Object stores need the extra package that fsspec names (s3fs, gcsfs, adlfs).
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any

import fsspec
import pyarrow as pa
from fsspec.implementations.local import LocalFileSystem

from streams.archive import names
from streams.archive.names import ArchiveFile, ArchiveListing
from streams.errors import ConfigError, StateError

PART = ".part"


@dataclass(frozen=True, slots=True)
class Store:
    """The location of an archive; `root` is the path within the file system."""

    fs: Any
    root: str

    @classmethod
    def at(cls, url: str) -> Store:
        """Return the archive at a directory or URL; create nothing.

        Raises:
            ConfigError: no file system is known for the URL, or its package is not installed.
        """
        try:
            fs, root = fsspec.core.url_to_fs(url)
        except (ValueError, ImportError) as error:
            raise ConfigError(f"the archive {url} cannot be reached: {error}") from error
        return cls(fs, root.rstrip("/"))

    def listing(self) -> ArchiveListing:
        """Return the current content of the archive.

        Raises:
            StateError: it cannot be listed.
        """
        self.fs.invalidate_cache()
        try:
            paths = self._paths()
        except Exception as error:  # as in `prepare`
            reason = str(error) or type(error).__name__
            raise StateError(
                f"the archive {self.root} cannot be read: {reason}", action="check that it is reachable"
            ) from error
        return names.listing(file for path in paths if (file := names.parse(path)) is not None)

    def _paths(self) -> list[str]:
        # A directory that may not be listed is skipped silently unless one asks for the error.
        strictly = {"on_error": "raise"} if self.is_local and self.fs.exists(self.root) else {}
        found: list[str] = self.fs.find(self.root, **strictly)
        return found

    def prepare(self) -> None:
        """Create the archive's root and check that it is writable.

        Raises:
            ConfigError: it is not.
        """
        probe = f"{self.root}/probe{PART}"
        try:
            self.fs.makedirs(self.root, exist_ok=True)
            self.fs.pipe_file(probe, b"1")
            with suppress(FileNotFoundError):  # another process that starts now removed it
                self.fs.rm_file(probe)
        except Exception as error:  # every file system has its own errors, among others for missing credentials
            reason = str(error) or type(error).__name__
            raise ConfigError(f"the archive {self.root} is not writable: {reason}") from error

    def path(self, file: ArchiveFile) -> str:
        """Return the path of a file within the file system."""
        return f"{self.root}/{file.name}"

    def url(self, file: ArchiveFile) -> str:
        """Return the name of a file for DuckDB when `fs` is registered with it."""
        return self.path(file) if self.is_local else str(self.fs.unstrip_protocol(self.path(file)))

    @property
    def is_local(self) -> bool:
        """Whether the archive is a directory of this machine."""
        return isinstance(self.fs, LocalFileSystem)

    def open(self, file: ArchiveFile) -> Any:  # noqa: ANN401, a file of Arrow or of Python
        """Open a file for reading; the caller closes it."""
        # On this machine Arrow reads without Python's help: its threads can then hold no Python object at exit.
        return pa.OSFile(self.path(file)) if self.is_local else self.fs.open(self.path(file), "rb")

    def create(self, folder: str, name: str) -> Part:
        """Start a new file in a folder; it is not visible until it is finished."""
        self.fs.makedirs(f"{self.root}/{folder}", exist_ok=True)
        path = f"{self.root}/{folder}/{name}{PART}"
        return Part(self, path, self.fs.open(path, "wb"))

    def remove_parts(self, topic: str, partition: int) -> None:
        """Delete the incomplete files of a partition that a killed archiver left behind."""
        for path in self.fs.find(f"{self.root}/topic={topic}"):
            if path.endswith(PART) and f"/partition-{partition}-" in path:
                self.fs.rm_file(path)

    def remove(self, file: ArchiveFile) -> None:
        """Delete a file."""
        self.fs.rm_file(self.path(file))


@dataclass(frozen=True, slots=True)
class Part:
    """A file that is being written; `to` takes its bytes."""

    store: Store
    path: str
    to: IO[bytes]

    def close(self) -> None:
        """End the writing; on this machine the bytes are synced to the disk."""
        if self.store.is_local:
            self.to.flush()
            os.fsync(self.to.fileno())
        self.to.close()

    def finish(self, file: ArchiveFile) -> None:
        """Give the file its final name."""
        self.store.fs.mv(self.path, self.store.path(file))
