"""An ingest process that stands still for a while: SIGSTOP, a suspended machine, a long pause of any kind."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition

from streams.rules import registry
from tests.support.ingesting import Site, highest_watermark_ms, holes, rules
from tests.support.waiting import wait_until

pytestmark = pytest.mark.broker

STILL_S = 3.4
"""Shorter than the session time-out, longer than out_of_order and idle_lag together make up for."""

COUNT = 10


@pytest.fixture
def site(kafka: str, fresh_prefix: str, tmp_path: Path) -> Site:
    """A source topic with one partition and one record."""
    made = Site.made(kafka, fresh_prefix, tmp_path, {"spans": 1}, facts_partitions=1)
    made.write(made.spans, 0, [0])
    registry.push(made.settings, rules(), now_ms=1)
    return made


@pytest.fixture
def run(site: Site) -> Iterator[subprocess.Popen[bytes]]:
    """An ingest process at the end of its partition."""
    with subprocess.Popen(site.command(), stderr=subprocess.DEVNULL) as started:
        try:
            wait_until(lambda: highest_watermark_ms(site) > 0, "it reads")
            yield started
        finally:
            started.kill()


@contextmanager
def stopped(run: subprocess.Popen[bytes]) -> Iterator[None]:
    """The process stands still."""
    run.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(run.pid, signal.SIGCONT)


def hits(site: Site) -> set[int]:
    """The records whose facts are written."""
    return {*site.hits()[site.spans, 0]}


def test_records_written_during_a_suspension_are_not_late(site: Site, run: subprocess.Popen[bytes]) -> None:
    """Wherever in its loop ingest was suspended, no watermark passes a record that is not sent yet."""
    for number in range(1, 4):
        with stopped(run):
            time.sleep(STILL_S / 2)
            site.write(site.spans, 0, [number])
            time.sleep(STILL_S / 2)

        wait_until(lambda: number in hits(site), "the record is read")  # noqa: B023, it is called at once

    assert [] == told_too_late(site)


def test_records_deleted_during_a_suspension_are_lost(site: Site, run: subprocess.Popen[bytes]) -> None:
    """Records that were written and deleted meanwhile are reported as lost, and the rest is read."""
    with stopped(run):
        # What it asked for before it stood still is answered, with nothing.
        time.sleep(STILL_S / 2)
        site.write(site.spans, 0, range(1, COUNT))
        for future in site.client.delete_records([TopicPartition(site.spans, 0, 5)]).values():
            future.result()

    wait_until(lambda: COUNT - 1 in hits(site), "the rest is read")

    assert {0, *range(5, COUNT)} == hits(site)
    assert {(1, 5)} == {lost for section in site.sections() for lost in section.lost}
    assert [] == holes(site.sections())


def test_suspended_worker_rejoins_its_group(site: Site, run: subprocess.Popen[bytes]) -> None:
    """The group continues without a suspended worker; when it resumes it rejoins, and every record is sent."""
    with stopped(run):
        site.write(site.spans, 0, range(1, COUNT))
        with site.ingesting():
            wait_until(lambda: COUNT - 1 in hits(site), "another worker has read on")
    site.write(site.spans, 0, [COUNT])

    wait_until(lambda: COUNT in hits(site), "it reads again")

    assert {*range(COUNT + 1)} == hits(site)
    assert [] == holes(site.sections())
    assert run.poll() is None


def told_too_late(site: Site) -> list[int]:
    """The ticks of entries below a watermark that was told before them."""
    late: list[int] = []
    watermark_ms = dict[tuple[str, int], int]()
    for section in site.sections():
        source = (section.topic, section.partition)
        late += [entry.tick for entry in section.entries if (entry.tick + 1) * 100 <= watermark_ms.get(source, 0)]
        watermark_ms[source] = max(section.watermark_ms or 0, watermark_ms.get(source, 0))
    return late
