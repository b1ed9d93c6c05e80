"""SIGTERM ends `betrace run` within ten seconds, whatever has happened to its disk, its brokers or its stages.

Each fault is made to a program that has read, judged and has something to seal, or between two runs of it. Faults that
leave the broker and the disk whole are made to one installation, one after the other. One that ends the program by
itself does so with its exit code and a message.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from confluent_kafka import OFFSET_END, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from streams.supervisor.stopping import KILLED
from tests.support import evidence
from tests.support.ports import free_port
from tests.support.program import Program, is_ready
from tests.support.waiting import wait_until
from topics.cluster import admin
from topics.embedded import broker
from topics.embedded.broker import Broker

pytestmark = pytest.mark.broker

WITHIN_S = 10.0
"""From the signal until the program and all its stages are gone: the promise, also where the machine is slow."""
AWAY_S = 10.0
"""Longer than the session time-out: what waits for the broker waits by now."""
DISK_BYTES = 64 << 20
CLIENTS = 40
"""More than the metrics server serves at once."""
STAGES = 3


@dataclass(frozen=True)
class Site:
    """An installation whose three stages run as one program, with metrics; `kafka` where the broker is its own."""

    program: Program
    port: int
    log: Path
    kafka: Broker | None = None

    @contextmanager
    def running(self) -> Iterator[Run]:
        """The program, as long as the context lasts; its stages are killed with it."""
        with self.log.open("wb") as errors, subprocess.Popen(self.program.command(), stderr=errors) as process:
            run = Run(self, process)
            try:
                yield run
            finally:
                process.kill()
                for client in run.clients:
                    client.close()

    def client(self) -> AdminClient:
        """A client of the installation's broker."""
        return AdminClient({"bootstrap.servers": self.program.bootstrap})

    def play(self) -> None:
        """Writes recorded messages to the source topics."""
        self.program.play("keyed_spans", "keyed_logs")

    def find(self, pattern: str) -> list[Path]:
        """Files of the stores that have something in them, the largest first."""
        found = [path for path in self.program.state_dir.rglob(pattern) if path.is_file() and path.stat().st_size]
        return sorted(found, key=lambda path: -path.stat().st_size)

    def files(self, pattern: str) -> list[Path]:
        """As `find`; there are some."""
        found = self.find(pattern)
        assert found, f"no {pattern} in a store"
        return found


@dataclass(frozen=True)
class Run:
    """The program as it runs, or has; `clients` are connected to its metrics."""

    site: Site
    process: subprocess.Popen[bytes]
    clients: list[socket.socket] = field(default_factory=list)

    def stages(self) -> list[psutil.Process]:
        """Its stages."""
        return [*psutil.Process(self.process.pid).children(recursive=True)]

    def stage(self, words: str) -> psutil.Process:
        """The one that was started with these words."""
        [found] = [stage for stage in self.stages() if words in " ".join(stage.cmdline())]
        return found

    def said(self) -> str:
        """Its log."""
        return self.site.log.read_text(errors="replace")

    def wait_until_ready(self) -> None:
        """Waits until all stages do their work."""

        def are_ready() -> bool:
            assert self.process.poll() is None, self.said()[-6000:]
            return all(is_ready(self.site.port + at) for at in range(STAGES))

        wait_until(are_ready, "all stages are ready")

    def wait_until_judged(self) -> None:
        """Waits until all stages do their work and a signal is there."""
        self.wait_until_ready()
        self.site.program.wait_for_signals()

    def terminate(self) -> None:
        """Asks it to end."""
        self.process.send_signal(signal.SIGTERM)

    def wait_until_gone(self) -> None:
        """Waits for the end of the program."""
        wait_until(lambda: self.process.poll() is not None, "the program is gone")


Fault = Callable[[Run], object]


# Faults of a program that runs


def fill_disk(run: Run) -> None:
    """There is no room for state any more."""
    with pytest.raises(OSError, match="No space"):
        fill(run.site.program.state_dir / "full")

    def is_gone() -> bool:
        run.site.play()
        return run.process.poll() is not None

    wait_until(is_gone, "the program has ended")


def fill(path: Path) -> None:
    """Writes a file without an end."""
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 16))


def stop_broker_by_signal(run: Run) -> None:
    """The broker stands still."""
    assert run.site.kafka is not None
    assert run.site.kafka.pid is not None
    run.site.play()
    os.kill(run.site.kafka.pid, signal.SIGSTOP)
    time.sleep(AWAY_S)


