"""The store that the sessions of a facts partition require: `streams.windows.rocksdb.Store` is one."""

from __future__ import annotations

from typing import Protocol

from streams.windows.chain import Chain
from streams.windows.presence import Presence
from streams.windows.reorder import SpillStore
from streams.windows.tiers import Table


class WindowStore(Protocol):
    """Where a facts partition keeps what it does not hold in memory."""

    @property
    def chain_table(self) -> Table[Chain]:
        """The stored chains."""

    @property
    def presence_table(self) -> Table[Presence]:
        """The stored presences."""

    @property
    def spill_store(self) -> SpillStore:
        """Where the reorder buffer spills to."""
