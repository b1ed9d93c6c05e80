"""What an error of a store means, and who is to act: the operator on the disk, or nobody: windows are built again.

In: what RocksDB or the operating system says, in words only. Out: the error to raise.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from streams.errors import NotDoneError, StateError

_BUSY = "stop the other worker that has it"
_ROOM = "free some space on the disk, then start again: nothing is lost"
_RIGHTS = "make the directory writable for this user, then start again: nothing is lost"
_ACTIONS = {
    "No space left on device": _ROOM,
    "disk quota exceeded": _ROOM,
    "Read-only file system": "mount the disk so that it can be written, then start again: nothing is lost",
    "Permission denied": _RIGHTS,
    "Operation not permitted": _RIGHTS,
    "lock hold by current process": _BUSY,
    "Resource temporarily unavailable": _BUSY,
    "Input/output error": "see what the system says of the disk; on another one, with an empty state directory, "
    "everything is built again from the facts",
}
_DAMAGE = ("Corruption", "CURRENT", "MANIFEST", "No such file or directory")


class DamagedError(NotDoneError):
    """The store is damaged: it is to be deleted, and what it has is built again from the facts log."""


def error_of(path: Path, what: str, error: Exception) -> StateError | DamagedError:
    """The error to raise when the store at `path` could not be opened, used or deleted: `what`."""
    text = str(error)
    for words, action in _ACTIONS.items():
        if words.lower() in text.lower():
            return StateError(f"the store {path} cannot be {what}: {text}", action=action)
    if isinstance(error, msgspec.DecodeError) or any(words in text for words in _DAMAGE):
        return DamagedError(f"the store {path} cannot be {what}, it is damaged: {text}")
    return StateError(
        f"the store {path} cannot be {what}: {text}",
        action="see what the disk has; when nothing is wrong there, delete the store: it is built again from the facts",
    )


@contextmanager
def translated_errors(path: Path, what: str = "used") -> Iterator[None]:
    """Whatever fails meanwhile is raised as `fault` has it."""
    try:
        yield
    except (DamagedError, StateError, GeneratorExit):
        raise
    except Exception as error:  # rocksdict raises nothing narrower
        raise error_of(path, what, error) from error


def delete(path: Path) -> None:
    """Deletes the store at `path`; raises `StateError` when that is not possible."""
    with translated_errors(path, "deleted"):
        if path.exists():
            shutil.rmtree(path)
