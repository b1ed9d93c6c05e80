"""The estimate of the number of distinct traces."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topics.distinct import DistinctTraces


def ids(count: int, first: int = 0) -> list[bytes]:
    """Return distinct trace ids, as an application that counts would choose them."""
    return [number.to_bytes(16, "big") for number in range(first, first + count)]


def sketched(trace_ids: Iterable[bytes]) -> DistinctTraces:
    """Return a sketch of these ids."""
    traces = DistinctTraces()
    traces.add(trace_ids)
    return traces


@pytest.mark.parametrize("count", [1, 10, 1_000, 10_000, 12_000, 200_000])
def test_estimate_is_close(count: int) -> None:
    """Small counts are nearly exact, large ones within three standard errors."""
    traces = sketched(ids(count))

    assert abs(traces.estimate() - count) <= max(count * 0.049, 1)


def test_standard_error_is_as_documented() -> None:
    """The standard error is 1.6 %, without bias, also where the estimate stops counting empty registers."""
    count = 14_000
    errors = [sketched(ids(count, first * count)).estimate() / count - 1 for first in range(30)]

    assert (sum(error**2 for error in errors) / len(errors)) ** 0.5 <= 0.02
    assert abs(sum(errors) / len(errors)) <= 0.01


def test_a_trace_counts_once() -> None:
    """Order and repetition have no effect."""
    once = sketched(ids(5_000))
    again = sketched([*reversed(ids(5_000)), *ids(3_000)])

    assert once.encode() == again.encode()
    assert once.estimate() == again.estimate()


@given(st.lists(st.lists(st.binary(max_size=3), max_size=40), max_size=5))
def test_merged_sketches_are_the_sketch_of_all(parts: list[list[bytes]]) -> None:
    """Merged sketches equal one sketch of all ids, and a sketch survives a round trip."""
    merged = DistinctTraces()

    for part in parts:
        merged.merge(DistinctTraces.decode(sketched(part).encode()))

    assert sketched(one for part in parts for one in part).encode() == merged.encode()


def test_merging_keeps_the_larger_of_any_two_registers() -> None:
    """Merging compares every rank with every other correctly, whatever its neighbours."""
    merged, other = DistinctTraces(), DistinctTraces()
    ranks = [(one, two) for one in range(54) for two in range(54)]
    merged._registers[: len(ranks)] = bytes(one for one, _ in ranks)
    other._registers[: len(ranks)] = bytes(two for _, two in ranks)

    merged.merge(other)

    assert [max(pair) for pair in ranks] == [*merged._registers[: len(ranks)]]
    assert not any(merged._registers[len(ranks) :])


@pytest.mark.parametrize(("count", "most_bytes"), [(0, 0), (1, 30), (100, 220), (1_000, 900), (200_000, 1_600)])
def test_a_sketch_is_small(count: int, most_bytes: int) -> None:
    """Few ids take a few bytes each, and any number of them at most 1.6 KB."""
    assert len(sketched(ids(count)).encode()) <= most_bytes