def stop_broker(run: Run) -> None:
    """The broker ends in order."""
    assert run.site.kafka is not None
    run.site.play()
    run.site.kafka.stop()
    time.sleep(AWAY_S)


def kill_broker(run: Run) -> None:
    """The broker is killed in the middle of work."""
    assert run.site.kafka is not None
    assert run.site.kafka.pid is not None
    run.site.play()
    os.kill(run.site.kafka.pid, signal.SIGKILL)
    time.sleep(AWAY_S)


def stop_sessions(run: Run) -> None:
    """Sessions stands still with facts to read."""
    run.stage("--role sessions").send_signal(signal.SIGSTOP)
    run.site.play()


def stop_ledger(run: Run) -> None:
    """The ledger stands still with records to seal."""
    run.stage("ledger --evidence").send_signal(signal.SIGSTOP)
    run.site.play()


def delete_facts(run: Run) -> None:
    """All facts go while nothing is read."""
    wait_until(lambda: run.site.program.uncommitted() == {}, "all is read")
    delete_records(run.site, f"{run.site.program.prefix}facts")
    run.site.play()
    time.sleep(AWAY_S / 2)


def open_slow_clients(run: Run) -> None:
    """Clients of the metrics that never come to the end of their request."""
    for port in range(run.site.port, run.site.port + STAGES):
        for _ in range(CLIENTS):
            client = socket.create_connection(("127.0.0.1", port))
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\nX-Slow: ")
            run.clients.append(client)


# Faults between two runs


def flip_log(site: Site) -> None:
    """A bit of the log of the largest store that was not closed is another one."""
    flip(site.files("*.log")[0], 0.5)


def flip_manifest(site: Site) -> None:
    """A bit of a store's MANIFEST."""
    flip(site.files("MANIFEST-*")[0], 0.5)


def empty_current(site: Site) -> None:
    """CURRENT names no file."""
    for path in site.files("CURRENT"):
        path.write_bytes(b"MANIFEST-nothing\n")


def flip_footer(site: Site) -> None:
    """The end of a table file."""
    for path in site.files("*.sst"):
        flip(path, 0.999)


def flip_block(site: Site) -> None:
    """The data in a table file."""
    for path in site.files("*.sst"):
        flip(path, 0.02)


def delete_groups(site: Site) -> None:
    """The consumer groups are deleted, and their offsets with them."""
    groups = [f"{site.program.prefix}{role}" for role in ("ingest", "sessions")]
    wait_until(lambda: all(is_deleted(site, group) for group in groups), "the groups are deleted")


def cut_sources(site: Site) -> None:
    """Records that nobody has read yet are deleted."""
    site.play()
    for topic in (site.program.spans_topic, site.program.logs_topic):
        delete_records(site, topic)
    site.play()


def is_deleted(site: Site, group: str) -> bool:
    """Tries to delete it, unless it is deleted; a member may not have been missed yet."""
    # A client that is gone never answers.
    client = site.client()
    [deleted] = client.delete_consumer_groups([group]).values()
    error = deleted.exception()
    return error is None or (
        isinstance(error, KafkaException) and error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND
    )


def delete_records(site: Site, topic: str) -> None:
    """Deletes all that is on a topic."""
    client = site.client()
    count = admin.partition_counts(client, [topic])[topic]
    for deleted in client.delete_records([TopicPartition(topic, at, OFFSET_END) for at in range(count)]).values():
        deleted.result()


def flip(path: Path, share: float) -> None:
    """Flips the bits of a byte, so far from the file's begin to its end."""
    content = bytearray(path.read_bytes())
    content[int(len(content) * share)] ^= 0xFF
    path.write_bytes(content)


def made(bootstrap: str, prefix: str, tmp_path: Path, kafka: Broker | None = None) -> Site:
    """An installation with recorded messages on its source topics."""
    port, key = free_port(STAGES), tmp_path / "ledger.key"
    key.write_text(evidence.SIGNER.encode())
    options = (
        *Program.options,
        *("--evidence", str(tmp_path / "evidence"), "--ledger-key", str(key), "--metrics-port", str(port)),
    )
    program = Program(bootstrap, prefix, tmp_path / "state", options=options)
    program.make_sources()
    site = Site(program, port, tmp_path / "run.log", kafka)
    site.play()
    return site


