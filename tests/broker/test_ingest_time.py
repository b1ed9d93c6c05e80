"""Record time on a real Kafka: who waits for whom, and whose clock is believed."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import pytest

from tests.support.ingesting import Site, highest_watermark_ms, holes
from tests.support.waiting import WAIT_S, wait_until

pytestmark = pytest.mark.broker

FIRST_MS = 1_700_000_000_000


def test_partition_far_ahead_is_paused(kafka: str, fresh_prefix: str, tmp_path: Path) -> None:
    """With a quarter of an hour of record time between two partitions, sessions receives little of what lies ahead."""
    site = Site.made(kafka, fresh_prefix, tmp_path, {"spans": 2}, facts_partitions=1)
    batch, step_ms = 20_000, 45
    site.write(site.spans, 0, range(batch), (FIRST_MS + 2 * step_ms * at for at in range(batch)))
    ahead_ms = FIRST_MS + step_ms * batch
    site.write(site.spans, 1, range(batch, 2 * batch), (ahead_ms + step_ms * at for at in range(batch)))

    site.ingest_all(2 * batch)

    assert [[*range(batch)], [*range(batch, 2 * batch)]] == [site.hits()[site.spans, number] for number in (0, 1)]
    assert [] == holes(site.sections())
    assert most_ahead(site) < batch // 2


def most_ahead(site: Site) -> int:
    """How many entries of the second partition wait, at most, for the first one's time, after each message."""
    waiting: list[int] = []
    slow_ms = most = 0
    for sections in site.messages():
        for section in sections:
            if section.topic == site.spans and section.partition == 0:
                slow_ms = max(slow_ms, section.watermark_ms or 0)
            elif section.topic == site.spans:
                waiting += [entry.tick for entry in section.entries]
        waiting = [tick for tick in waiting if tick * 100 > slow_ms]
        most = max(most, len(waiting))
    return most


def test_clocks_of_producers_that_are_years_off(kafka: str, fresh_prefix: str, tmp_path: Path) -> None:
    """Records stamped years ago or years ahead are read once, and the partition's time stays with the others."""
    site = Site.made(kafka, fresh_prefix, tmp_path, {"spans": 1})
    year_ms = 365 * 86_400_000
    now_ms = time.time_ns() // 1_000_000
    off_ms = [now_ms + year_ms, now_ms, now_ms - year_ms, now_ms + 1, now_ms + year_ms, now_ms + year_ms, now_ms + 2]
    site.write(site.spans, 0, range(len(off_ms)), off_ms)

    site.ingest_all(len(off_ms))

    assert [*range(len(off_ms))] == site.hits()[site.spans, 0]
    watermarks_ms = [section.watermark_ms for section in site.sections() if section.watermark_ms is not None]
    assert max(watermarks_ms) < now_ms + WAIT_S * 1000


def test_old_record_of_a_producer(kafka: str, fresh_prefix: str, tmp_path: Path) -> None:
    """A record of 1970 in an idle partition does not hold the clock, also after a restart."""
    site = Site.made(kafka, fresh_prefix, tmp_path, {"spans": 2})
    site.write(site.spans, 1, [0], [1])

    for number in (1, 2):
        with site.ingesting():
            now_ms = time.time_ns() // 1_000_000
            site.write(site.spans, 0, [number], [now_ms])
            wait_until(partial(is_beyond, site, now_ms), "time goes on in both partitions")

    assert {(site.spans, 0): [1, 2], (site.spans, 1): [0]} == site.hits()


def is_beyond(site: Site, time_ms: int) -> bool:
    """Both partitions have told a watermark above this time."""
    told = [(section.partition, section.watermark_ms or 0) for section in site.sections()]
    return {0, 1} == {at for at, watermark_ms in told if watermark_ms > time_ms}


def test_producer_whose_timestamps_creep_ahead(kafka: str, fresh_prefix: str, tmp_path: Path) -> None:
    """Records that are each slightly ahead of the previous one never take the time beyond the local clock."""
    site = Site.made(kafka, fresh_prefix, tmp_path, {"spans": 1})
    now_ms = time.time_ns() // 1_000_000
    site.write(site.spans, 0, range(200), (now_ms + 3_000 * step for step in range(200)))

    site.ingest_all(200)

    local_ms = time.time_ns() // 1_000_000
    assert [*range(200)] == site.hits()[site.spans, 0]
    assert highest_watermark_ms(site) <= local_ms + site.settings.max_clock_skew_ms


def test_old_records_stamped_by_the_broker(kafka: str, fresh_prefix: str, tmp_path: Path) -> None:
    """If the broker stamps the records, a partition whose last record is old does not hold the clock."""
    site = Site.made(kafka, fresh_prefix, tmp_path, {"spans": 1}, message_timestamp_type="LogAppendTime")
    site.write(site.spans, 0, [0])
    stamped_ms = time.time_ns() // 1_000_000

    with site.ingesting():
        wait_until(lambda: highest_watermark_ms(site) > stamped_ms, "time goes on")

    assert [0] == site.hits()[site.spans, 0]
    assert [True] == [commit.metadata.has_broker_time for commit in site.committed().values() if commit.metadata]
