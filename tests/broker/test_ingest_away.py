"""Ingest while its broker is away: it pauses, can be stopped, and loses nothing. Each test has a broker of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

import pytest

from streams.ingest import loop
from streams.kafka.outbox import PRODUCER
from streams.observe import metrics
from streams.rules import registry
from tests.support.ingesting import Site, holes, rules
from tests.support.waiting import wait_until
from topics.embedded import broker
from topics.embedded.broker import Broker

pytestmark = pytest.mark.broker

COUNT = 2_000
AWAY_S = 10
"""Longer than the session time-out: the worker's partitions are taken away from it."""

# The program gives up after ten seconds at most; a slow machine may take four times as long.
STOP_S = 40


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Broker]:
    """A broker of the test's own."""
    with broker.running(tmp_path / "broker") as started:
        if started.pid is None:
            pytest.skip("a broker in a container is no process of ours")
        yield started


@pytest.fixture
def site(own: Broker, tmp_path: Path) -> Site:
    """A source topic with two partitions."""
    return Site.made(own.bootstrap, "away.", tmp_path, {"spans": 2})


@contextmanager
def stopped(own: Broker) -> Iterator[None]:
    """The broker does not answer."""
    assert own.pid is not None
    os.kill(own.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(own.pid, signal.SIGCONT)


def has_read(site: Site, count: int) -> bool:
    """The first `count` records of each partition are in the facts."""
    return [set(range(count)), set(range(COUNT, COUNT + count))] == [
        set(site.hits().get((site.spans, number), ())) for number in (0, 1)
    ]


def test_suspended_broker(own: Broker, site: Site) -> None:
    """After a broker was suspended for longer than the session time-out, ingest continues."""
    for number in (0, 1):
        site.write(site.spans, number, range(number * COUNT, number * COUNT + COUNT // 2))
    with site.ingesting() as worker:
        wait_until(lambda: worker.read_count > 0, "it reads")
        with stopped(own):
            time.sleep(AWAY_S)
        for number in (0, 1):
            site.write(site.spans, number, range(number * COUNT + COUNT // 2, (number + 1) * COUNT))

        wait_until(lambda: has_read(site, COUNT), "all is read")

    assert [] == holes(site.sections())


def test_restarted_broker(own: Broker, site: Site) -> None:
    """When the broker returns, the same worker continues, and every record is read."""
    for number in (0, 1):
        site.write(site.spans, number, range(number * COUNT, number * COUNT + COUNT // 2))
    with site.ingesting() as worker:
        wait_until(lambda: worker.read_count > 0, "it reads")
        own.stop()
        again = broker.start(own.data_dir, port=int(own.bootstrap.rpartition(":")[2]))
        try:
            for number in (0, 1):
                site.write(site.spans, number, range(number * COUNT + COUNT // 2, (number + 1) * COUNT))

            wait_until(lambda: has_read(site, COUNT), "all is read")

            assert [] == holes(site.sections())
        finally:
            worker.stop()
            wait_until(lambda: worker.read_count >= 2 * COUNT, "it has read all")
            again.stop()


def test_broker_that_confirms_nothing(
    kafka: str, own: Broker, fresh_prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If only the facts' broker is suspended, reading pauses, which a metric shows; all facts are sent afterwards."""
    monkeypatch.setattr(loop, "MAX_FULL_S", 0.2)
    monkeypatch.setattr(loop, "PRODUCER", {**PRODUCER, "bootstrap.servers": own.bootstrap})
    site, told = (Site.made(each, fresh_prefix, tmp_path, {"spans": 2}) for each in (kafka, own.bootstrap))
    numbers = count()
    with site.ingesting() as worker:
        site.write(site.spans, 0, [next(numbers)])
        wait_until(lambda: bool(told.hits()), "it reads")
        with stopped(own):
            wait_until(lambda: is_paused_after(site, next(numbers)), "all partitions are paused")
            paused_at = worker.read_count
            for _ in range(COUNT):
                site.write(site.spans, 0, [next(numbers)])
            was_read = worker.read_count - paused_at
        written = next(numbers)

        wait_until(lambda: worker.read_count >= written, "all is read")

    assert [*range(written)] == told.hits()[site.spans, 0]
    assert [] == holes(told.sections())
    assert was_read < COUNT // 2


def is_paused_after(site: Site, number: int) -> bool:
    """One record more is written, and nothing is read."""
    site.write(site.spans, 0, [number])
    shown = metrics.PARTITIONS_PAUSED.labels("unconfirmed")._value.get()
    return bool(shown == 2)


def test_start_without_a_broker(own: Broker, site: Site) -> None:
    """A worker that starts while no broker answers begins to read when one does."""
    for number in (0, 1):
        site.write(site.spans, number, range(number * COUNT, (number + 1) * COUNT))
    with stopped(own), site.ingesting() as worker:
        time.sleep(1)
        assert own.pid is not None
        os.kill(own.pid, signal.SIGCONT)

        wait_until(lambda: has_read(site, COUNT), "all is read")

    assert worker.read_count == 2 * COUNT


def test_sigterm_while_the_broker_is_away(own: Broker, site: Site) -> None:
    """Ingest exits with 0 within ten seconds: the next worker reads again what is not committed."""
    registry.push(site.settings, rules(), now_ms=1)
    for number in (0, 1):
        site.write(site.spans, number, range(number * COUNT, (number + 1) * COUNT))
    with subprocess.Popen(site.command(), stderr=subprocess.DEVNULL) as run:
        try:
            wait_until(lambda: bool(site.hits()), "it reads")
            with stopped(own):
                time.sleep(AWAY_S)
                run.send_signal(signal.SIGTERM)

                code = run.wait(STOP_S)
        finally:
            run.kill()

    with site.ingesting():
        wait_until(lambda: has_read(site, COUNT), "the next one has read all")
    assert code == 0
    assert [] == holes(site.sections())


def test_stop_right_after_the_broker_went_away(own: Broker, site: Site) -> None:
    """It stops in time even with a commit and facts in flight to the broker."""
    for number in (0, 1):
        site.write(site.spans, number, range(number * COUNT, (number + 1) * COUNT))
    with ExitStack() as running:
        worker = running.enter_context(site.ingesting())
        wait_until(lambda: worker.read_count > 0, "it reads")
        with stopped(own):
            began_s = time.monotonic()

            running.close()

            took_s = time.monotonic() - began_s

    assert took_s < STOP_S
