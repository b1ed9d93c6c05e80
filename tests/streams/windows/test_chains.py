"""Which chains a store must be told of."""

from __future__ import annotations

from streams.windows.chain import Chain
from streams.windows.chains import Chains

TRACE = bytes(16)
SIZE_BYTES = 40


def chain() -> Chain:
    """A chain of one arrival."""
    return Chain(1, 1, 0, 2)


def test_chain_that_came_and_went_is_not_written() -> None:
    """A chain that no store has heard of costs nothing when it is gone."""
    chains = Chains()
    chains.put(TRACE, chain())

    chains.remove(TRACE)

    assert (set(), 0, 0) == (chains.changed, len(chains), chains.hot_count)


def test_chain_that_is_stored_is_deleted() -> None:
    """A chain that was written is gone from the store too, even when it has changed since."""
    chains = Chains()
    chains.put(TRACE, chain())
    chains.written({TRACE: SIZE_BYTES})
    chains.put(TRACE, chain())

    chains.remove(TRACE)

    assert ({TRACE}, 0) == (chains.changed, len(chains))


def test_cold_chain_is_deleted() -> None:
    """A chain that is only in the store is deleted there."""
    chains = Chains()
    chains.restore(TRACE)

    chains.remove(TRACE)

    assert {TRACE} == chains.changed


def test_chain_that_came_again_is_deleted() -> None:
    """A stored chain that is gone, and one of the same trace that came after it and is gone too, leave nothing."""
    chains = Chains()
    chains.restore(TRACE)
    chains.remove(TRACE)
    chains.put(TRACE, chain())

    chains.remove(TRACE)

    assert {TRACE} == chains.changed
