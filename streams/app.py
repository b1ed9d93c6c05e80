"""The Faust application that feeds `streams.sessions`: one agent on `betrace.facts`, acknowledging by hand.

Faust gives group membership, assignment and prefetch; positions, state and time are ours. An exception inside an agent
would acknowledge its event, so the agent's loop catches, and the first failure ends the program.
"""

from __future__ import annotations

import asyncio
import hashlib
import signal
import socket
from collections.abc import AsyncIterator
from typing import Any

import faust
import structlog
from faust import EventT, StreamT

from streams.errors import BetraceError, StateError
from streams.sessions import SessionsWorker
from streams.settings import Settings

log = structlog.get_logger()

Ends = dict[str, dict[int, int]]


def application(settings: Settings) -> faust.App:
    """The Faust application with the settings that work for batches; see the class docs of `faust.App` for each."""
    data_dir = settings.state_dir / settings.group("sessions") / "faust"
    data_dir.mkdir(parents=True, exist_ok=True)
    brokers = ";".join(f"kafka://{address.strip()}" for address in settings.bootstrap.split(","))
    return faust.App(
        settings.group("sessions"),
        broker=brokers,
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
    """A worker's name in its group: the same after a restart, another one for every state directory and host."""
    place = f"{socket.gethostname()}:{settings.state_dir.resolve()}"
    return hashlib.blake2b(place.encode(), digest_size=8).hexdigest()


class SessionsApp:
    """Runs a `SessionsWorker` in Faust until a signal, a failure, or (with `ends`) until it is idle."""

    def __init__(self, settings: Settings, worker: SessionsWorker, ends: Ends | None = None) -> None:
        self._settings = settings
        self._worker = worker
        self._ends = ends
        self._lock = asyncio.Lock()
        self._done = asyncio.Event()
        self._failure: BaseException | None = None
        self._app = application(settings)
        topic = self._app.topic(
            settings.topic("facts"), key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
        )
        self._app.agent(topic, name="sessions")(self._take)
        self._app.on_partitions_revoked.connect(self._revoke)

    async def run(self) -> None:
        """Runs to the end; on the way out makes everything durable and leaves.

        Raises:
            BetraceError: what ended it, when that was a failure.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._done.set)
        await self._app.start()
        stepping = asyncio.create_task(self._step_on())
        await self._done.wait()
        try:
            # Under the lock: a step that is cut off would go on in its thread beside the last one.
            async with self._lock:
                stepping.cancel()
                if self._failure is None:
                    await asyncio.to_thread(self._worker.close)
        finally:
            await self._app.stop()
        if isinstance(self._failure, BetraceError):
            raise self._failure
        if self._failure is not None:
            raise StateError(
                f"sessions failed: {self._failure!r}", action="start again; if it comes back, report it as a bug"
            ) from self._failure

    async def _take(self, stream: StreamT[bytes]) -> AsyncIterator[None]:
        async for event in stream.noack().events():
            try:
                async with self._lock:
                    if self._done.is_set():
                        return
                    self._apply(event)
            except BaseException as error:  # noqa: BLE001, whatever it is, Faust would acknowledge the event
                self._fail(error)
                return
        yield None

    def _apply(self, event: EventT[bytes]) -> None:
        message = event.message
        value = event.value or b""
        # A held event keeps its message; its bytes are not needed any more.
        event.value = message.value = None
        self._worker.apply(message.partition, message.offset, value, event.ack)

    async def _step_on(self) -> None:
        try:
            while True:
                await asyncio.sleep(self._settings.step_ms / 1000)
                self._check_crash()
                async with self._lock:
                    await asyncio.to_thread(self._worker.step)
                    if self._ends is not None and self._worker.is_idle(self._ends):
                        self._done.set()
        except Exception as error:  # noqa: BLE001, a worker that takes in and never steps must not go on
            self._fail(error)

    def _check_crash(self) -> None:
        """A crash inside Faust leaves its services standing still: it must end this program."""
        for service in (self._app, self._app.consumer):
            if service.crashed:
                raise StateError(
                    f"Faust crashed: {service.crash_reason!r}", action="see the error above, then start again"
                )

    async def _revoke(self, _: faust.App, revoked: set[Any], **_options: object) -> None:
        facts = self._settings.topic("facts")
        try:
            async with self._lock:
                if not self._done.is_set():
                    numbers = {at.partition for at in revoked if at.topic == facts}
                    await asyncio.to_thread(self._worker.release, numbers)
        except Exception as error:  # noqa: BLE001, Faust would only log it
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._failure = self._failure or error
        self._done.set()
