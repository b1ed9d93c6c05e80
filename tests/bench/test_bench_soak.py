"""The short form of `tests.bench.bench_soak`: the memory of every process is told, and a trend is found."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tests.bench import bench_soak
from tests.bench.bench_latency import PARTITIONS
from tests.bench.topic import RULES
from tests.support.program import Program

pytestmark = pytest.mark.bench


@pytest.mark.broker
def test_memory_of_every_process_is_measured(kafka: str, fresh_prefix: str, tmp_path: Path) -> None:
    """The memory of the supervisor and of both stages is measured under load, and is plausible."""
    program = Program(kafka, fresh_prefix, tmp_path, RULES)
    program = dataclasses.replace(program, options=(*program.options, *bench_soak.OPTIONS))
    program.make_sources(PARTITIONS)

    looks = [*bench_soak.measure(program, 0.1, 1_000, every_s=0.5)]

    assert {"run", "ingest-1", "sessions-1"} == looks[-1].rss_mib.keys()
    assert [] == [mib for mib in looks[-1].rss_mib.values() if not 5 < mib < 2_000]
    assert looks[-1].rss_mib.keys() == bench_soak.trends(looks).keys()


@pytest.mark.parametrize(("after_mib", "is_flat"), [(100, True), (104, True), (110, False), (90, True)])
def test_memory_may_grow_by_a_twentieth(after_mib: float, is_flat: bool) -> None:  # noqa: FBT001, a parameter
    """Growth during warm-up does not count; after it, the peak may grow by a twentieth, or shrink."""
    warming = [(seconds, seconds) for seconds in range(0, 100, 10)]
    working = [(100 + 10 * n, 100 if n % 5 else 60) for n in range(10)]
    after = [(200 + 10 * n, after_mib if n % 5 else 60) for n in range(10)]

    found = bench_soak.trend([*warming, *working, *after])

    assert is_flat == found.is_flat
