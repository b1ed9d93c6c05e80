"""A real Kafka for demos and tests: one node, KRaft, from pip alone.

In: a data directory. Out: a running broker's address. A broker is a process in a session of its own, so a Ctrl-C in the
terminal reaches only the program that started it; that program, or `betrace broker stop`, ends it. What is in the data
directory survives a stop: the next start on it has the same topics.

    server.properties   what the broker was started with
    log/                its topics
    broker.log          what it said: warnings and errors
    broker.json         its pid and address, while it runs
"""

from __future__ import annotations

import base64
import os
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import msgspec
import psutil
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from topics.embedded import container, jvm
from topics.embedded.jvm import java
from topics.errors import BrokerError

__all__ = ["Broker", "BrokerError", "find", "java", "running", "start"]

START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 10
MAX_STARTS = 3

NO_PROPERTIES: Mapping[str, str] = MappingProxyType({})

_POLL_INTERVAL_S = 0.05
_REQUEST_TIMEOUT_S = 5
_LOG_TAIL_LINES = 15
_PORT_IN_USE = "Address already in use"

# The serial collector and C1 alone make it ready in 1.7 s instead of 2.4 s.
_FLAGS = (
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
)

_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=BROKER://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
inter.broker.listener.name=BROKER
controller.listener.names=CONTROLLER
listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={log_dir}
auto.create.topics.enable=false
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=8388608
"""


@dataclass(frozen=True)
class Broker:
    """A running broker: its `host:port`, where its data is, and its pid (None when it runs in a container)."""

    bootstrap: str
    data_dir: Path
    pid: int | None

    def stop(self) -> None:
        """End it, gently for 10 s; does nothing when it is gone or its pid is another program's by now."""
        if self.pid is not None and _is_broker(self.pid, self.data_dir):
            _terminate(self.pid)
        _state_file(self.data_dir).unlink(missing_ok=True)


class _State(msgspec.Struct):
    """What `broker.json` holds."""

    pid: int
    bootstrap: str


def start(data_dir: Path, *, port: int | None = None, properties: Mapping[str, str] = NO_PROPERTIES) -> Broker:
    """Start a broker that outlives this process, and return when it answers a client.

    `port` None takes a free one. `properties` go into server.properties, in the place of those that are there; in their
    values `{port}` and `{controller_port}` are the ports of its own listeners. Raises `BrokerError` with what to
    install, or with the end of the broker's log.
    """
    data_dir = data_dir.absolute()
    if existing := find(data_dir):
        raise BrokerError(f"a broker runs on {data_dir} already, at {existing.bootstrap}")
    try:
        (data_dir / "log").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BrokerError(f"{data_dir} cannot hold a broker's data: {error}") from error
    java_command = [str(java()), *_FLAGS, "-cp", f"{jvm.jars(data_dir)}/*"]
    for _ in range(MAX_STARTS):
        bootstrap = f"127.0.0.1:{port or _free_port()}"
        pid = _spawn(java_command, data_dir, bootstrap, properties)
        if _wait_until_ready(pid, data_dir, bootstrap):
            return _record_state(Broker(bootstrap, data_dir, pid))
        # A port that was free may be taken by another program before the broker binds it.
        if port is not None or _PORT_IN_USE not in _log_tail(data_dir):
            break
    raise BrokerError(f"the broker did not start, the end of {_log_file(data_dir)}:\n{_log_tail(data_dir)}")


def find(data_dir: Path) -> Broker | None:
    """The broker that runs on `data_dir`, None when none does."""
    data_dir = data_dir.absolute()
    try:
        state = msgspec.json.decode(_state_file(data_dir).read_bytes(), type=_State)
    except (OSError, msgspec.DecodeError):
        return None
    return Broker(state.bootstrap, data_dir, state.pid) if _is_broker(state.pid, data_dir) else None


@contextmanager
def running(data_dir: Path | None = None, properties: Mapping[str, str] = NO_PROPERTIES) -> Iterator[Broker]:
    """A broker as long as the context lasts, and no longer than this process, however that ends.

    Without `data_dir` its data goes with it. `properties` as for `start`. Where there is no Java or no jars, and Docker
    answers, it runs in a container, without `properties`; else raises `BrokerError`.
    """
    with _directory(data_dir) as directory:
        try:
            broker = start(directory, properties=properties)
        except jvm.MissingError:
            if properties or not container.is_docker_available():
                raise
            with container.running() as bootstrap:
                yield Broker(bootstrap, directory, None)
            return
        with _stop_at_exit(broker):
            yield broker


@contextmanager
def _directory(data_dir: Path | None) -> Iterator[Path]:
    """`data_dir` as it is, or a directory that goes with the context."""
    if data_dir is not None:
        yield data_dir
        return
    with tempfile.TemporaryDirectory(prefix="betrace-broker-", ignore_cleanup_errors=True) as scratch:
        yield Path(scratch)


