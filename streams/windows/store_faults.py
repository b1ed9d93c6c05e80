"""Translates the errors of a store, by who must act: the operator on the disk, or nobody, because windows are rebuilt.

In: messages of RocksDB or the operating system, which come without codes. Out: the error to raise.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from streams.errors import NotDoneError, StateError

_BUSY = "stop the other worker that has it open"
_ROOM = "free some space on the disk, then start again: no data is lost"
_RIGHTS = "make the directory writable for this user, then start again: no data is lost"
_ACTIONS = {
    "No space left on device": _ROOM,
    "disk quota exceeded": _ROOM,
    "Read-only file system": "mount the disk read-write, then start again: no data is lost",
    "Permission denied": _RIGHTS,
    "Operation not permitted": _RIGHTS,
    "lock hold by current process": _BUSY,
    "Resource temporarily unavailable": _BUSY,
    "Input/output error": "check the disk in the system log; on another disk, with an empty state directory, "
    "all windows are rebuilt from the facts log",
}
_DAMAGE = ("Corruption", "CURRENT", "MANIFEST", "No such file or directory")


class DamagedError(NotDoneError):
    """The store is damaged: it must be deleted, and its windows rebuilt from the facts log."""


def error_of(path: Path, what: str, error: Exception) -> StateError | DamagedError:
    """Return the error to raise when the store at `path` could not be opened, used or deleted (`what`)."""
    text = str(error)
    for words, action in _ACTIONS.items():
        if words.lower() in text.lower():
            return StateError(f"the store {path} cannot be {what}: {text}", action=action)
    if isinstance(error, msgspec.DecodeError) or any(words in text for words in _DAMAGE):
        return DamagedError(f"the store {path} cannot be {what}, it is damaged: {text}")
    return StateError(
        f"the store {path} cannot be {what}: {text}",
        action="check the disk; if it is sound, delete the store: its windows are rebuilt from the facts log",
    )


@contextmanager
def translated_errors(path: Path, what: str = "used") -> Iterator[None]:
    """Raise whatever fails inside as `error_of` translates it."""
    try:
        yield
    except (DamagedError, StateError, GeneratorExit):
        raise
    except Exception as error:  # rocksdict raises nothing narrower
        raise error_of(path, what, error) from error


def delete(path: Path) -> None:
    """Delete the store at `path`; raises `StateError` when that fails."""
    with translated_errors(path, "deleted"):
        if path.exists():
            shutil.rmtree(path)
