"""Where an archive is: a directory or any URL that fsspec knows, and the files in it.

In: a directory or a URL. Out: its files, opened, made and removed. What must hold: a file that has its name is whole:
it is written as `….part` and renamed at the end. Object stores need the extra package that fsspec names (s3fs, gcsfs,
adlfs).
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from streams.archive import names
from streams.archive.names import ArchiveFile, Contents
from streams.errors import ConfigError, StateError

PART = ".part"


@dataclass(frozen=True, slots=True)
class Store:
    """An archive's place; `root` is the path inside the file system."""

    fs: Any
    root: str

    @classmethod
    def at(cls, url: str) -> Store:
        """The archive at a directory or URL; nothing is made.

        Raises:
            ConfigError: no file system is known for the URL, or its package is not installed.
        """
        try:
            fs, root = fsspec.core.url_to_fs(url)
        except (ValueError, ImportError) as error:
            raise ConfigError(f"the archive {url} cannot be reached: {error}") from error
        return cls(fs, root.rstrip("/"))

    def contents(self) -> Contents:
        """What is in the archive now.

        Raises:
            StateError: it cannot be listed.
        """
        self.fs.invalidate_cache()
        try:
            paths = self._paths()
        except Exception as error:  # as in `prepare`
            reason = str(error) or type(error).__name__
            raise StateError(
                f"the archive {self.root} cannot be read: {reason}", action="see whether it is reachable"
            ) from error
        return names.contents(file for path in paths if (file := names.parse(path)) is not None)

    def _paths(self) -> list[str]:
        # A directory that may not be listed is passed over in silence, unless one asks for the error.
        strictly = {"on_error": "raise"} if self.is_local and self.fs.exists(self.root) else {}
        found: list[str] = self.fs.find(self.root, **strictly)
        return found

    def prepare(self) -> None:
        """Makes the archive's root and sees that files can be written there.

        Raises:
            ConfigError: they cannot.
        """
        probe = f"{self.root}/probe{PART}"
        try:
            self.fs.makedirs(self.root, exist_ok=True)
            self.fs.pipe_file(probe, b"1")
            with suppress(FileNotFoundError):  # somebody else who starts now removed it
                self.fs.rm_file(probe)
        except Exception as error:  # every file system has errors of its own, for missing credentials among others
            reason = str(error) or type(error).__name__
            raise ConfigError(f"nothing can be written to the archive {self.root}: {reason}") from error

    def path(self, file: ArchiveFile) -> str:
        """Where a file is, inside the file system."""
        return f"{self.root}/{file.name}"

    def url(self, file: ArchiveFile) -> str:
        """Where a file is, as DuckDB names it when `fs` is registered with it."""
        return self.path(file) if self.is_local else str(self.fs.unstrip_protocol(self.path(file)))

    @property
    def is_local(self) -> bool:
        """The archive is a directory of this machine."""
        return isinstance(self.fs, LocalFileSystem)

    def open(self, file: ArchiveFile) -> IO[bytes]:
        """A file to read from; the caller closes it."""
        opened: IO[bytes] = self.fs.open(self.path(file), "rb")
        return opened

    def begin(self, folder: str, name: str) -> Part:
        """A new file in a folder, not to be seen until it is finished."""
        self.fs.makedirs(f"{self.root}/{folder}", exist_ok=True)
        path = f"{self.root}/{folder}/{name}{PART}"
        return Part(self, path, self.fs.open(path, "wb"))

    def remove_parts(self, topic: str, partition: int) -> None:
        """Removes what a killed archiver had begun of a partition."""
        for path in self.fs.find(f"{self.root}/topic={topic}"):
            if path.endswith(PART) and f"/partition-{partition}-" in path:
                self.fs.rm_file(path)

    def remove(self, file: ArchiveFile) -> None:
        """Removes a file."""
        self.fs.rm_file(self.path(file))


@dataclass(frozen=True, slots=True)
class Part:
    """A file that is being written; `to` takes its bytes."""

    store: Store
    path: str
    to: IO[bytes]

    def close(self) -> None:
        """Ends the writing; on this machine the bytes are on the disk afterwards."""
        if self.store.is_local:
            self.to.flush()
            os.fsync(self.to.fileno())
        self.to.close()

    def finish(self, file: ArchiveFile) -> None:
        """Gives the file its name."""
        self.store.fs.mv(self.path, self.store.path(file))
