"""Workers of an installation as processes of their own, each with its own state directory: a fleet that can be hurt."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.ingesting import peak_bytes

STOP_S = 60.0
LOG_TAIL_BYTES = 8_000
BEGIN_S = 45.0
"""How long a start may take on a machine that is busy."""


@dataclass(slots=True)
class Worker:
    """One worker of a role; `process` is None while it is not there, `begun_s` when it was started."""

    role: str
    number: int
    state_dir: Path
    process: subprocess.Popen[bytes] | None = None
    begun_s: float = 0.0

    @property
    def name(self) -> str:
        """Its role and number."""
        return f"{self.role}-{self.number}"


@dataclass(frozen=True, slots=True)
class Exit:
    """A worker that ended: by itself `seconds` after its start, or so long after a signal.

    `age_s` is how long it had run before it ended or was asked to.
    """

    worker: str
    code: int
    seconds: float
    age_s: float

    @property
    def was_deaf(self) -> bool:
        """It was asked to end before it had begun its work, so that the signal ended it."""
        return self.code == -signal.SIGTERM and self.age_s < BEGIN_S


STAMPED = ("--allow-create-time", "--max-clock-skew", "1h")
"""A backlog is stamped by who writes it, as if it had come before."""


@dataclass(slots=True)
class Fleet:
    """All workers; `options` are those of `betrace run` that all have, `exits` those that ended by themselves.

    `peaks` is the most memory, in bytes, that a worker of each role took.
    """

    directory: Path
    options: Sequence[str]
    workers: list[Worker] = field(default_factory=list)
    exits: list[Exit] = field(default_factory=list)
    peaks: dict[str, int] = field(default_factory=dict)

    def add(self, role: str) -> Worker:
        """One more worker of a role, or one that left comes back."""
        gone = [worker for worker in self.workers if worker.role == role and worker.process is None]
        worker = gone[0] if gone else self._new(role)
        self.start(worker)
        return worker

    def running(self, role: str) -> list[Worker]:
        """The workers of a role that are there."""
        return [worker for worker in self.workers if worker.role == role and worker.process is not None]

    def start(self, worker: Worker) -> None:
        """Starts it; its log is appended to."""
        command = [sys.executable, "-m", "streams.cli", "run", "--role", worker.role, *STAMPED, *self.options]
        state = ["--state-dir", str(worker.state_dir)]
        with (self.directory / f"{worker.name}.log").open("ab") as log:
            # Its standard input ends when this process does, however that ends; then so does the worker.
            worker.process = subprocess.Popen(
                [*command, *state], stdin=subprocess.PIPE, stderr=log, env=os.environ | {"BETRACE_SUPERVISED": "1"}
            )
        worker.begun_s = time.monotonic()

    def kill(self, worker: Worker, *, bare: bool) -> None:
        """Sends SIGKILL, and it is started again, `bare` on an empty disk."""
        self.end(worker, signal.SIGKILL)
        if bare:
            shutil.rmtree(worker.state_dir, ignore_errors=True)
        self.start(worker)

    def leave(self, worker: Worker) -> Exit:
        """It is asked to end."""
        return self.end(worker, signal.SIGTERM)

    def end(self, worker: Worker, by: signal.Signals) -> Exit:
        """Sends the signal and waits for the end."""
        assert worker.process is not None
        if worker.process.poll() is None:
            self.peaks[worker.role] = max(self.peaks.get(worker.role, 0), peak_bytes(worker.process.pid))
        begun_s = time.monotonic()
        worker.process.send_signal(by)
        try:
            code = worker.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            worker.process.kill()
            code = worker.process.wait()
        worker.process = None
        return Exit(worker.name, code, time.monotonic() - begun_s, begun_s - worker.begun_s)

    @contextmanager
    def paused(self, worker: Worker) -> Iterator[None]:
        """SIGSTOP, and SIGCONT at the end."""
        assert worker.process is not None
        worker.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            worker.process.send_signal(signal.SIGCONT)

    def revive(self) -> None:
        """Workers that ended by themselves are noted and started again, as an orchestrator does."""
        for worker in self.workers:
            code = None if worker.process is None else worker.process.poll()
            if code is not None:
                age_s = time.monotonic() - worker.begun_s
                self.exits.append(Exit(worker.name, code, age_s, age_s))
                sys.stderr.write(f"{worker.name} ended with {code}:\n{self._last_lines(worker)}\n")
                self.start(worker)

    def destroy(self) -> None:
        """Nothing is left running."""
        for worker in self.workers:
            if worker.process is not None:
                worker.process.kill()
                worker.process.wait()
                worker.process = None

    def _last_lines(self, worker: Worker) -> str:
        """The end of a worker's log, which says why it ended."""
        content = (self.directory / f"{worker.name}.log").read_bytes()
        return content[-LOG_TAIL_BYTES:].decode(errors="replace")

    def _new(self, role: str) -> Worker:
        number = sum(worker.role == role for worker in self.workers)
        worker = Worker(role, number, self.directory / f"{role}-{number}")
        self.workers.append(worker)
        return worker
