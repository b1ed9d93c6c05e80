"""`betrace run`: each stage as its own process, and all of them as one program.

The stages are this program again with `--role`; a shared interpreter would cost latency under load. Each holds the read
end of a pipe whose write end only the supervisor has: when the supervisor is gone, however it went, they end at once.
When one of them ends, the others are asked to end and its exit code is the program's.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType

import structlog

log = structlog.get_logger()

SUPERVISED = "BETRACE_SUPERVISED"
NOT_INHERITED = frozenset(
    {"BETRACE_RULES", "BETRACE_ROLE", "BETRACE_UNTIL_IDLE", "BETRACE_EVIDENCE", "BETRACE_LEDGER_KEY"}
)
"""Settings of the supervisor alone; a stage refuses them."""

STOP_S = 10.0
LOOK_EVERY_S = 0.05
KILLED = 137


def end_with_supervisor() -> None:
    """In a stage: ends this process at once when the supervisor is gone; state on disk is made for that."""
    if not os.environ.get(SUPERVISED):
        return

    def wait() -> None:
        # Not sys.stdin: its lock would be held when the interpreter ends.
        while os.read(0, 1):
            continue
        os._exit(KILLED)

    threading.Thread(target=wait, name="supervisor", daemon=True).start()


class Stages:
    """The running stages by role."""

    def __init__(self, commands: Mapping[str, Sequence[str]]) -> None:
        self._stopping = False
        self._processes = {role: _start(command) for role, command in commands.items()}

    def stop(self, *_: object) -> None:
        """Asks for an orderly end; safe to call from a signal handler."""
        self._stopping = True

    def wait(self) -> int:
        """Waits until a stage ends or `stop` is called, then ends the others; returns the exit code."""
        while not self._stopping:
            ended = {
                role: process.returncode for role, process in self._processes.items() if process.poll() is not None
            }
            if ended:
                role, code = next(iter(ended.items()))
                if code:
                    log.error("a stage ended, so all of them do", role=role, exit_code=code)
                return self._end() or _exit_code(code)
            time.sleep(LOOK_EVERY_S)
        return self._end()

    def _end(self) -> int:
        """Sessions and ingest both flush; what takes longer than `STOP_S` is killed and repeats its work next time."""
        for process in self._processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        deadline_s = time.monotonic() + STOP_S
        codes = [_wait(process, deadline_s) for process in self._processes.values()]
        # One that was asked to end before it could listen had not begun its work.
        return max((_exit_code(code) for code in codes if code != -signal.SIGTERM), default=0)


@contextmanager
def stopping_on_signals(stages: Stages) -> Iterator[None]:
    """SIGTERM and Ctrl-C ask for an orderly end while this context lasts."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        stages.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _start(command: Sequence[str]) -> subprocess.Popen[bytes]:
    # A session of its own: Ctrl-C reaches the supervisor alone, which then ends the stages in order.
    inherited = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
    return subprocess.Popen(  # noqa: S603, the command is this program
        command, stdin=subprocess.PIPE, start_new_session=True, env=inherited | {SUPERVISED: "1"}
    )


def _wait(process: subprocess.Popen[bytes], deadline_s: float) -> int:
    try:
        return process.wait(max(0.1, deadline_s - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _exit_code(code: int) -> int:
    """A stage that a signal ended is a failure of the program."""
    return code if code >= 0 else 3
