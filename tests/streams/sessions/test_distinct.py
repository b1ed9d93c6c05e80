"""The estimate of distinct traces."""

from __future__ import annotations

import pytest

from streams.sessions.distinct import DistinctTraces


def ids(count: int) -> list[bytes]:
    """Distinct trace ids, in which an application counts."""
    return [number.to_bytes(16, "big") for number in range(count)]


@pytest.mark.parametrize("count", [1, 10, 1_000, 10_000, 12_000, 200_000])
def test_the_estimate_is_near(count: int) -> None:
    """Few are counted nearly exactly, many to within three standard errors."""
    traces = DistinctTraces()

    traces.add(ids(count))

    assert abs(traces.estimate() - count) <= max(count * 0.049, 1)


def test_a_trace_counts_once() -> None:
    """Order and repetition change nothing."""
    once, again = DistinctTraces(), DistinctTraces()

    once.add(ids(5_000))
    again.add([*reversed(ids(5_000)), *ids(3_000)])

    assert once.estimate() == again.estimate()
