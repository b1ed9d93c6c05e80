"""The disk form of one facts partition: RocksDB through rocksdict.

In: the changes of one step. Out: on the next start, the same chains and position. One step is one WriteBatch, so the
store is always as of the end of some step.

Keys and values (values are MessagePack):

    b"c" + trace id (16 bytes)   Chain
    b"s" + trace id              Presence
    b"p"                         Position
    b"i"                         Identity: the log that this is the state of, and the format
    b"w" + tick + number         spilled parts of the reorder buffer
    b"d" + tick + trace id       index: when a cold chain is due
    b"e" + tick + trace id       index: when a cold presence is due

The last three are deleted when the store is opened. Ticks and numbers are u64, big-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Generic, Self, TypeVar

import msgspec
import structlog
from rocksdict import BlockBasedOptions, Cache, Options, Rdict, WriteBatch

from streams.windows.chain import Chain
from streams.windows.chains import Chains
from streams.windows.positions import Position
from streams.windows.presence import Presence, Presences
from streams.windows.store_faults import DamagedError, delete, translated_errors
from streams.windows.tiers import Due, Tiers

log = structlog.get_logger()

T = TypeVar("T", bound=Due)

FORMAT = 4

_CHAIN, _PRESENCE, _POSITION, _IDENTITY = b"c", b"s", b"p", b"i"
_SPILLED, _CHAIN_DUE, _PRESENCE_DUE = b"w", b"d", b"e"
_U64 = struct.Struct(">Q")

WRITE_BUFFER_BYTES = 16 << 20
BLOCK_CACHE_BYTES = 16 << 20
BLOOM_BITS = 10.0
"""For the store of each facts partition; RocksDB's defaults would take some 150 MB each."""


class Identity(msgspec.Struct, frozen=True):
    """The log that a store belongs to."""

    format: int
    cluster_id: str
    topic_id: str
    bounds: str


class StoredTable(Generic[T]):
    """The values under one prefix of a store, and the index of the cold ones under another."""

    def __init__(self, store: Store, prefix: bytes, index: bytes, decoder: msgspec.msgpack.Decoder[T]) -> None:
        self.prefix = prefix
        self._store = store
        self._index = index
        self._decoder = decoder

    def items(self) -> Iterator[tuple[bytes, T]]:
        """Yield all values by trace id."""
        for trace_id, value, _ in self.stored():
            yield trace_id, value

    def stored(self) -> Iterator[tuple[bytes, T, int]]:
        """Implement `streams.windows.tiers.Table`."""
        with translated_errors(self._store.path):
            for key, value in self._store.database.items(from_key=self.prefix):
                if not key.startswith(self.prefix):
                    return
                yield key[1:], self._decoder.decode(value), len(value)

    def get(self, trace_id: bytes) -> tuple[T, int] | None:
        """Implement `streams.windows.tiers.Table`."""
        with translated_errors(self._store.path):
            value = self._store.database.get(self.prefix + trace_id)
            return None if value is None else (self._decoder.decode(value), len(value))

    def trace_ids(self) -> Iterator[bytes]:
        """Implement `streams.windows.tiers.Table`."""
        with translated_errors(self._store.path):
            for key in self._store.database.keys(from_key=self.prefix):
                if not key.startswith(self.prefix):
                    return
                yield key[1:]

    def index_due(self, dues: Sequence[tuple[int, bytes]]) -> None:
        """Implement `streams.windows.tiers.Table`; raises as `Store.write` does."""
        batch = WriteBatch(raw_mode=True)
        for tick, trace_id in dues:
            batch.put(self._index + _U64.pack(tick) + trace_id, b"")
        with translated_errors(self._store.path):
            self._store.database.write(batch)

    def due(self, tick: int) -> Iterator[bytes]:
        """Implement `streams.windows.tiers.Table`."""
        at = self._index + _U64.pack(tick)
        with translated_errors(self._store.path):
            for key in self._store.database.keys(from_key=at):
                if not key.startswith(at):
                    return
                yield key[len(at) :]

    def drop_index(self, until: int) -> None:
        """Implement `streams.windows.tiers.Table`; raises as `Store.write` does."""
        with translated_errors(self._store.path):
            self._store.database.delete_range(self._index, self._index + _U64.pack(until + 1))

    def put_changes(self, batch: WriteBatch, changes: Tiers[T]) -> dict[bytes, int]:
        """Add the changes to a batch; return the sizes of the stored forms in bytes."""
        if changes.is_cleared:
            batch.delete_range(self.prefix, _after(self.prefix))
        sizes_bytes = {}
        for trace_id, changed in changes.changes():
            if changed is None:
                batch.delete(self.prefix + trace_id)
            else:
                value = _encode(changed)
                sizes_bytes[trace_id] = len(value)
                batch.put(self.prefix + trace_id, value)
        return sizes_bytes


