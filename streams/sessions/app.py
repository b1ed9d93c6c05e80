"""The Faust application that drives `streams.sessions`: one agent on `betrace.facts`, with manual acknowledgement.

Faust provides group membership, assignment and prefetch; offsets, state and time are our own. Faust would acknowledge
an event whose agent raised an exception, so the agent's loop catches everything, and the first failure ends the
program.

All calls of the worker run in one thread, one after the other. So the event loop stays free for the group's heartbeats,
and a worker that waits for brokers accepts no further messages.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, ParamSpec, TypeVar

import faust
import structlog
from faust import EventT, StreamT
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread
from mode.threads import ServiceThread, WorkerThread

from streams.config.settings import Settings
from streams.errors import BetraceError, StateError
from streams.observe.health import Health
from streams.sessions import fetching
from streams.sessions.credentials import credentials
from streams.sessions.worker import Acknowledge, Ends, SessionsWorker
from streams.supervisor import supervise

log = structlog.get_logger()

P = ParamSpec("P")
R = TypeVar("R")

LEAVE_S = 2.0
ALIVE_S = 1.0
PAUSE_PER_STEP = 3
"""A step that takes long because brokers are slow is followed by a pause of three times its duration."""


class _DaemonThread(WorkerThread):  # type: ignore[misc]  # mode says nothing of its types
    """Faust's consumer thread, as a daemon: without brokers it may never end, and the program must not wait for it."""

    def __init__(self, service: ServiceThread, **options: Any) -> None:  # noqa: ANN401, they are a thread's
        super().__init__(service, **options)
        self.daemon = True


AIOKafkaConsumerThread.Worker = _DaemonThread
fetching.install()


def application(settings: Settings) -> faust.App:
    """Create the Faust application with settings that suit batches; the class docs of `faust.App` describe each."""
    data_dir = settings.state_dir / settings.group("sessions") / "faust"
    data_dir.mkdir(parents=True, exist_ok=True)
    brokers = ";".join(f"kafka://{address.strip()}" for address in settings.bootstrap.split(","))
    return faust.App(
        settings.group("sessions"),
        broker=brokers,
        broker_credentials=credentials(settings.security),
        store="memory://",
        datadir=str(data_dir),
        consumer_group_instance_id=instance_id(settings),
        web_enabled=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        stream_wait_empty=False,
        broker_max_poll_records=500,
        broker_commit_interval=1.0,
        broker_session_timeout=6.0,
        broker_heartbeat_interval=1.0,
        broker_request_timeout=30.0,
        consumer_max_fetch_size=8 * 1024 * 1024,
        consumer_auto_offset_reset="earliest",
    )


def instance_id(settings: Settings) -> str:
    """Return the worker's static member id: stable across restarts, different for every host and state directory."""
    identity = f"{socket.gethostname()}:{settings.state_dir.resolve()}"
    return hashlib.blake2b(identity.encode(), digest_size=8).hexdigest()


