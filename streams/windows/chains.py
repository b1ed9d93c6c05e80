"""The chains of a facts partition: those in use as objects, the cold ones only on disk."""

from __future__ import annotations

from typing import TypeAlias

from streams.windows.chain import Chain
from streams.windows.tiers import Table, Tiers

MEMORY_PER_STORED_BYTE = 14
"""How much memory a chain takes for each byte of its stored form; measured by tests/bench/bench_windows.py."""

Chains: TypeAlias = Tiers[Chain]


def chains(table: Table[Chain] | None, filter_bytes: int) -> Chains:
    """No chains yet, but those that `table` has and that are to be restored."""
    return Tiers(table, memory_per_stored_byte=MEMORY_PER_STORED_BYTE, filter_bytes=filter_bytes)
