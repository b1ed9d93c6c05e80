"""Locks a state directory, so that a second program that is given the same directory refuses to start.

The kernel releases the lock when the last process that holds the file open has ended, however it ended. Stages inherit
the file, so the lock is held until all stages of a killed program have ended, which takes a moment.
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
"""How long the stages of a killed program may take to end."""
TRY_EVERY_S = 0.05


@contextmanager
def locked(directory: Path, wait_s: float | None = None) -> Iterator[int]:
    """Hold the lock of a directory, which is created if necessary; yield the file descriptor that holds it.

    Raises:
        ConfigError: another program holds it for `wait_s` (default `WAIT_S`), or the directory is not writable.
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
        f"the state directory {directory} cannot be used: {error.strerror}: free space, make it writable, or choose "
        "another --state-dir; no data is lost"
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
    holder = os.pread(descriptor, 20, 0).decode(errors="replace") or "unknown"
    return ConfigError(
        f"the state directory {directory} is in use by process {holder}: stop that process, or choose "
        "another --state-dir"
    )
