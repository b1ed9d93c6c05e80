"""The bench of growing input, in a short form."""

from __future__ import annotations

import pytest

from tests.bench import bench_scale

pytestmark = pytest.mark.bench

AT_MOST = 3
"""The goal is 2; a machine that does other things meanwhile moves the ratio of two short times."""


def test_doubled_input_takes_at_most_twice_as_long() -> None:
    """The bench itself refuses to measure unless the results follow from the records alone."""
    figures = bench_scale.measure(copies=3, runs=3)

    assert figures.signals > 0
    assert max(figures.ratios.values()) <= AT_MOST
