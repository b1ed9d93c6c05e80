"""Runs each stage of `betrace run` as its own process, and all of them as one program.

The stages are this program again with `--role`; a shared interpreter would cost latency under load. Each holds the read
end of a pipe whose write end only the supervisor has: when the supervisor is gone, for whatever reason, they end at
once.

When a stage ends in order, or reports that it cannot continue (exit 2 or 3), the supervisor stops the others and exits
with that stage's code. A stage that crashes (a signal, an uncaught exception) is restarted with exponential backoff;
repeated crashes without a steady time in between end the program too. A stage that was asked to end and does not is
killed, so that the whole ends in time (`stopping`); the exit code is then `KILLED`, unless another stage reports
something worse.

A stage writes messages for the supervisor to stdout, one a line. The run is complete once every expected message has
been sent by some stage. The last message of a stage is its totals; once it is ready, it reports its progress at
intervals.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress

import structlog

from streams.supervisor.progress import ProgressLog, State
from streams.supervisor.stopping import KILLED, ORDERLY_S, stopping

log = structlog.get_logger()

SUPERVISED = "BETRACE_SUPERVISED"
NOT_INHERITED = frozenset(
    {
        "BETRACE_RULES",
        "BETRACE_ROLE",
        "BETRACE_WORKERS",
        "BETRACE_UNTIL_IDLE",
        "BETRACE_EVIDENCE",
        "BETRACE_LEDGER_KEY",
        "BETRACE_PUSH",
        "BETRACE_PUSHED_BY",
        "BETRACE_REVISION",
    }
)
"""Settings of the supervisor only; stages reject them."""

INHERITED_BY = {
    "BETRACE_REDACT": frozenset({"ingest"}),
    "BETRACE_REDACT_KEY": frozenset({"ingest"}),
    "BETRACE_REDACT_KEY_FILE": frozenset({"ingest"}),
    "BETRACE_DEAD_LETTER_KEY": frozenset({"ingest"}),
    "BETRACE_LEDGER_PRIVATE_KEY": frozenset({"ledger"}),
    "AWS_ACCESS_KEY_ID": frozenset({"ledger"}),
    "AWS_SECRET_ACCESS_KEY": frozenset({"ledger"}),
    "AWS_SESSION_TOKEN": frozenset({"ledger"}),
    "DRATA_API_KEY": frozenset[str](),
    "VANTA_CLIENT_ID": frozenset[str](),
    "VANTA_CLIENT_SECRET": frozenset[str](),
}
"""Secrets, and settings that need one, with the only roles that inherit them.

