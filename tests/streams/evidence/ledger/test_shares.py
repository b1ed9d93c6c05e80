"""Work on neighbouring seals, shared out."""

from __future__ import annotations

import os

import pytest

from streams.evidence.ledger import shares
from streams.evidence.ledger.shares import in_shares


def bounds(first: int, end: int) -> tuple[int, int, int]:
    """The bounds of a share, and in which process it was."""
    return first, end, os.getpid()


@pytest.mark.parametrize("end", [5, 6, 5 + shares.SHARE - 1])
def test_few_seals_stay_in_this_process(end: int) -> None:
    """One share, without the cost of another process."""
    assert [(5, end, os.getpid())] == [*in_shares(bounds, 5, end)]


def test_many_seals_are_shared_out_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each seal is in one share, in another process, and there are two processes a processor."""
    monkeypatch.setattr(os, "cpu_count", lambda: 1)

    found = [*in_shares(bounds, 10, 10 + 5 * shares.SHARE)]

    half = 10 + 5 * shares.SHARE // 2
    assert [(10, half), (half, 10 + 5 * shares.SHARE)] == [(first, end) for first, end, _ in found]
    assert os.getpid() not in {number for _, _, number in found}


def test_no_seals_are_one_empty_share() -> None:
    """Also of nothing there is a result."""
    assert [(0, 0, os.getpid())] == [*in_shares(bounds, 0, 0)]
