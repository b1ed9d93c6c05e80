"""The bench of replay beside live, in a short form."""

from __future__ import annotations

import pytest

from tests.bench import bench_replay

pytestmark = [pytest.mark.bench, pytest.mark.broker]


def test_live_replay_and_summary_agree(kafka: str) -> None:
    """The bench itself refuses to measure results that differ."""
    figures = next(bench_replay.measure(kafka, "partitioned_proto", 2000))

    assert figures.signals > 0
    assert min(figures.live_spans_per_s, figures.replay_spans_per_s, figures.summary_spans_per_s) > 0