class SessionsApp:
    """Runs a `SessionsWorker` in Faust until `stop` or a failure; create it where its event loop runs.

    With `ends`, it reports the number of each facts partition to the supervisor that has reached them, is idle and has
    its state on disk.
    """

    def __init__(
        self, settings: Settings, worker: SessionsWorker, ends: Ends | None = None, health: Health | None = None
    ) -> None:
        self._settings = settings
        self._health = health or Health()
        self._worker = worker
        self._ends = ends
        self._idle: frozenset[int] = frozenset()
        self._thread = ThreadPoolExecutor(1, "sessions")
        self._loop = asyncio.get_running_loop()
        self._done = asyncio.Event()
        self._failure: BaseException | None = None
        self._app = application(settings)
        topic = self._app.topic(
            settings.topic("facts"), key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
        )
        self._app.agent(topic, name="sessions")(self._consume)
        self._app.on_partitions_assigned.connect(self._assign)
        self._app.on_partitions_revoked.connect(self._revoke)

    def stop(self) -> None:
        """End `run`; any thread may call this."""
        self._loop.call_soon_threadsafe(self._end)

    async def run(self) -> None:
        """Run until stopped; then flush all state and leave the group.

        Raises:
            BetraceError: the failure that ended it.
        """
        tasks: list[asyncio.Task[None]] = []
        try:
            await self._app.start()
        except Exception as error:  # noqa: BLE001, Faust raises what its client raises when brokers are away
            self._fail(error)
        else:
            tasks = [asyncio.create_task(self._run_steps()), asyncio.create_task(self._report_alive())]
        await self._done.wait()
        try:
            for task in tasks:
                task.cancel()
            if self._failure is None:
                _acknowledge(await self._call(self._worker.close))
            else:
                # RocksDB's threads must not outlive what they use, which is gone as soon as the program exits.
                await self._call(self._worker.abandon)
        finally:
            await self._leave()
        if isinstance(self._failure, BetraceError):
            raise self._failure
        if self._failure is not None:
            raise StateError(
                f"sessions failed: {self._failure!r}", action="start again; if it fails again, report a bug"
            ) from self._failure

    async def _leave(self) -> None:
        """Leave the group; if the brokers do not answer, the session time-out removes this member."""
        try:
            await asyncio.wait_for(self._app.stop(), LEAVE_S)
        except TimeoutError:
            log.warning("could not leave the group, no broker answers: the session time-out removes this member")

    async def _consume(self, stream: StreamT[bytes]) -> AsyncIterator[None]:
        async for event in stream.noack().events():
            try:
                await self._apply(event)
            except BaseException as error:  # noqa: BLE001, whatever it is, Faust would acknowledge the event
                self._fail(error)
            if self._done.is_set():
                return
        yield None

    async def _apply(self, event: EventT[bytes]) -> None:
        message = event.message
        value = event.value or b""
        # An unacknowledged event keeps its message, whose bytes are no longer needed.
        event.value = message.value = None
        await self._call(self._worker.apply, message.partition, message.offset, value, event.ack)

    async def _run_steps(self) -> None:
        try:
            took_s = 0.0
            while True:
                await asyncio.sleep(max(self._settings.step_ms / 1000 - took_s, PAUSE_PER_STEP * took_s))
                self._check_crash()
                start_s = time.monotonic()
                _acknowledge(await self._call(self._worker.step))
                took_s = time.monotonic() - start_s
                if self._ends is not None:
                    self._report_idle(await self._call(self._worker.idle, self._ends))
        except Exception as error:  # noqa: BLE001, a worker that takes in and never steps must not go on
            self._fail(error)

    def _report_idle(self, numbers: frozenset[int]) -> None:
        for number in sorted(numbers - self._idle):
            supervise.send(str(number))
        self._idle |= numbers

    async def _report_alive(self) -> None:
        """Report liveness independently of the steps: a step may wait for brokers without being stuck."""
        while True:
            self._health.turn()
            await asyncio.sleep(ALIVE_S)

    def _check_crash(self) -> None:
        """Raise if Faust crashed: its services then do nothing more, and the program must end."""
        for service in (self._app, self._app.consumer):
            if service.crashed:
                raise StateError(
                    f"Faust crashed: {service.crash_reason!r}", action="see the error above, then start again"
                )

    async def _assign(self, _: faust.App, assigned: set[Any], **_options: object) -> None:
        self._worker.assign(self._numbers(assigned))

    async def _revoke(self, _: faust.App, revoked: set[Any], **_options: object) -> None:
        numbers = self._numbers(revoked)
        self._worker.revoke(numbers)
        try:
            if not self._done.is_set():
                _acknowledge(await self._call(self._worker.release, numbers))
        except Exception as error:  # noqa: BLE001, Faust would only log it
            self._fail(error)

    def _numbers(self, partitions: set[Any]) -> set[int]:
        return {at.partition for at in partitions if at.topic == self._settings.topic("facts")}

    async def _call(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the worker in its thread, after the calls before."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, partial(call, *args, **kwargs))

    def _end(self) -> None:
        self._worker.stop()
        self._done.set()

    def _fail(self, error: BaseException) -> None:
        """End the program with its first failure; calls that its end interrupts are not failures."""
        if not self._done.is_set():
            self._failure = error
        self._end()


def _acknowledge(due: list[Acknowledge]) -> None:
    for acknowledge in due:
        acknowledge()
