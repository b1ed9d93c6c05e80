"""Tests that seals are divided among processes."""

from __future__ import annotations

import os

import pytest

from streams.evidence.ledger import parallel
from streams.evidence.ledger.parallel import map_seal_ranges


def bounds(first: int, end: int) -> tuple[int, int, int]:
    """Returns the bounds of a range, and its process id."""
    return first, end, os.getpid()


@pytest.mark.parametrize("end", [5, 6, 5 + parallel.RANGE_SEALS - 1])
def test_few_seals_stay_in_this_process(end: int) -> None:
    """A few seals are one range, without the cost of another process."""
    assert [(5, end, os.getpid())] == [*map_seal_ranges(bounds, 5, end)]


def test_many_seals_are_divided_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each seal is in one range, in another process, and there are two processes per processor."""
    monkeypatch.setattr(os, "cpu_count", lambda: 1)

    found = [*map_seal_ranges(bounds, 10, 10 + 5 * parallel.RANGE_SEALS)]

    half = 10 + 5 * parallel.RANGE_SEALS // 2
    assert [(10, half), (half, 10 + 5 * parallel.RANGE_SEALS)] == [(first, end) for first, end, _ in found]
    assert os.getpid() not in {number for _, _, number in found}


def test_no_seals_are_one_empty_range() -> None:
    """An empty range has a result, too."""
    assert [(0, 0, os.getpid())] == [*map_seal_ranges(bounds, 0, 0)]
