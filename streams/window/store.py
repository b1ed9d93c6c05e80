"""The disk form of one facts partition: RocksDB through rocksdict.

In: the changes of one step. Out: on the next start, the same chains and position. One step is one WriteBatch, so the
store is always as of the end of some step.

Keys and values (values are MessagePack):

    b"c" + trace id (16 bytes)   Chain
    b"p"                         Position
    b"i"                         Identity: which log this is the state of, and in which format
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
from rocksdict import Options, Rdict, WriteBatch

from streams.errors import StateError
from streams.window.clock import Mark
from streams.window.rules import RuleTimes
from streams.window.session import Chain, LostTime

FORMAT = 1

_CHAIN, _POSITION, _IDENTITY = b"c", b"p", b"i"


class SourceMark(msgspec.Struct, frozen=True, array_like=True):
    """A source partition and its mark, as stored."""

    topic: str
    partition: int
    mark: Mark


class Row(msgspec.Struct, frozen=True, array_like=True):
    """Clock and marks as they were before facts message `facts_offset`: reading can start again there."""

    facts_offset: int
    clock_ms: int | None
    marks: list[SourceMark]


class Position(msgspec.Struct, frozen=True, array_like=True):
    """Where a partition stands at the end of a step.

    Every facts message below `next_offset` was taken in, and of those everything below tick `applied_tick` was applied.
    What was taken in but not applied lies at or above `rows[0].facts_offset`. `lost` is where
    input was lost that an open chain may still have missed, `rules` from when rules may judge.
    """

    next_offset: int
    applied_tick: int | None
    rows: list[Row]
    lost: list[LostTime]
    rules: RuleTimes


class Identity(msgspec.Struct, frozen=True):
    """The log that a store belongs to."""

    format: int
    cluster_id: str
    topic_id: str
    bounds: str


class Store:
    """One partition's RocksDB; a context manager that closes it."""

    def __init__(self, path: Path, identity: Identity) -> None:
        """Opens the store at `path`; one that belongs to another log is thrown away first.

        Raises:
            StateError: it cannot be opened: another worker has it, or it is damaged.
        """
        self.path = path
        if path.exists() and not _belongs(path, identity):
            shutil.rmtree(path)
        self._db = _open(path)
        self._db[_IDENTITY] = _encode(identity)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the database; what was written stays."""
        self._db.close()

    def position(self) -> Position | None:
        """The position of the last step, None for a new store."""
        value = self._db.get(_POSITION)
        return None if value is None else msgspec.msgpack.decode(value, type=Position)

    def chains(self) -> dict[bytes, Chain]:
        """All chains, by trace id."""
        decoder = msgspec.msgpack.Decoder(Chain)
        chains = {}
        for key, value in self._db.items(from_key=_CHAIN):
            if key[:1] != _CHAIN:
                break
            chains[key[1:]] = decoder.decode(value)
        return chains

    def write(self, changed: Iterable[bytes], chains: Mapping[bytes, Chain], position: Position) -> None:
        """One step, all or nothing: the chains whose ids are in `changed` (absent ones are deleted), the position.

        Raises:
            StateError: the disk does not take it.
        """
        batch = WriteBatch(raw_mode=True)
        for trace_id in changed:
            chain = chains.get(trace_id)
            if chain is None:
                batch.delete(_CHAIN + trace_id)
            else:
                batch.put(_CHAIN + trace_id, _encode(chain))
        batch.put(_POSITION, _encode(position))
        try:
            self._db.write(batch)
        except Exception as error:  # rocksdict raises nothing narrower
            raise StateError(
                f"the store {self.path} cannot be written: {error}",
                action="see whether the disk is full, then start again",
            ) from error


_encode = msgspec.msgpack.Encoder().encode


def _open(path: Path) -> Rdict:
    path.parent.mkdir(parents=True, exist_ok=True)
    options = Options(raw_mode=True)
    options.create_if_missing(True)  # noqa: FBT003, rocksdict takes it by position only
    try:
        return Rdict(str(path), options)
    except Exception as error:  # rocksdict raises nothing narrower
        raise StateError(
            f"the store {path} cannot be opened: {error}",
            action="stop the other worker that has it; if there is none, delete it: it is rebuilt from the facts log",
        ) from error


def _belongs(path: Path, identity: Identity) -> bool:
    database = _open(path)
    try:
        value = database.get(_IDENTITY)
        return value is not None and _decoded(value) == identity
    finally:
        database.close()


def _decoded(value: bytes) -> Identity | None:
    try:
        return msgspec.msgpack.decode(value, type=Identity)
    except msgspec.DecodeError:
        return None
