"""The bench of evidence, in a short form."""

from __future__ import annotations

import pytest

from tests.bench import bench_evidence

pytestmark = pytest.mark.bench


def test_evidence_of_a_day_is_verified_and_reported() -> None:
    """The bench's evidence is complete and has every verdict, so it measures what an auditor waits for."""
    figures = bench_evidence.measure(days=1, verdict_count=2000, partitions=2)

    assert (1440, 2000, 0, True) == (figures.seals, figures.verdicts, figures.findings, figures.is_whole)
