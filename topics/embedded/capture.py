"""Reads and writes capture files: the keys and values of a topic, to be replayed.

In: a file. Out: its frames, and the reverse. A frame is

    u32 little-endian   key length, 0 when there is no key
    bytes               key
    u32 little-endian   value length
    bytes               value

The file is compressed with gzip if its name ends in `.gz`. An incomplete frame raises `CaptureError`: no frame is
silently skipped.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple, cast

from topics.errors import CaptureError

__all__ = ["CaptureError", "Frame", "read", "write"]

LIMIT_BYTES = 128 << 20
"""The maximum length of a key or a value, so that a damaged length is detected before memory is allocated."""

_LENGTH = struct.Struct("<I")


class Frame(NamedTuple):
    """One record; an empty key is written as no key, because Kafka's partitioner treats them alike."""

    key: bytes | None
    value: bytes


def read(path: Path) -> Iterator[Frame]:
    """Yield the frames of `path` in order; raises `CaptureError` at an incomplete one, `OSError` without a file."""
    with _open(path, "rb") as file:
        for number in count():
            try:
                frame = _read_frame(file)
            except (ValueError, EOFError, OSError, zlib.error) as error:
                raise CaptureError(f"{path}: frame {number} cannot be read: {error}") from error
            if frame is None:
                return
            yield frame


def write(path: Path, frames: Iterable[Frame]) -> None:
    """Write `frames` to `path`; the same frames give the same bytes."""
    with _open(path, "wb") as file:
        for key, value in frames:
            for part in (key or b"", value):
                file.write(_LENGTH.pack(len(part)) + part)


@contextmanager
def _open(path: Path, mode: Literal["rb", "wb"]) -> Iterator[BinaryIO]:
    with path.open(mode) as file:
        if path.suffix == ".gz":
            with gzip.GzipFile(filename="", mode=mode, fileobj=file, mtime=0) as unpacked:
                yield cast("BinaryIO", unpacked)
        else:
            yield file


def _read_frame(file: BinaryIO) -> Frame | None:
    """Read the next frame, None at the end of the file; raises `ValueError` when the file ends inside it."""
    head = file.read(_LENGTH.size)
    if not head:
        return None
    key = _read_part(file, head)
    return Frame(key or None, _read_part(file, file.read(_LENGTH.size)))


def _read_part(file: BinaryIO, head: bytes) -> bytes:
    if len(head) < _LENGTH.size:
        raise ValueError(f"the file ends after {len(head)} of {_LENGTH.size} bytes of a length")
    (length,) = _LENGTH.unpack(head)
    if length > LIMIT_BYTES:
        raise ValueError(f"a part is {length} bytes, must be at most {LIMIT_BYTES}")
    part = file.read(length)
    if len(part) < length:
        raise ValueError(f"the file ends after {len(part)} of {length} bytes")
    return part
