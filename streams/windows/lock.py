"""The lock of a state directory: of two programs that are given one directory, the second one does not start.

The kernel releases it when the last process that holds the file open is gone, however it went. Stages inherit it, so
it is held until all of a killed program have ended, which they do at once.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from streams.errors import ConfigError

NAME = "lock"
WAIT_S = 5.0
"""So long the stages of a program that was killed may take to end."""
TRY_EVERY_S = 0.05


@contextmanager
def locked(directory: Path, wait_s: float | None = None) -> Iterator[int]:
    """Holds the lock of a directory, which is made if need be; gives the file descriptor that holds it.

    Raises:
        ConfigError: another program keeps it for `wait_s` (else `WAIT_S`), or the directory cannot be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(directory / NAME, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise _unusable(directory, error) from error
    try:
        _acquire(descriptor, directory, time.monotonic() + (WAIT_S if wait_s is None else wait_s))
        _note_holder(descriptor, directory)
        yield descriptor
    finally:
        os.close(descriptor)


def _note_holder(descriptor: int, directory: Path) -> None:
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    except OSError as error:
        raise _unusable(directory, error) from error


def _unusable(directory: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"the state directory {directory} cannot be used: {error.strerror}: make room, or make it writable, or give "
        "another --state-dir; nothing is lost"
    )


def _acquire(descriptor: int, directory: Path, deadline_s: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() >= deadline_s:
                raise _in_use(descriptor, directory) from error
            time.sleep(TRY_EVERY_S)
        except OSError as error:
            raise ConfigError(f"the state directory {directory} cannot be locked: {error.strerror}") from error
        else:
            return


def _in_use(descriptor: int, directory: Path) -> ConfigError:
    holder = os.pread(descriptor, 20, 0).decode(errors="replace") or "another one"
    return ConfigError(
        f"the state directory {directory} is in use by process {holder}: stop that run, or give another --state-dir"
    )
