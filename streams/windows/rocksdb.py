"""The disk form of one facts partition: RocksDB through rocksdict.

In: the changes of one step. Out: on the next start, the same chains and position. One step is one WriteBatch, so the
store is always as of the end of some step.

Keys and values (values are MessagePack):

    b"c" + trace id (16 bytes)   Chain
    b"s" + trace id              Presence
    b"p"                         Position
    b"i"                         Identity: which log this is the state of, and in which format
    b"w" + tick + number         what waits and has no room in memory; of no use to a later program (u64, big-endian)
"""

from __future__ import annotations

import shutil
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
from rocksdict import BlockBasedOptions, Cache, Options, Rdict, WriteBatch

from streams.errors import StateError
from streams.windows.chain import Chain
from streams.windows.chains import Chains
from streams.windows.positions import Position
from streams.windows.presence import Presence, Presences

FORMAT = 3

_CHAIN, _PRESENCE, _POSITION, _IDENTITY, _WAITING = b"c", b"s", b"p", b"i", b"w"
_CHAIN_END, _PRESENCE_END, _WAITING_END = b"d", b"t", b"x"
_U64 = struct.Struct(">Q")

WRITE_BUFFER_BYTES = 16 << 20
BLOCK_CACHE_BYTES = 16 << 20
BLOOM_BITS = 10.0
"""Of each facts partition's store: RocksDB's own defaults would take some 150 MB each."""


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
        self._db.delete_range(_WAITING, _WAITING_END)
        self._shelved_count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the database; what was written stays."""
        self._db.close()

    def clear(self) -> None:
        """Throws everything away but which log it is of."""
        self._db.delete_range(_CHAIN, _CHAIN_END)
        self._db.delete_range(_PRESENCE, _PRESENCE_END)
        self._db.delete(_POSITION)

    def position(self) -> Position | None:
        """The position of the last step, None for a new store."""
        value = self._db.get(_POSITION)
        return None if value is None else msgspec.msgpack.decode(value, type=Position)

    def chains(self) -> Iterator[tuple[bytes, Chain]]:
        """All chains by trace id."""
        for key, value in self._db.items(from_key=_CHAIN):
            if key[:1] != _CHAIN:
                return
            yield key[1:], _decoder.decode(value)

    def presences(self) -> Iterator[tuple[bytes, Presence]]:
        """All presences by trace id."""
        for key, value in self._db.items(from_key=_PRESENCE):
            if key[:1] != _PRESENCE:
                return
            yield key[1:], _presence_decoder.decode(value)

    def chain(self, trace_id: bytes) -> tuple[Chain, int]:
        """One chain, and the size of its stored form in bytes; raises `StateError` when it is not there."""
        value = self._db.get(_CHAIN + trace_id)
        if value is None:
            raise StateError(
                f"the store {self.path} lacks the chain of trace {trace_id.hex()}",
                action="delete it: it is rebuilt from the facts log",
            )
        return _decoder.decode(value), len(value)

    def put(self, tick: int, values: bytes) -> None:
        """Adds to what is there of a waiting tick, see `streams.windows.reorder.Shelf`; raises as `write` does."""
        self._shelved_count += 1
        key = _WAITING + _U64.pack(tick) + _U64.pack(self._shelved_count)
        with self._writing():
            self._db.put(key, values)

    def take(self, tick: int) -> list[bytes]:
        """All that is there of a waiting tick; it is not there afterwards."""
        begin, end = _WAITING + _U64.pack(tick), _WAITING + _U64.pack(tick + 1)
        found = []
        for key, values in self._db.items(from_key=begin):
            if key >= end:
                break
            found.append(values)
        with self._writing():
            self._db.delete_range(begin, end)
        return found

    def write(self, chains: Chains, position: Position, presences: Presences) -> None:
        """One step, all or nothing: chains and presences that changed (gone ones are deleted), and the position.

        Raises:
            StateError: the disk does not take it.
        """
        batch = WriteBatch(raw_mode=True)
        sizes_bytes = {}
        for trace_id in chains.changed:
            chain = chains.get(trace_id)
            if chain is None:
                batch.delete(_CHAIN + trace_id)
            else:
                value = _encode(chain)
                sizes_bytes[trace_id] = len(value)
                batch.put(_CHAIN + trace_id, value)
        for trace_id in presences.changed:
            presence = presences.get(trace_id)
            if presence is None:
                batch.delete(_PRESENCE + trace_id)
            else:
                batch.put(_PRESENCE + trace_id, _encode(presence))
        batch.put(_POSITION, _encode(position))
        with self._writing():
            self._db.write(batch)
        chains.written(sizes_bytes)
        presences.written()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # rocksdict raises nothing narrower
            raise StateError(
                f"the store {self.path} cannot be written: {error}",
                action="see whether the disk is full, then start again",
            ) from error


_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(Chain)
_presence_decoder = msgspec.msgpack.Decoder(Presence)


def look(path: Path, identity: Identity) -> Position | None:
    """The position in the store at `path`, which stays as it is; None where there is none, or one of another log.

    Raises:
        StateError: it cannot be opened, as `Store` would find, or the position cannot be read.
    """
    if not path.exists():
        return None
    database = _open(path)
    try:
        named, position = database.get(_IDENTITY), database.get(_POSITION)
        if named is None or _decoded(named) != identity or position is None:
            return None
        return msgspec.msgpack.decode(position, type=Position)
    except msgspec.DecodeError as error:
        raise StateError(
            f"the store {path} cannot be read: {error}", action="delete it: it is rebuilt from the facts log"
        ) from error
    finally:
        database.close()


def _open(path: Path) -> Rdict:
    path.parent.mkdir(parents=True, exist_ok=True)
    options = Options(raw_mode=True)
    options.create_if_missing(True)  # noqa: FBT003, rocksdict takes it by position only
    options.set_write_buffer_size(WRITE_BUFFER_BYTES)
    options.set_max_write_buffer_number(2)
    blocks = BlockBasedOptions()
    blocks.set_block_cache(Cache(BLOCK_CACHE_BYTES))
    blocks.set_bloom_filter(BLOOM_BITS, False)  # noqa: FBT003, rocksdict takes it by position only
    options.set_block_based_table_factory(blocks)
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
