"""Sessions as a program of its own: paused while its partitions move, asked to end while the broker is away."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from streams.config.settings import Settings
from streams.decode.decoder import TraceSpans
from streams.projection.project import Projector
from streams.rules import registry
from streams.sessions.publish import Publisher
from tests.support.driven import AUDITED, FAR_MS, SPANS, A, B, Driven, compiled
from tests.support.installation import installed
from tests.support.record import read_topic
from tests.support.waiting import wait_until
from topics.embedded import broker
from topics.embedded.broker import Broker
from topics.records import facts
from topics.records.facts import VERSION, Entry, Facts, Section

pytestmark = pytest.mark.broker

# The program gives up after ten seconds at most; a slow machine may take four times as long.
STOP_S = 40


@dataclass(frozen=True)
class Site:
    """An installation with one facts partition, on which the test plays ingest."""

    settings: Settings

    def write(self, number: int, watermark_ms: int, *entries: Entry) -> None:
        """Facts message `number`."""
        [topic] = self.settings.source_topics
        section = Section(
            topic=topic,
            partition=0,
            epoch=1,
            replay=0,
            start_ms=None,
            partition_count=1,
            from_offset=number,
            to_offset=number + 1,
            watermark_ms=watermark_ms,
            lost=[],
            touches=b"",
            entries=list(entries),
        )
        producer = Producer({**self.settings.client()})
        value = facts.encode(Facts(version=VERSION, rules=compiled(AUDITED).fingerprint, sections=[section]))
        producer.produce(self.settings.topic("facts"), value, partition=0)
        producer.flush()

    @contextmanager
    def running(self, disk: str) -> Iterator[subprocess.Popen[bytes]]:
        """A sessions worker with a state directory of its own."""
        settings = self.settings
        options = {
            "--role": "sessions",
            "--bootstrap": settings.bootstrap,
            "--prefix": settings.prefix,
            "--source-topics": ",".join(settings.source_topics),
            "--state-dir": str(settings.state_dir / disk),
        }
        command = [sys.executable, "-m", "streams.cli", "run", *(text for option in options.items() for text in option)]
        log = self.settings.state_dir / f"{disk}.log"
        with log.open("wb") as errors, subprocess.Popen(command, stderr=errors) as started:
            try:
                yield started
            finally:
                started.kill()

    def committed(self) -> int:
        """The facts offset that the group has committed."""
        # The admin client's way to ask dies of a coordinator that is not ready, as on a new cluster.
        group = {"group.id": self.settings.group("sessions")}
        asking = Consumer({**self.settings.client(), **group})
        try:
            [at] = asking.committed([TopicPartition(self.settings.topic("facts"), 0)], timeout=STOP_S)
            return max(int(at.offset), 0)
        except KafkaException:
            return 0
        finally:
            asking.close()

    def members(self) -> int:
        """How many workers the group has."""
        client = AdminClient({**self.settings.client()})
        group = self.settings.group("sessions")
        return len(client.describe_consumer_groups([group])[group].result().members)

    def signals(self) -> list[str]:
        """The traces of the signals on the topic."""
        frames = read_topic(self.settings.bootstrap, self.settings.topic("signals"))
        return sorted(json.loads(frame.value)["unmapped"]["betrace"]["trace_id"] for frame in frames)


@pytest.fixture
def site(kafka: str, fresh_prefix: str, tmp_path: Path) -> Site:
    """An installation on the common broker."""
    return made(kafka, fresh_prefix, tmp_path)


def made(bootstrap: str, prefix: str, state_dir: Path) -> Site:
    """An installation with a rule."""
    settings = installed(bootstrap, prefix, state_dir, facts_partitions=1)
    registry.push(settings, compiled(AUDITED), now_ms=1)
    return Site(settings)


def broken(number: int, tick: int, trace: bytes) -> Entry:
    """A trace that breaks the rule, in facts message `number`."""
    spans = [SPANS["pii.access"]]
    found = Projector(compiled(AUDITED)).facts(TraceSpans(1, root_seen=True, spans=spans))
    return Entry(trace, number, number, tick, 1, root_seen=True, facts=found)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Broker]:
    """A broker of the test's own."""
    with broker.running(tmp_path / "broker") as started:
        if started.pid is None:
            pytest.skip("a broker in a container is no process of ours")
        yield started


