"""Runs a real Kafka for demos and tests: one node, KRaft, installed by pip alone.

In: a data directory. Out: the address of a running broker. The broker is a process in its own session, so a Ctrl-C in
the terminal reaches only the program that started it; that program, or `betrace broker stop`, stops it. The data
directory survives a stop: the next broker on it has the same topics.

    server.properties   the broker's settings
    log/                its topics
    broker.log          its log: warnings and errors
    broker.json         its pid and address while it runs
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

# With the serial collector and only the C1 compiler the broker is ready in 1.7 s instead of 2.4 s.
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
    """A running broker: its `host:port`, its data directory, and its pid (None when it runs in a container)."""

    bootstrap: str
    data_dir: Path
    pid: int | None

    def stop(self) -> None:
        """Stop the broker: SIGTERM, and SIGKILL after 10 s. Do nothing if its pid no longer is that of this broker."""
        if self.pid is not None and _is_broker(self.pid, self.data_dir):
            _terminate(self.pid)
        _state_file(self.data_dir).unlink(missing_ok=True)


class _State(msgspec.Struct):
    """The content of `broker.json`."""

    pid: int
    bootstrap: str


def start(data_dir: Path, *, port: int | None = None, properties: Mapping[str, str] = NO_PROPERTIES) -> Broker:
    """Start a broker that outlives this process, and return when it answers a client.

    If `port` is None, a free port is used. `properties` override those in server.properties; in their values `{port}`
    and `{controller_port}` are the ports of the broker's listeners. Raises `BrokerError`, which says what to install or
    ends with the end of the broker's log.
    """
    data_dir = data_dir.absolute()
    if existing := find(data_dir):
        raise BrokerError(f"a broker is already running on {data_dir}, at {existing.bootstrap}")
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
        # Another program may have bound the free port before the broker did.
        if port is not None or _PORT_IN_USE not in _log_tail(data_dir):
            break
    raise BrokerError(f"the broker did not start; the end of {_log_file(data_dir)}:\n{_log_tail(data_dir)}")


def find(data_dir: Path) -> Broker | None:
    """Return the broker that is running on `data_dir`, or None."""
    data_dir = data_dir.absolute()
    try:
        state = msgspec.json.decode(_state_file(data_dir).read_bytes(), type=_State)
    except (OSError, msgspec.DecodeError):
        return None
    return Broker(state.bootstrap, data_dir, state.pid) if _is_broker(state.pid, data_dir) else None


@contextmanager
def running(data_dir: Path | None = None, properties: Mapping[str, str] = NO_PROPERTIES) -> Iterator[Broker]:
    """Run a broker for the duration of the context; it never outlives this process, even if that is killed.

    Without `data_dir` its data is deleted at the end. `properties` are as for `start`. If Java or the jars are missing
    but Docker is available, the broker runs in a container, which does not support `properties`; otherwise this raises
    `BrokerError`.
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
    """Yield `data_dir`, or a temporary directory if it is None."""
    if data_dir is not None:
        yield data_dir
        return
    with tempfile.TemporaryDirectory(prefix="betrace-broker-", ignore_cleanup_errors=True) as scratch:
        yield Path(scratch)


@contextmanager
def _stop_at_exit(broker: Broker) -> Iterator[None]:
    """Stop `broker` at the end; if this process is killed, the pipe closes and the shell stops the broker."""
    watch = ["/bin/sh", "-c", f"read _; kill {broker.pid}"]
    try:
        with subprocess.Popen(watch, stdin=subprocess.PIPE, start_new_session=True) as watcher:  # noqa: S603 - no input in it
            try:
                yield
            finally:
                broker.stop()
                watcher.kill()
    finally:
        # If an interrupt arrived while the watcher was starting, nothing may be watching yet.
        broker.stop()


def _spawn(java_command: list[str], data_dir: Path, bootstrap: str, overrides: Mapping[str, str]) -> int:
    """Start the broker in its own session and return its pid."""
    port = bootstrap.rpartition(":")[2]
    controller_port = _free_port()
    properties = _PROPERTIES.format(port=port, controller_port=controller_port, log_dir=data_dir / "log")
    # If a name occurs twice, Java uses the last value.
    for name, value in overrides.items():
        properties += f"{name}={value.format(port=port, controller_port=controller_port)}\n"
    _properties_file(data_dir).write_text(properties)
    if not _meta_file(data_dir).exists():
        _format(java_command, data_dir)
    command = [*java_command, "kafka.Kafka", str(_properties_file(data_dir))]
    silence = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
    log = (os.POSIX_SPAWN_OPEN, 1, _log_file(data_dir), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    # A Popen object would warn when it is dropped before its process ends, which happens here.
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
    """Wait until a client gets an answer; return False if the broker exited, or did not answer and was stopped."""
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
    """Return whether the broker that `meta` identifies answers at `bootstrap`, not another one on the same port."""
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
    """Return whether `pid` is the running broker of `data_dir`: the system may have reused a pid from a file."""
    try:
        command: list[str] = psutil.Process(pid).cmdline()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False
    return command[-1:] == [str(_properties_file(data_dir))]


def _is_running(pid: int) -> bool:
    """Return whether the child process `pid` runs; its command line cannot tell, since it is empty at the start."""
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
