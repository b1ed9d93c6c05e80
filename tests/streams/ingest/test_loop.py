"""What an ingest worker reports while it works; tests/broker checks what it writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.observe import metrics
from tests.support.ingesting import Site
from tests.support.waiting import wait_until

pytestmark = pytest.mark.broker


def test_worker_that_reads_and_commits_is_ready(kafka: str, fresh_prefix: str, tmp_path: Path) -> None:
    """It is ready once it has its partitions; its flushes are counted, and its watermark is reported."""
    site = Site.made(kafka, fresh_prefix, tmp_path, {"spans": 1})
    site.write(site.spans, 0, range(3), [10_000, 11_000, 12_000])
    before = metrics.totals()["flushes"]
    shown = {"topic": site.spans, "source_partition": "0"}

    def watermark_s() -> float | None:
        return metrics.REGISTRY.get_sample_value("betrace_watermark_timestamp_seconds", shown)

    with site.ingesting() as ingest:
        at_start = ingest._health.gaps()
        wait_until(lambda: watermark_s() is not None, "the watermark is shown")
        wait_until(lambda: bool(site.committed()), "something is committed")
        at_work = ingest._health.gaps()

    assert [] == at_work
    assert [each for each in at_start if "assigned partitions" in each] == at_start
    assert metrics.totals()["flushes"] > before
