"""What a worker has on its disk, in memory: the store's bytes without RocksDB, for thousands of histories."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, TypeVar

import msgspec

from streams.windows.chain import Chain
from streams.windows.chains import Chains
from streams.windows.positions import Position
from streams.windows.presence import Presence, Presences
from streams.windows.tiers import Due, Tiers

T = TypeVar("T", bound=Due)


class DiskTable(Generic[T]):
    """As `streams.windows.rocksdb.StoredTable`."""

    def __init__(self, kind: type[T]) -> None:
        self._decoder = msgspec.msgpack.Decoder(kind)
        self._values: dict[bytes, bytes] = {}
        self._index: defaultdict[int, set[bytes]] = defaultdict(set)

    def items(self) -> Iterator[tuple[bytes, T]]:
        """As the table's."""
        for trace_id, value, _ in self.stored():
            yield trace_id, value

    def stored(self) -> Iterator[tuple[bytes, T, int]]:
        """As the table's."""
        for trace_id, value in self._values.items():
            yield trace_id, self._decoder.decode(value), len(value)

    def get(self, trace_id: bytes) -> tuple[T, int] | None:
        """As the table's."""
        value = self._values.get(trace_id)
        return None if value is None else (self._decoder.decode(value), len(value))

    def trace_ids(self) -> Iterator[bytes]:
        """As the table's."""
        return iter(sorted(self._values))

    def index_due(self, dues: Sequence[tuple[int, bytes]]) -> None:
        """As the table's."""
        for tick, trace_id in dues:
            self._index[tick].add(trace_id)

    def due(self, tick: int) -> Iterator[bytes]:
        """As the table's."""
        return iter(sorted(self._index.get(tick, ())))

    def drop_index(self, until: int) -> None:
        """As the table's."""
        for tick in [tick for tick in self._index if tick <= until]:
            del self._index[tick]

    def write(self, changes: Tiers[T]) -> None:
        """What changed is written."""
        if changes.is_cleared:
            self._values.clear()
        sizes_bytes = {}
        for trace_id, found in changes.changes():
            if found is None:
                self._values.pop(trace_id, None)
            else:
                value = self._values[trace_id] = msgspec.msgpack.encode(found)
                sizes_bytes[trace_id] = len(value)
        changes.mark_written(sizes_bytes)

    def forget_index(self) -> None:
        """Another worker begins."""
        self._index.clear()

    def clear(self) -> None:
        """All is gone."""
        self._values.clear()
        self._index.clear()


class Disk:
    """As `streams.windows.rocksdb.Store`; what is on it outlives the worker, as the files do."""

    def __init__(self) -> None:
        self.chain_table = DiskTable(Chain)
        self.presence_table = DiskTable(Presence)
        self._position: bytes | None = None
        self._waiting: defaultdict[int, list[bytes]] = defaultdict(list)

    @contextmanager
    def opened(self) -> Iterator[Disk]:
        """Another worker begins with it."""
        self._waiting.clear()
        self.chain_table.forget_index()
        self.presence_table.forget_index()
        yield self

    def clear(self) -> None:
        """All is gone."""
        self.chain_table.clear()
        self.presence_table.clear()
        self._position = None

    def position(self) -> Position | None:
        """As the store's."""
        return None if self._position is None else msgspec.msgpack.decode(self._position, type=Position)

    @property
    def spill_store(self) -> Disk:
        """As the store's."""
        return self

    def chains(self) -> Iterator[tuple[bytes, Chain]]:
        """As the store's."""
        return self.chain_table.items()

    def presences(self) -> Iterator[tuple[bytes, Presence]]:
        """As the store's."""
        return self.presence_table.items()

    def put(self, tick: int, values: bytes) -> None:
        """As the store's."""
        self._waiting[tick].append(values)

    def take(self, tick: int) -> list[bytes]:
        """As the store's."""
        return self._waiting.pop(tick, [])

    def write(self, chains: Chains, position: Position, presences: Presences) -> None:
        """As the store's."""
        self.chain_table.write(chains)
        self.presence_table.write(presences.tiers)
        self._position = msgspec.msgpack.encode(position)
