"""Tests what was judged, and what was not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.evidence.report.coverage import Gap, PartitionCoverage, gaps, hours_not_judged, judged_ms

_times = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)).map(lambda two: (min(two), max(two))), max_size=5)


def covered(*judged: tuple[int | None, int]) -> PartitionCoverage:
    """The coverage of one partition."""
    made = PartitionCoverage()
    for from_ms, to_ms in judged:
        made.add(from_ms, to_ms)
    return made


def test_a_time_is_judged_when_all_partitions_judged_it() -> None:
    """A gap names the partitions that lack it, and another begins where they change."""
    partitions = {0: covered((0, 10), (10, 30)), 1: covered((0, 12), (20, 40))}

    found = gaps(partitions, {0, 1}, 0, 40)

    assert [Gap(12, 20, [1]), Gap(30, 40, [0])] == found


def test_the_first_record_says_only_where_judging_began() -> None:
    """A partition judged nothing before its first record."""
    found = gaps({0: covered((None, 10), (10, 20))}, {0}, 0, 20)

    assert [Gap(0, 10, [0])] == found


def test_partition_without_coverage_judged_nothing() -> None:
    """A partition with a log and no coverage is lacking in the whole period."""
    assert [Gap(0, 40, [1])] == gaps({0: covered((0, 40))}, {0, 1}, 0, 40)
    assert [Gap(0, 40, [])] == gaps({}, (), 0, 40)


@given(st.dictionaries(st.integers(0, 3), _times, min_size=1, max_size=3))
def test_gaps_match_a_naive_count(times: dict[int, list[tuple[int, int]]]) -> None:
    """A moment is in a gap if and only if some partition has no record over it."""
    partitions = {number: PartitionCoverage(judged=judged) for number, judged in times.items()}

    found = gaps(partitions, times, 5, 35)

    for moment in range(5, 35):
        lacking = [number for number in sorted(times) if not any(one <= moment < other for one, other in times[number])]
        assert ([lacking] if lacking else []) == [gap.partitions for gap in found if gap.from_ms <= moment < gap.to_ms]
    assert judged_ms(found, 5, 35) == 30 - sum(gap.to_ms - gap.from_ms for gap in found)
    assert (hours_not_judged(found) > 0) == bool(found)