@contextmanager
def _stop_at_exit(broker: Broker) -> Iterator[None]:
    """Stop `broker` at the end. When this process is killed instead, the pipe's end makes the shell do it."""
    watch = ["/bin/sh", "-c", f"read _; kill {broker.pid}"]
    try:
        with subprocess.Popen(watch, stdin=subprocess.PIPE, start_new_session=True) as watcher:  # noqa: S603 - no input in it
            try:
                yield
            finally:
                broker.stop()
                watcher.kill()
    finally:
        # Interrupted while the watcher was started: it may not have come to watch.
        broker.stop()


def _spawn(java_command: list[str], data_dir: Path, bootstrap: str, overrides: Mapping[str, str]) -> int:
    """Start the broker, detached, and return its pid."""
    port = bootstrap.rpartition(":")[2]
    controller_port = _free_port()
    properties = _PROPERTIES.format(port=port, controller_port=controller_port, log_dir=data_dir / "log")
    # Of a name that is there twice, Java takes the last.
    for name, value in overrides.items():
        properties += f"{name}={value.format(port=port, controller_port=controller_port)}\n"
    _properties_file(data_dir).write_text(properties)
    if not _meta_file(data_dir).exists():
        _format(java_command, data_dir)
    command = [*java_command, "kafka.Kafka", str(_properties_file(data_dir))]
    silence = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
    log = (os.POSIX_SPAWN_OPEN, 1, _log_file(data_dir), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    # A Popen would warn when it is dropped before its process ends, as it would be here.
    return os.posix_spawn(
        command[0], command, os.environ, file_actions=[silence, log, (os.POSIX_SPAWN_DUP2, 1, 2)], setsid=True
    )


def _format(java_command: list[str], data_dir: Path) -> None:
    cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes)[:22].decode()
    tool = ["kafka.tools.StorageTool", "format", f"--cluster-id={cluster_id}", "--config"]
    command = [*java_command, *tool, str(_properties_file(data_dir))]
    formatted = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    if formatted.returncode != 0:
        raise BrokerError(f"{data_dir} could not be formatted: {formatted.stdout}{formatted.stderr}".rstrip())


def _wait_until_ready(pid: int, data_dir: Path, bootstrap: str) -> bool:
    """Wait until a client gets an answer. False when the broker ended, or did not answer and was ended."""
    deadline = time.monotonic() + START_TIMEOUT_S
    is_ready = False
    try:
        while not is_ready and time.monotonic() < deadline and _is_running(pid):
            time.sleep(_POLL_INTERVAL_S)
            is_ready = _is_ready(bootstrap, _meta_file(data_dir).read_text())
    finally:
        if not is_ready:
            _terminate(pid)
    return is_ready


def _is_ready(bootstrap: str, meta: str) -> bool:
    """Whether the broker at `bootstrap` is up, and is the one that `meta` is about, not another that took its port."""
    host, _, port = bootstrap.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_REQUEST_TIMEOUT_S).close()
        metadata = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0}).list_topics(timeout=_REQUEST_TIMEOUT_S)
    except (OSError, KafkaException):
        return False
    return bool(metadata.brokers) and f"cluster.id={metadata.cluster_id}\n" in meta


def _record_state(broker: Broker) -> Broker:
    unfinished = broker.data_dir / "broker.json.unfinished"
    unfinished.write_bytes(msgspec.json.encode({"pid": broker.pid, "bootstrap": broker.bootstrap}))
    unfinished.replace(_state_file(broker.data_dir))
    return broker


def _is_broker(pid: int, data_dir: Path) -> bool:
    """Whether `pid` lives and is the broker of `data_dir`: a pid from a file may be another program's by now."""
    try:
        command: list[str] = psutil.Process(pid).cmdline()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False
    return command[-1:] == [str(_properties_file(data_dir))]


def _is_running(pid: int) -> bool:
    """Whether our child `pid` has not ended; its command line is not asked for, it is empty while it starts."""
    try:
        status: str = psutil.Process(pid).status()
    except psutil.NoSuchProcess:
        return False
    return status != "zombie"


def _terminate(pid: int) -> None:
    with suppress(psutil.NoSuchProcess):
        broker = psutil.Process(pid)
        broker.terminate()
        try:
            broker.wait(STOP_TIMEOUT_S)
        except psutil.TimeoutExpired:
            broker.kill()
            broker.wait(STOP_TIMEOUT_S)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _log_tail(data_dir: Path) -> str:
    return "\n".join(_log_file(data_dir).read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:])


def _properties_file(data_dir: Path) -> Path:
    return data_dir / "server.properties"


def _meta_file(data_dir: Path) -> Path:
    return data_dir / "log" / "meta.properties"


def _log_file(data_dir: Path) -> Path:
    return data_dir / "broker.log"


def _state_file(data_dir: Path) -> Path:
    return data_dir / "broker.json"
