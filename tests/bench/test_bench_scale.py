"""The bench of growing input, in a short form."""

from __future__ import annotations

import pytest

from tests.bench import bench_scale

pytestmark = pytest.mark.bench

AT_MOST = 3
"""The goal is 2; a machine that does other things meanwhile moves the ratio of two short times."""


def test_twice_of_anything_takes_at_most_twice_as_long() -> None:
    """And says what follows from the records alone, which the bench itself refuses to measure otherwise."""
    figures = bench_scale.measure(copies=6, runs=3)

    assert figures.signals > 0
    assert max(figures.ratios.values()) <= AT_MOST
