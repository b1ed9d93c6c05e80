"""What is in memory, what is only on disk, and which changes a store must be given."""

from __future__ import annotations

import pytest

from streams.windows.chain import Chain
from streams.windows.idfilter import IdFilter
from streams.windows.required_offsets import RefCounts
from streams.windows.store_faults import DamagedError
from streams.windows.tiers import Tiers
from streams.windows.wheel import TimerWheel
from tests.support.builders import TRACE, trace_id
from tests.support.disk import DiskTable

OTHER = trace_id("b")
FILTER_BYTES = 8


def chain(due: int = 2) -> Chain:
    """Create a chain of one arrival."""
    return Chain(1, 1, 0, due)


def tiers(table: DiskTable[Chain] | None = None) -> Tiers[Chain]:
    """Create an empty collection with a filter that is far too small."""
    return Tiers(table, memory_per_stored_byte=1, filter_bytes=FILTER_BYTES)


def cold(*dues: tuple[bytes, int]) -> tuple[Tiers[Chain], DiskTable[Chain]]:
    """Create chains that are due at these ticks, all of them only on disk."""
    table = DiskTable(Chain)
    chains = tiers(table)
    for trace, due in dues:
        chains.schedule(trace, chain(), due)
    table.write(chains)
    chains.cool(0)
    return chains, table


def taken(chains: Tiers[Chain], until: int) -> list[tuple[int, bytes]]:
    """Return what is due, and remove it."""
    found = []
    for tick, trace, _ in chains.due(until):
        chains.remove(trace)
        found.append((tick, trace))
    return found


def test_chain_removed_before_a_step_is_not_written() -> None:
    """A chain that was never written is not deleted from the store."""
    chains = tiers()
    chains.put(TRACE, chain())

    chains.remove(TRACE)

    assert (set(), 0, 0) == (chains.changed, len(chains), chains.hot_count)


def test_chain_that_is_stored_is_deleted() -> None:
    """A removed chain is deleted from the store, even if it changed since it was written."""
    table = DiskTable(Chain)
    chains = tiers(table)
    chains.put(TRACE, chain())
    table.write(chains)
    chains.put(TRACE, chain())

    chains.remove(TRACE)

    assert ({TRACE}, 0) == (chains.changed, len(chains))


def test_cold_chain_is_deleted() -> None:
    """A chain that is only in the store is deleted there, and cannot be read back meanwhile."""
    chains, table = cold((TRACE, 5))

    chains.remove(TRACE)
    before = ({TRACE}, 0, None) == (chains.changed, len(chains), chains.get(TRACE))
    table.write(chains)

    assert (True, []) == (before, list(table.items()))


def test_chain_that_returned_is_deleted() -> None:
    """A removed chain and a later one of the same trace, removed too, leave nothing in the store."""
    chains, _ = cold((TRACE, 5))
    chains.remove(TRACE)
    chains.put(TRACE, chain())

    chains.remove(TRACE)

    assert {TRACE} == chains.changed


def test_cold_chain_takes_no_memory() -> None:
    """A cold chain takes no memory, and is read back unchanged."""
    chains, _ = cold((TRACE, 5), (OTHER, 5))
    before = (chains.hot_count, len(chains), chains.held_bytes)

    found = chains.get(TRACE)

    assert (0, 2, 0) == before
    assert (chain(5), 1, 2, True) == (found, chains.hot_count, len(chains), chains.held_bytes > 0)


def test_peek_reads_nothing_back() -> None:
    """Peeking at a cold chain leaves it cold."""
    chains, _ = cold((TRACE, 5))

    found = (chains.peek(TRACE), chains.peek(OTHER))

    assert ((chain(5), None), 0) == (found, chains.hot_count)


def test_false_positives_of_the_filter() -> None:
    """With a full filter every id may be present; only those that are present are found."""
    ids = [trace_id(f"trace {number}") for number in range(100)]
    chains, _ = cold(*[(trace, 5) for trace in ids[::2]])

    found = [trace for trace in ids if chains.get(trace) is not None]

    assert (ids[::2], 50) == (found, len(chains))


def test_due_in_order() -> None:
    """What is due comes by tick and then by id, in whichever tier it is."""
    a, b, c, d = map(trace_id, "abcd")
    chains, _ = cold((b, 5), (d, 7), (c, 9))
    chains.schedule(a, chain(), 5)
    moved = chains.get(c)
    assert moved is not None
    chains.schedule(c, moved, 7)

    found = taken(chains, 8)

    assert [(5, a), (5, b), (7, c), (7, d)] == found


def test_due_again() -> None:
    """What is rescheduled before it is due comes once, at the new tick, in whichever tier it was."""
    chains, table = cold((TRACE, 5))
    for _, trace, value in chains.due(5):
        chains.schedule(trace, value, 20)
    table.write(chains)
    chains.cool(0)
    again = chains.get(TRACE)
    assert again is not None
    chains.schedule(TRACE, again, 10)
    table.write(chains)
    chains.cool(0)

    found = taken(chains, 30)

    assert [(10, TRACE)] == found


def test_due_after_a_restart() -> None:
    """After a restart the same values are due, from the store."""
    _, table = cold((TRACE, 5), (OTHER, 7))
    table.forget_index()
    chains = tiers(table)
    for trace, value, size_bytes in table.stored():
        chains.restore(trace, value, size_bytes)

    found = taken(chains, 9)

    assert [(5, TRACE), (7, OTHER)] == found


def test_store_that_lacks_a_chain() -> None:
    """A chain missing from the store is detected when it is due."""
    chains, table = cold((TRACE, 5))
    table.clear()

    with pytest.raises(DamagedError, match="lacks values that are due at tick 5"):
        list(chains.due(5))


def test_cleared() -> None:
    """The store learns that everything was cleared, and later values do not mix with earlier ones."""
    chains, table = cold((TRACE, 5), (OTHER, 5))
    chains.clear()
    before = (len(chains), chains.get(TRACE), list(chains.due(9)))
    chains.schedule(OTHER, chain(), 8)

    table.write(chains)

    assert (0, None, []) == before
    assert ([(OTHER, chain(8))], [OTHER]) == (list(table.items()), list(chains))


def test_pinned_values_stay() -> None:
    """Pinned values stay in memory."""
    table = DiskTable(Chain)
    chains = Tiers(table, memory_per_stored_byte=1, filter_bytes=FILTER_BYTES, is_pinned=lambda each: each.headless)
    chains.put(TRACE, Chain(1, 1, 0, 2, headless=True))
    chains.put(OTHER, chain())
    table.write(chains)

    chains.cool(0)

    assert 1 == chains.hot_count


def test_saturated_counter_stays_saturated() -> None:
    """A saturated counter stays saturated, so no present id is denied."""
    ids = IdFilter(1)
    for _ in range(300):
        ids.add(TRACE)
    for _ in range(299):
        ids.remove(TRACE)

    assert ids.may_have(TRACE)


def test_cancelled_ticks_take_no_memory() -> None:
    """Scheduling and cancelling the same ticks forever takes no memory."""
    wheel, needs = TimerWheel(), RefCounts()
    wheel.schedule(0, TRACE)
    needs.add(0)
    for number in range(10_000):
        tick = 1 + number % 7
        wheel.schedule(tick, TRACE)
        wheel.cancel(tick, TRACE)
        needs.add(tick)
        needs.remove(tick)

    assert (0, 0) == (wheel.lowest(), needs.lowest())
    assert len(wheel._ticks) + len(needs._heap) < 200
