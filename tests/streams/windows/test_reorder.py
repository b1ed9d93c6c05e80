"""The reorder buffer, in memory and on disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.windows.reorder import Arrival, ReorderBuffer
from streams.windows.rocksdb import FORMAT, Identity, Store
from tests.support.builders import TOPIC, entry, fact
from topics.records.facts import Touch, pack_touches

IDENTITY = Identity(FORMAT, "cluster", "topic", "bounds")
ENDLESS = 1 << 60


def filled(buffer: ReorderBuffer) -> ReorderBuffer:
    """Add arrivals and touches in four ticks, the highest first."""
    for tick in (9, 8, 7, 8, 300):
        buffer.add(tick, Arrival(TOPIC, 0, entry(tick, fact(tick))), 100 - tick)
        buffer.add_touches(tick, pack_touches([Touch(bytes(16), tick, 1)]), 100 - tick)
    return buffer


def contents(buffer: ReorderBuffer, until: int | None = None) -> list[tuple[int, list[Arrival], bytes]]:
    """Take everything below a tick."""
    return [(tick, at.arrivals, bytes(at.touches)) for tick, at in buffer.take(until)]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store."""
    with Store(tmp_path / "store", IDENTITY) as store:
        yield store


@pytest.mark.parametrize("limit_bytes", [0, 5_000, ENDLESS])
def test_spilled_ticks_are_returned(store: Store, limit_bytes: int) -> None:
    """A tick is complete when its time comes, spilled or not; more may arrive in between."""
    expected = filled(filled(ReorderBuffer()))
    buffer = filled(ReorderBuffer(store))
    buffer.spill(limit_bytes)
    filled(buffer)
    buffer.spill(limit_bytes)

    taken = contents(buffer, until=9) + contents(buffer)

    assert [7, 8, 9, 300] == [tick for tick, _, _ in taken]
    for (_, arrivals, touches), (_, before, packed) in zip(taken, contents(expected), strict=True):
        assert (len(before), packed) == (len(arrivals), touches)
        assert all(arrival in before for arrival in arrivals)


def test_latest_ticks_are_spilled_first(store: Store) -> None:
    """The next ticks stay in memory, as many as fit in half the limit."""
    buffer = filled(ReorderBuffer(store))
    all_bytes = buffer.held_bytes

    buffer.spill(all_bytes - 1)

    assert 0 < buffer.held_bytes <= all_bytes // 2
    assert not buffer._ticks[7].is_spilled
    assert buffer._ticks[300].is_spilled


def test_spilled_ticks_still_require_the_log(store: Store) -> None:
    """The facts log is kept from the lowest offset of everything buffered, spilled or not."""
    buffer = filled(ReorderBuffer(store))

    buffer.spill(0)

    assert (0, -200, 4) == (buffer.held_bytes, buffer.lowest_offset(), len(buffer))


def test_nothing_spilled_outlives_the_program(tmp_path: Path) -> None:
    """Spilled ticks are read again from the facts log, so they must not survive a restart."""
    with Store(tmp_path / "store", IDENTITY) as before:
        filled(ReorderBuffer(before)).spill(0)
    with Store(tmp_path / "store", IDENTITY) as store:
        left = [store.take(tick) for tick in (7, 8, 9, 300)]

    assert [[], [], [], []] == left


def test_without_a_store_everything_stays_in_memory() -> None:
    """Without a store, as for a file, everything stays in memory."""
    buffer = filled(ReorderBuffer())
    held_bytes = buffer.held_bytes

    buffer.spill(0)

    assert held_bytes == buffer.held_bytes


def test_nothing_is_buffered_after_clear(store: Store) -> None:
    """Clearing the buffer also clears the spill store."""
    buffer = filled(ReorderBuffer(store))
    buffer.spill(0)

    buffer.clear()

    assert (0, None, []) == (len(buffer), buffer.lowest_offset(), store.take(300))