The password for the brokers is not among them: each stage connects.
"""

STOP_S = ORDERLY_S + 0.75
"""The supervisor kills a stage this long after asking it to end: by then it would have ended if it could."""
END_S = ORDERLY_S + 1.0
"""The time limit of the shutdown of the whole."""
POLL_INTERVAL_S = 0.05
FINAL = frozenset({0, 2, 3})
"""Exit codes after which a stage is not restarted: it is done, or a restart cannot help."""
BACKOFF_S = (0.5, 30.0)
"""The restart backoff: the first delay, and the longest."""
STEADY_S = 60.0
"""A stage that ran for this long starts again at the first delay."""
MAX_CRASHES = 6
"""The program ends after this many crashes in a row."""
READ_BYTES = 1 << 16
_TOTALS = "totals "
_PROGRESS = "progress "
_SENDING = threading.Lock()
"""Keeps a message and its line ending together: a stage sends messages from more than one thread."""
_ENDED_LATE = frozenset({-signal.SIGKILL, -signal.SIGALRM})
"""Exit codes of a stage that did not end in order: the supervisor killed it, or the kernel did at its deadline."""


def end_with_supervisor() -> None:
    """End this process at once when the supervisor is gone; called in a stage. State on disk survives that."""
    if not is_supervised():
        return

    def wait() -> None:
        # Not sys.stdin: its lock would still be held when the interpreter shuts down.
        while os.read(0, 1):
            continue
        os._exit(KILLED)

    threading.Thread(target=wait, name="supervisor", daemon=True).start()


def send(message: str) -> None:
    """Send a message to the supervisor; called in a stage."""
    with _SENDING:
        print(message, flush=True)  # noqa: T201, stdout is the pipe to the supervisor


def is_supervised() -> bool:
    """Return whether this process is a stage of a supervisor."""
    return bool(os.environ.get(SUPERVISED))


def send_totals(totals: Mapping[str, int]) -> None:
    """Send the supervisor what this stage counted, by name; called when the stage ends."""
    send(_TOTALS + json.dumps(totals))


def send_progress(state: State) -> None:
    """Send the supervisor the progress of this stage; called in a stage that is ready."""
    send(_PROGRESS + json.dumps(state))


class Stages:
    """The running stages by name: `role-number`, or the role if it has only one process.

    They end when every message in `until` was received, or never if it is None. They inherit the file descriptors in
    `held`. `totals` sums what they had counted when they ended in order. `about` is logged when all are ready.
    """

    def __init__(
        self,
        commands: Mapping[str, Sequence[str]],
        until: Collection[str] | None = None,
        held: Collection[int] = (),
        about: Mapping[str, object] | None = None,
    ) -> None:
        self.totals: Counter[str] = Counter()
        self._stopping = False
        self._progress = ProgressLog(commands, lambda: about or {})
        self._expected = None if until is None else set(until)
        self._stages = [_Stage(name, command, held) for name, command in commands.items()]

    def stop(self) -> None:
        """Request an orderly shutdown; any thread may call this."""
        self._stopping = True

    def wait(self) -> int:
        """Wait until a stage ends, the last message arrives or `stop` is called; stop all; return the exit code."""
        while not self._stopping and (self._expected is None or self._expected):
            for stage in self._stages:
                self._listen(stage)
                if (code := stage.poll()) is not None:
                    if code:
                        log.error("a stage ended, so all of them are stopped", stage=stage.name, exit_code=code)
                    return _worst([self._end(), _exit_code(code)])
            self._progress.step()
            time.sleep(POLL_INTERVAL_S)
        return self._end()

    def _listen(self, stage: _Stage) -> None:
        messages = stage.read_messages()
        for message in messages:
            if message.startswith(_TOTALS):
                self.totals.update(json.loads(message.removeprefix(_TOTALS)))
            elif message.startswith(_PROGRESS):
                self._progress.note(stage.name, json.loads(message.removeprefix(_PROGRESS)))
        if self._expected is not None:
            self._expected.difference_update(messages)

    def _end(self) -> int:
        """Stop all stages; one that takes longer than `STOP_S` is killed and repeats its unfinished work next time."""
        for stage in self._stages:
            stage.terminate()
        deadline_s = time.monotonic() + STOP_S
        codes = [stage.wait(deadline_s) for stage in self._stages]
        for stage in self._stages:
            self._listen(stage)
            stage.close()
        # SIGTERM killed a stage that had not installed its handler yet, so it had done nothing; None is one in backoff.
        return _worst(_exit_code(code) for code in codes if code not in (None, -signal.SIGTERM))


class _Stage:
    """One stage: its process, or the time at which it is restarted."""

    def __init__(self, name: str, command: Sequence[str], held: Collection[int]) -> None:
        self.name = name
        self._command = command
        self._held = tuple(held)
        self._crash_count = 0
        self._restart_at_s: float | None = None
        self._buffer = b""
        self._start()

    def poll(self) -> int | None:
        """Return the exit code if the stage is finished; restart it if it crashed and its backoff is over."""
        now_s = time.monotonic()
        if self._restart_at_s is None:
            code = self._process.poll()
            return None if code is None else self._on_exit(code, now_s)
        if now_s >= self._restart_at_s:
            self._start()
        return None

    def read_messages(self) -> list[str]:
        """Return the messages received since the last call."""
        out = self._process.stdout
        if out is None or out.closed:
            return []
        with suppress(BlockingIOError):
            self._buffer += os.read(out.fileno(), READ_BYTES)
        *lines, self._buffer = self._buffer.split(b"\n")
        return [line.decode(errors="replace") for line in lines]

    def terminate(self) -> None:
        """Send SIGTERM, and SIGCONT because a stopped process cannot end."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            self._process.send_signal(signal.SIGCONT)

    def wait(self, deadline_s: float) -> int | None:
        """Wait for the end and return the exit code; kill the process at the deadline. None if it was in backoff."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0.0, deadline_s - time.monotonic()))
        if self._process.poll() is None:
            log.error("a stage did not end in time and is killed; nothing is lost", stage=self.name)
            self._process.kill()
        code = self._process.wait()
        if self._restart_at_s is not None:
            return None
        return KILLED if code in _ENDED_LATE else code

    def _on_exit(self, code: int, now_s: float) -> int | None:
        if code in FINAL:
            return code
        self._crash_count = 1 if now_s - self._started_s > STEADY_S else self._crash_count + 1
        if self._crash_count >= MAX_CRASHES:
            return code
        backoff_s = min(BACKOFF_S[1], BACKOFF_S[0] * 2 ** (self._crash_count - 1))
        log.error("a stage crashed and is restarted", stage=self.name, exit_code=code, backoff_s=backoff_s)
        self._restart_at_s = now_s + backoff_s
        self.close()
        return None

    def _start(self) -> None:
        # A new session: Ctrl-C reaches the supervisor alone, which then stops the stages in order.
        role = self.name.partition("-")[0]
        inherited = {
            name: value
            for name, value in os.environ.items()
            if name not in NOT_INHERITED and role in INHERITED_BY.get(name, {role})
        }
        self._process = subprocess.Popen(  # noqa: S603, the command is this program
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            pass_fds=self._held,
            env=inherited | {SUPERVISED: "1"},
        )
        if self._process.stdout is not None:
            os.set_blocking(self._process.stdout.fileno(), False)
        self._buffer = b""
        self._started_s = time.monotonic()
        self._restart_at_s = None

    def close(self) -> None:
        """Close the pipes to the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


def stopping_on_signals(stages: Stages) -> AbstractContextManager[None]:
    """Request an orderly shutdown on SIGTERM and Ctrl-C within this context."""
    return stopping(stages.stop, END_S)


def _exit_code(code: int) -> int:
    """Return the program's exit code for a stage's: a stage that a signal ended is a failure."""
    return code if code >= 0 else 3


def _worst(codes: Iterable[int]) -> int:
    """Return the exit code of several: one that tells a cause precedes `KILLED`, which precedes 0."""
    return max(codes, key=lambda code: (code not in {0, KILLED}, code), default=0)