@contextmanager
def stopped(own: Broker) -> Iterator[None]:
    """The broker stands still."""
    assert own.pid is not None
    os.kill(own.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(own.pid, signal.SIGCONT)


def ended(run: subprocess.Popen[bytes]) -> int:
    """Asks it to end, and returns its exit code."""
    run.send_signal(signal.SIGTERM)
    return run.wait(STOP_S)


def test_suspended_worker_publishes_nothing_when_it_resumes(site: Site) -> None:
    """Its partition moved and was judged by another worker meanwhile: every signal exists once."""
    site.write(0, 10_000, broken(0, 100, A))
    with site.running("one") as one:
        wait_until(lambda: site.committed() == 1, "it has read")
        one.send_signal(signal.SIGSTOP)
        with site.running("two") as two:
            site.write(1, FAR_MS)
            wait_until(lambda: site.signals() == [A.hex()], "the other has judged")
            one.send_signal(signal.SIGCONT)
            wait_until(lambda: site.members() == 2, "both are members")
            site.write(2, FAR_MS, broken(2, FAR_MS // 100 + 1, B))
            site.write(3, 2 * FAR_MS)
            wait_until(lambda: site.committed() == 4, "all is read")

            codes = [ended(one), ended(two)]

    assert [0, 0] == codes
    assert [A.hex(), B.hex()] == site.signals()


@pytest.mark.parametrize("reads_first", [True, False], ids=["all is read", "all is new"])
def test_sigterm_while_the_broker_is_suspended(own: Broker, tmp_path: Path, *, reads_first: bool) -> None:
    """Exit 0 within ten seconds, with or without something to publish; nothing is lost or duplicated."""
    site = made(own.bootstrap, "away.", tmp_path)
    site.write(0, 10_000, broken(0, 100, A))
    with site.running("one") as run:
        wait_until(lambda: site.committed() == 1, "it has read")
        site.write(1, FAR_MS)
        if reads_first:
            wait_until(lambda: site.committed() == 2, "it has read all")
        with stopped(own):
            code = ended(run)
    site.write(2, FAR_MS)
    with site.running("one") as run:
        wait_until(lambda: site.committed() == 3, "it has read all")
        again = ended(run)

    assert (0, 0) == (code, again)
    assert [A.hex()] == site.signals()


def test_publisher_closes_without_its_broker(own: Broker, tmp_path: Path) -> None:
    """A worker that must stop does not wait for its transaction to end; what it had sent is not committed."""
    settings = made(own.bootstrap, "away.", tmp_path).settings
    publisher = Publisher(settings, 0, lambda: False)
    publisher.send(settings.topic("signals"), 0, b"key", b"never said")
    begun_s = time.monotonic()

    with stopped(own):
        publisher.close()
        took_s = time.monotonic() - begun_s

    Publisher(settings, 0, lambda: False).close()
    assert took_s < STOP_S
    assert [] == read_topic(settings.bootstrap, settings.topic("signals"))


def test_restarted_broker(own: Broker, tmp_path: Path) -> None:
    """A worker waits for its brokers, and continues where it was."""
    site = made(own.bootstrap, "again.", tmp_path)
    site.write(0, 10_000, broken(0, 100, A))
    with site.running("one") as run:
        wait_until(lambda: site.committed() == 1, "it has read")
        own.stop()
        again = broker.start(own.data_dir, port=int(own.bootstrap.rpartition(":")[2]))
        try:
            site.write(1, FAR_MS)
            wait_until(lambda: site.signals() == [A.hex()] and site.committed() == 2, "it reads on")

            code = ended(run)
        finally:
            again.stop()

    assert 0 == code


def test_partition_is_opened_after_its_leader_changed(own: Broker, tmp_path: Path) -> None:
    """A restarted broker leads in another epoch: what the worker knew of the old one is soon discarded."""
    driven = Driven(made(own.bootstrap, "again.", tmp_path).settings)
    driven.apply(10_000, driven.entry(100, "pii.access"))
    driven.release(0)
    own.stop()
    again = broker.start(own.data_dir, port=int(own.bootstrap.rpartition(":")[2]))
    try:
        at = driven.write(FAR_MS)
        driven.worker.assign({0})

        wait_until(lambda: is_opened(driven, at), "it is opened")
        driven.step()

        assert [(A.hex(), "broken", 1)] == driven.signals()
    finally:
        driven.worker.stop()
        driven.worker.close()
        again.stop()


def is_opened(driven: Driven, at: int) -> bool:
    """Whether the worker has taken the partition, when Faust gives it a message."""
    driven.deliver(at)
    return 0 in driven.worker._tasks
