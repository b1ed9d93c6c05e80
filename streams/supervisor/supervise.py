"""`betrace run`: each stage as its own process, and all of them as one program.

The stages are this program again with `--role`; a shared interpreter would cost latency under load. Each holds the read
end of a pipe whose write end only the supervisor has: when the supervisor is gone, however it went, they end at once.

When one of them ends in order, or says that it cannot go on (exit 2 or 3), the others are asked to end and its exit
code is the program's. One that dies (a signal, an exception that nobody caught) is started again after a rest, which is
longer each time; when it dies again and again without having worked for a while, that is the end of all too. One that
was asked to end and does not is killed, so that the whole ends in time (`stopping`); the exit code is then `KILLED`,
unless another stage says something worse.

What a stage writes to stdout are words for the supervisor, one a line. When the stages have said all the words that
they were to say, whichever said which, the program has done what it was asked and ends. What they say last are totals.
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
"""Settings of the supervisor alone; a stage refuses them."""

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
"""Secrets, and settings that need one, with the roles of the stages that inherit them: no other stage does.

The password for the brokers is not among them: each stage connects.
"""

STOP_S = ORDERLY_S + 0.75
"""A stage that was asked to end is killed then: by now it has done so itself if it could."""
END_S = ORDERLY_S + 1.0
"""So long may the end of the whole take."""
LOOK_EVERY_S = 0.05
FINAL = frozenset({0, 2, 3})
"""Exit codes after which a stage is not started again: it did what it was asked, or another start cannot cure it."""
REST_S = (0.5, 30.0)
"""How long a stage rests that died: at first, and at most when it dies again and again."""
STEADY_S = 60.0
"""A stage that worked for so long has not died again and again."""
DEATHS = 6
"""So many deaths in a row are the end of the program."""
READ_BYTES = 1 << 16
_TOTALS = "totals "
_ENDED_LATE = frozenset({-signal.SIGKILL, -signal.SIGALRM})
"""How a stage ends that did not end in order: the supervisor killed it, or the kernel did when its time was over."""


def end_with_supervisor() -> None:
    """In a stage: ends this process at once when the supervisor is gone; state on disk is made for that."""
    if not is_supervised():
        return

    def wait() -> None:
        # Not sys.stdin: its lock would be held when the interpreter ends.
        while os.read(0, 1):
            continue
        os._exit(KILLED)

    threading.Thread(target=wait, name="supervisor", daemon=True).start()


def say(word: str) -> None:
    """In a stage: tells the supervisor."""
    print(word, flush=True)  # noqa: T201, stdout is the pipe to the supervisor


def is_supervised() -> bool:
    """Whether this process is a stage of a supervisor."""
    return bool(os.environ.get(SUPERVISED))


def say_totals(totals: Mapping[str, int]) -> None:
    """In a stage that ends: tells the supervisor what it counted, by name."""
    say(_TOTALS + json.dumps(totals))


class Stages:
    """The running stages by name (`role-number`, or a role of which there is one).

    They end when all words in `until` have been said; None is never.
    They inherit the file descriptors in `held`. `totals` is what they had counted when they ended in order.
    """

    def __init__(
        self, commands: Mapping[str, Sequence[str]], until: Collection[str] | None = None, held: Collection[int] = ()
    ) -> None:
        self.totals: Counter[str] = Counter()
        self._stopping = False
        self._unsaid = None if until is None else set(until)
        self._stages = [_Stage(name, command, held) for name, command in commands.items()]

    def stop(self) -> None:
        """Asks for an orderly end; may be called by any thread."""
        self._stopping = True

    def wait(self) -> int:
        """Waits for the end of a stage, the last word or `stop`, then ends the others; returns the exit code."""
        while not self._stopping and (self._unsaid is None or self._unsaid):
            for stage in self._stages:
                self._listen(stage)
                if (code := stage.look()) is not None:
                    if code:
                        log.error("a stage ended, so all of them do", stage=stage.name, exit_code=code)
                    return _worst([self._end(), _exit_code(code)])
            time.sleep(LOOK_EVERY_S)
        return self._end()

    def _listen(self, stage: _Stage) -> None:
        words = stage.hear()
        for word in words:
            if word.startswith(_TOTALS):
                self.totals.update(json.loads(word.removeprefix(_TOTALS)))
        if self._unsaid is not None:
            self._unsaid.difference_update(words)

    def _end(self) -> int:
        """Sessions and ingest both flush; what takes longer than `STOP_S` is killed and repeats its work next time."""
        for stage in self._stages:
            stage.ask_to_end()
        deadline_s = time.monotonic() + STOP_S
        codes = [stage.wait(deadline_s) for stage in self._stages]
        for stage in self._stages:
            self._listen(stage)
            stage.close()
        # One that was asked to end before it could listen had not begun its work; one that died is at rest.
        return _worst(_exit_code(code) for code in codes if code not in (None, -signal.SIGTERM))


class _Stage:
    """One of them: its process, or how long it rests before it has another."""

    def __init__(self, name: str, command: Sequence[str], held: Collection[int]) -> None:
        self.name = name
        self._command = command
        self._held = tuple(held)
        self._death_count = 0
        self._rests_until_s: float | None = None
        self._heard = b""
        self._start()

    def look(self) -> int | None:
        """The exit code when this is the end; starts it again when it died and has rested."""
        now_s = time.monotonic()
        if self._rests_until_s is None:
            code = self._process.poll()
            return None if code is None else self._died(code, now_s)
        if now_s >= self._rests_until_s:
            self._start()
        return None

    def hear(self) -> list[str]:
        """The words it has said since it was last asked."""
        out = self._process.stdout
        if out is None or out.closed:
            return []
        with suppress(BlockingIOError):
            self._heard += os.read(out.fileno(), READ_BYTES)
        *lines, self._heard = self._heard.split(b"\n")
        return [line.decode(errors="replace") for line in lines]

    def ask_to_end(self) -> None:
        """Sends SIGTERM, and SIGCONT: one that stands still cannot end."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            self._process.send_signal(signal.SIGCONT)

    def wait(self, deadline_s: float) -> int | None:
        """Waits for the end, and makes it at the deadline; None when it had died and was at rest."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0.0, deadline_s - time.monotonic()))
        if self._process.poll() is None:
            log.error("a stage did not end, so it is killed: nothing is lost", stage=self.name)
            self._process.kill()
        code = self._process.wait()
        if self._rests_until_s is not None:
            return None
        return KILLED if code in _ENDED_LATE else code

    def _died(self, code: int, now_s: float) -> int | None:
        if code in FINAL:
            return code
        self._death_count = 1 if now_s - self._started_s > STEADY_S else self._death_count + 1
        if self._death_count >= DEATHS:
            return code
        rest_s = min(REST_S[1], REST_S[0] * 2 ** (self._death_count - 1))
        log.error("a stage died and is started again", stage=self.name, exit_code=code, rests_s=rest_s)
        self._rests_until_s = now_s + rest_s
        self.close()
        return None

    def _start(self) -> None:
        # A session of its own: Ctrl-C reaches the supervisor alone, which then ends the stages in order.
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
        self._heard = b""
        self._started_s = time.monotonic()
        self._rests_until_s = None

    def close(self) -> None:
        """Closes the pipes to it."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


def stopping_on_signals(stages: Stages) -> AbstractContextManager[None]:
    """SIGTERM and Ctrl-C ask for an orderly end while this context lasts."""
    return stopping(stages.stop, END_S)


def _exit_code(code: int) -> int:
    """A stage that a signal ended is a failure of the program."""
    return code if code >= 0 else 3


def _worst(codes: Iterable[int]) -> int:
    """The exit code of several ends: what says why comes before an end that came too late, and that before 0."""
    return max(codes, key=lambda code: (code not in {0, KILLED}, code), default=0)
