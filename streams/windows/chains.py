"""The chains of a facts partition: those in use are objects in memory, cold ones are only on disk."""

from __future__ import annotations

from typing import TypeAlias

from streams.windows.chain import Chain
from streams.windows.tiers import Table, Tiers

MEMORY_PER_STORED_BYTE = 14
"""Bytes of memory per byte of a chain's stored form, as measured by tests/bench/bench_windows.py."""

Chains: TypeAlias = Tiers[Chain]


def chains(table: Table[Chain] | None, filter_bytes: int) -> Chains:
    """Create the collection, empty until the chains of `table` are restored."""
    return Tiers(table, memory_per_stored_byte=MEMORY_PER_STORED_BYTE, filter_bytes=filter_bytes)