@pytest.fixture
def site(kafka: str, fresh_prefix: str, tmp_path: Path) -> Site:
    """An installation on the common broker."""
    return made(kafka, fresh_prefix, tmp_path)


@pytest.fixture(scope="module")
def used(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """An installation that has judged, and was stopped."""
    site = made(kafka, f"t{uuid.uuid4().hex[:12]}.", tmp_path_factory.mktemp("used"))
    with site.running() as run:
        run.wait_until_judged()
        ended(run)
    return site


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Site]:
    """An installation with a broker of its own."""
    with broker.running(tmp_path / "broker") as started:
        if started.pid is None:
            pytest.skip("a broker in a container is no process of ours")
        try:
            yield made(started.bootstrap, "own.", tmp_path, started)
        finally:
            if psutil.pid_exists(started.pid):
                os.kill(started.pid, signal.SIGCONT)


@contextmanager
def mounted(path: Path, *options: str) -> Iterator[None]:
    """A small disk of its own at `path`."""
    path.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", ",".join((f"size={DISK_BYTES}", *options)), "betrace-test", str(path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a disk cannot be mounted")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def ended(run: Run) -> int:
    """Asks it to end; returns its exit code, once it and its stages are gone in time."""
    stages = run.stages()
    began_s = time.monotonic()
    run.terminate()
    _, alive = psutil.wait_procs([*stages, psutil.Process(run.process.pid)], timeout=WITHIN_S)
    took_s = time.monotonic() - began_s

    assert [] == alive, f"left after {took_s:.1f} s\n{run.said()[-6000:]}"
    assert took_s < WITHIN_S
    return run.process.wait()


@pytest.mark.parametrize("fault", [stop_broker_by_signal, stop_broker, kill_broker])
def test_stop_without_a_broker(own: Site, fault: Fault) -> None:
    """The broker is suspended or gone, with data in flight to it."""
    with own.running() as run:
        run.wait_until_judged()
        fault(run)

        code = ended(run)

    assert code in {0, KILLED}, run.said()[-6000:]


@pytest.mark.parametrize("damage", [flip_manifest, empty_current, flip_footer, flip_block])
def test_damaged_store(used: Site, damage: Callable[[Site], object]) -> None:
    """The store is rebuilt, or its damage has no effect; the program ends in order."""
    damage(used)
    used.play()
    with used.running() as run:
        run.wait_until_ready()

        code = ended(run)

    assert code == 0, run.said()[-6000:]


def test_damaged_write_ahead_log(used: Site) -> None:
    """The same holds for damage to the log of a store that was not closed."""
    used.play()
    with used.running() as run:
        run.wait_until_ready()
        wait_until(lambda: used.find("*.log"), "a store has written to its log")
        stages = run.stages()
        run.process.kill()
        psutil.wait_procs(stages)
    flip_log(used)
    with used.running() as run:
        run.wait_until_ready()

        code = ended(run)

    assert code == 0, run.said()[-6000:]


@pytest.mark.parametrize("fault", [stop_sessions, stop_ledger, open_slow_clients, delete_facts])
def test_fault_during_a_run(used: Site, fault: Fault) -> None:
    """The program ends in order in spite of the fault."""
    with used.running() as run:
        run.wait_until_ready()
        fault(run)

        code = ended(run)

    assert code == 0, run.said()[-6000:]


@pytest.mark.parametrize("fault", [delete_groups, cut_sources])
def test_fault_between_two_runs(used: Site, fault: Callable[[Site], object]) -> None:
    """What was deleted between two runs does not keep the next one from ending in order."""
    fault(used)
    with used.running() as run:
        run.wait_until_ready()

        code = ended(run)

    assert code == 0, run.said()[-6000:]


def test_full_disk(site: Site) -> None:
    """The program ends by itself and names an action."""
    with mounted(site.program.state_dir), site.running() as run:
        run.wait_until_judged()
        fill_disk(run)

        assert run.process.poll() == 3, run.said()[-6000:]
        assert "free some space on the disk" in run.said()


def test_read_only_disk(site: Site) -> None:
    """The program does not start, and says why."""
    with mounted(site.program.state_dir, "ro"), site.running() as run:
        run.wait_until_gone()

    assert run.process.poll() in {2, 3}
    assert "Read-only file system" in run.said()
