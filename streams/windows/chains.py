"""The chains of a facts partition: those in use as objects, the cold ones only on disk.

In: chains by trace id, and how to read one back. Out: the same chains, whatever was put away in between. Which chains
there are is always known in memory, so that a touch of an unknown trace costs one look-up and no I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from streams.windows.chain import Chain

Load = Callable[[bytes], tuple[Chain, int]]
"""Reads a chain back: the chain, and the size of its stored form in bytes."""

MEMORY_PER_STORED_BYTE = 14
"""How much memory a chain takes for each byte of its stored form; measured by tests/bench/bench_windows.py."""


class Chains:
    """Chains by trace id.

    `changed` are the trace ids of what a store does not know yet: chains that were changed, which stay in memory, and
    those that are gone while the store still has them.
    """

    def __init__(self, load: Load | None = None) -> None:
        self.changed: set[bytes] = set()
        self._load = load or _never_cold
        self._known: dict[bytes, Chain | None] = {}
        self._stored_bytes: dict[bytes, int] = {}
        self._gone: set[bytes] = set()
        """Removed since the last step, of what the store has."""
        self._hot_bytes = 0

    def __len__(self) -> int:
        """How many chains there are, the cold ones too."""
        return len(self._known)

    def __contains__(self, trace_id: object) -> bool:
        """Whether there is a chain of this trace."""
        return trace_id in self._known

    def __iter__(self) -> Iterator[bytes]:
        """The trace ids."""
        return iter(self._known)

    @property
    def hot_count(self) -> int:
        """How many chains are in memory."""
        return len(self._stored_bytes.keys() | self.changed)

    def get(self, trace_id: bytes) -> Chain | None:
        """The chain, read back when it is cold; None when there is none."""
        known = self._known
        chain = known.get(trace_id)
        if chain is None and trace_id in known:
            chain, size_bytes = self._load(trace_id)
            self._known[trace_id] = chain
            self._warm(trace_id, size_bytes)
        return chain

    def put(self, trace_id: bytes, chain: Chain) -> None:
        """A new chain, or a changed one."""
        self._known[trace_id] = chain
        self.changed.add(trace_id)

    def restore(self, trace_id: bytes) -> None:
        """A chain that the store has, cold as it is there."""
        self._known[trace_id] = None

    def remove(self, trace_id: bytes) -> None:
        """The chain is forgotten."""
        is_cold = self._known.pop(trace_id) is None
        size_bytes = self._stored_bytes.pop(trace_id, None)
        self._hot_bytes -= size_bytes or 0
        if is_cold or size_bytes is not None:
            self._gone.add(trace_id)
        if trace_id in self._gone:
            self.changed.add(trace_id)
        else:
            self.changed.discard(trace_id)

    def written(self, sizes_bytes: Mapping[bytes, int]) -> None:
        """What was changed is on disk now, with these sizes."""
        for trace_id, size_bytes in sizes_bytes.items():
            self._warm(trace_id, size_bytes)
        self.changed.clear()
        self._gone.clear()

    def cool(self, limit_bytes: int) -> None:
        """Puts the chains that were changed longest ago out of memory, until the others fit in `limit_bytes`."""
        hot = iter(list(self._stored_bytes))
        while self._hot_bytes * MEMORY_PER_STORED_BYTE > limit_bytes:
            trace_id = next(hot, None)
            if trace_id is None:
                return
            if trace_id not in self.changed:
                self._known[trace_id] = None
                self._hot_bytes -= self._stored_bytes.pop(trace_id)

    def _warm(self, trace_id: bytes, size_bytes: int) -> None:
        self._hot_bytes += size_bytes - self._stored_bytes.pop(trace_id, 0)
        self._stored_bytes[trace_id] = size_bytes


def _never_cold(trace_id: bytes) -> tuple[Chain, int]:
    raise LookupError(f"the chain of trace {trace_id.hex()} is cold, and there is no store")