class Store:
    """The RocksDB of one facts partition; a context manager that closes it."""

    def __init__(self, path: Path, identity: Identity) -> None:
        """Open the store at `path`; if it belongs to another log, delete it first.

        Raises:
            DamagedError: its files are damaged.
            StateError: it cannot be opened: another worker has it open, or the disk refuses.
        """
        self.path = path
        if path.exists() and not _belongs_to_log(path, identity):
            delete(path)
        self.database = _open(path)
        with translated_errors(path):
            self.database[_IDENTITY] = _encode(identity)
            for prefix in (_SPILLED, _CHAIN_DUE, _PRESENCE_DUE):
                self.database.delete_range(prefix, _after(prefix))
        self.chain_table = StoredTable(self, _CHAIN, _CHAIN_DUE, _decoder)
        self.presence_table = StoredTable(self, _PRESENCE, _PRESENCE_DUE, _presence_decoder)
        self._spilled_count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the database; what was written stays. A disk that refuses the rest is logged and is not an error.

        Whatever was not written is not part of a completed step, or is in RocksDB's write-ahead log.
        """
        try:
            self.database.close()
        except Exception as error:  # noqa: BLE001, rocksdict raises nothing narrower
            log.warning("store not closed cleanly", store=str(self.path), reason=str(error))

    def clear(self) -> None:
        """Delete everything but the identity."""
        with translated_errors(self.path):
            self.database.delete_range(_CHAIN, _after(_CHAIN))
            self.database.delete_range(_PRESENCE, _after(_PRESENCE))
            self.database.delete(_POSITION)

    def position(self) -> Position | None:
        """Return the position of the last step, None for a new store."""
        with translated_errors(self.path):
            value = self.database.get(_POSITION)
            return None if value is None else msgspec.msgpack.decode(value, type=Position)

    @property
    def spill_store(self) -> Self:
        """The spill store of the reorder buffer, which is this store."""
        return self

    def chains(self) -> Iterator[tuple[bytes, Chain]]:
        """Yield all chains by trace id."""
        return self.chain_table.items()

    def presences(self) -> Iterator[tuple[bytes, Presence]]:
        """Yield all presences by trace id."""
        return self.presence_table.items()

    def put(self, tick: int, values: bytes) -> None:
        """Implement `streams.windows.reorder.SpillStore`; raises as `write` does."""
        self._spilled_count += 1
        key = _SPILLED + _U64.pack(tick) + _U64.pack(self._spilled_count)
        with translated_errors(self.path):
            self.database.put(key, values)

    def take(self, tick: int) -> list[bytes]:
        """Implement `streams.windows.reorder.SpillStore`; raises as `write` does."""
        start, end = _SPILLED + _U64.pack(tick), _SPILLED + _U64.pack(tick + 1)
        spilled = []
        with translated_errors(self.path):
            for key, values in self.database.items(from_key=start):
                if key >= end:
                    break
                spilled.append(values)
            self.database.delete_range(start, end)
        return spilled

    def write(self, chains: Chains, position: Position, presences: Presences) -> None:
        """Write one step atomically: the chains and presences that changed or were removed, and the position.

        Raises:
            DamagedError: the store is damaged.
            StateError: the disk refuses.
        """
        batch = WriteBatch(raw_mode=True)
        chain_sizes_bytes = self.chain_table.put_changes(batch, chains)
        presence_sizes_bytes = self.presence_table.put_changes(batch, presences.tiers)
        batch.put(_POSITION, _encode(position))
        with translated_errors(self.path):
            self.database.write(batch)
        chains.mark_written(chain_sizes_bytes)
        presences.tiers.mark_written(presence_sizes_bytes)


_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(Chain)
_presence_decoder = msgspec.msgpack.Decoder(Presence)


def read_position(path: Path, identity: Identity) -> Position | None:
    """Return the position in the store at `path` without changing it; None if there is none, or one of another log.

    A damaged store counts as none: the worker that opens it will delete it.

    Raises:
        StateError: it cannot be opened, for the reasons that `Store` has.
    """
    if not path.exists():
        return None
    try:
        return _read_position(path, identity)
    except DamagedError as error:
        log.warning("store damaged, its windows will be rebuilt", reason=str(error))
        return None


def _read_position(path: Path, identity: Identity) -> Position | None:
    database = _open(path)
    try:
        with translated_errors(path):
            named, position = database.get(_IDENTITY), database.get(_POSITION)
            if named is None or _decoded(named) != identity or position is None:
                return None
            return msgspec.msgpack.decode(position, type=Position)
    finally:
        database.close()


def _after(prefix: bytes) -> bytes:
    """Return the first key after all keys with a prefix of one byte."""
    return bytes([prefix[0] + 1])


def _open(path: Path) -> Rdict:
    options = Options(raw_mode=True)
    options.create_if_missing(True)  # noqa: FBT003, rocksdict takes it by position only
    options.set_write_buffer_size(WRITE_BUFFER_BYTES)
    options.set_max_write_buffer_number(2)
    blocks = BlockBasedOptions()
    blocks.set_block_cache(Cache(BLOCK_CACHE_BYTES))
    blocks.set_bloom_filter(BLOOM_BITS, False)  # noqa: FBT003, rocksdict takes it by position only
    options.set_block_based_table_factory(blocks)
    with translated_errors(path, "opened"):
        path.parent.mkdir(parents=True, exist_ok=True)
        return Rdict(str(path), options)


def _belongs_to_log(path: Path, identity: Identity) -> bool:
    database = _open(path)
    try:
        with translated_errors(path):
            value = database.get(_IDENTITY)
            return value is not None and _decoded(value) == identity
    finally:
        database.close()


def _decoded(value: bytes) -> Identity | None:
    try:
        return msgspec.msgpack.decode(value, type=Identity)
    except msgspec.DecodeError:
        return None
