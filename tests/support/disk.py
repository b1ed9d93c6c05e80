"""What a worker has on its disk, in memory: the store's bytes without RocksDB, for thousands of histories."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from streams.windows.chain import Chain
from streams.windows.chains import Chains
from streams.windows.positions import Position
from streams.windows.presence import Presence, Presences


class Disk:
    """As `streams.windows.rocksdb.Store`; what is on it outlives the worker, as the files do."""

    def __init__(self) -> None:
        self._chains: dict[bytes, bytes] = {}
        self._presences: dict[bytes, bytes] = {}
        self._position: bytes | None = None
        self._waiting: defaultdict[int, list[bytes]] = defaultdict(list)

    @contextmanager
    def opened(self) -> Iterator[Disk]:
        """Another worker begins with it."""
        self._waiting.clear()
        yield self

    def clear(self) -> None:
        """All is gone."""
        self._chains.clear()
        self._presences.clear()
        self._position = None

    def position(self) -> Position | None:
        """As the store's."""
        return None if self._position is None else msgspec.msgpack.decode(self._position, type=Position)

    def chains(self) -> Iterator[tuple[bytes, Chain]]:
        """As the store's."""
        for trace_id, value in self._chains.items():
            yield trace_id, msgspec.msgpack.decode(value, type=Chain)

    def presences(self) -> Iterator[tuple[bytes, Presence]]:
        """As the store's."""
        for trace_id, value in self._presences.items():
            yield trace_id, msgspec.msgpack.decode(value, type=Presence)

    def chain(self, trace_id: bytes) -> tuple[Chain, int]:
        """As the store's."""
        value = self._chains[trace_id]
        return msgspec.msgpack.decode(value, type=Chain), len(value)

    def put(self, tick: int, values: bytes) -> None:
        """As the store's."""
        self._waiting[tick].append(values)

    def take(self, tick: int) -> list[bytes]:
        """As the store's."""
        return self._waiting.pop(tick, [])

    def write(self, chains: Chains, position: Position, presences: Presences) -> None:
        """As the store's."""
        for trace_id in chains.changed:
            chain = chains.get(trace_id)
            if chain is None:
                self._chains.pop(trace_id, None)
            else:
                self._chains[trace_id] = msgspec.msgpack.encode(chain)
        for trace_id in presences.changed:
            presence = presences.get(trace_id)
            if presence is None:
                self._presences.pop(trace_id, None)
            else:
                self._presences[trace_id] = msgspec.msgpack.encode(presence)
        presences.written()
        self._position = msgspec.msgpack.encode(position)
        chains.written({trace_id: len(self._chains[trace_id]) for trace_id in chains.changed & self._chains.keys()})
