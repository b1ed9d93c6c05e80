"""Tests how a process shuts down, with real processes: what a signal arms stays armed until their end."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from streams.supervisor.stopping import KILLED
from tests.support.waiting import WAIT_S, next_line

WITHIN_S = 1.0
"""The deadline of a process that misses it."""
BEGIN = """
import os, signal, sys, threading, time
from streams.observe import logs
from streams.supervisor.stopping import stopping
logs.configure()
asked = threading.Event()
def say(text): print(text, flush=True)
def stop():
    say("asked")
    asked.set()
"""
IN_ORDER = """
with stopping(stop, WITHIN_S):
    say("ready")
    asked.wait()
say("done")
"""
NEVER = """
with stopping(stop, WITHIN_S):
    say("ready")
    threading.Event().wait()
"""
IN_C = """
import ctypes
with stopping(stop, WITHIN_S):
    say("ready")
    # As a client's call that waits for brokers: no handler of Python runs before it comes back.
    left = 3600
    while left: left = ctypes.CDLL(None).sleep(left)
"""
ON_THE_WAY_OUT = """
with stopping(stop, WITHIN_S):
    say("ready")
    asked.wait()
say("done")
threading.Thread(target=threading.Event().wait).start()
"""
TAKEN_DOWN = """
import ctypes
class Waits:
    def __del__(self, sleep=ctypes.PyDLL(None).sleep): sleep(3600)
waits = Waits()
with stopping(asked.set, WITHIN_S):
    say("ready")
    asked.wait()
say("done")
"""
STOP_FAILS = """
def stop():
    say("asked")
    raise RuntimeError("cannot")
with stopping(stop, WITHIN_S):
    say("ready")
    threading.Event().wait()
"""
LOG_STANDS_STILL = """
r, w = os.pipe()
os.dup2(w, 2)
os.set_blocking(2, False)
try:
    while True: os.write(2, bytes(65536))
except BlockingIOError:
    os.set_blocking(2, True)
with stopping(stop, WITHIN_S):
    say("ready")
    threading.Event().wait()
"""
UNASKED = """
with stopping(stop, WITHIN_S):
    pass
say("ready")
signal.pause()
"""


@contextmanager
def running(script: str, within_s: float = WITHIN_S) -> Iterator[subprocess.Popen[str]]:
    """A process that reported to be ready; it is killed at the end."""
    command = [sys.executable, "-c", BEGIN + script.replace("WITHIN_S", str(within_s))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        try:
            assert run.stdout is not None
            assert next_line(run.stdout, "it is ready") == "ready\n"
            yield run
        finally:
            run.kill()


def ended(run: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Returns its exit code and its output since it was ready."""
    out, errors = run.communicate(timeout=WAIT_S)
    return run.returncode, out, errors


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_orderly_end(number: signal.Signals) -> None:
    """The program is asked once, ends in order, and logs nothing."""
    with running(IN_ORDER, WAIT_S) as run:
        run.send_signal(number)

        assert (0, "asked\ndone\n", "") == ended(run)


@pytest.mark.parametrize(
    ("script", "out"),
    [(NEVER, "asked\n"), (IN_C, "asked\n"), (ON_THE_WAY_OUT, "asked\ndone\n")],
    ids=["never", "main thread in C", "on the way out"],
)
def test_process_ends_at_the_deadline(script: str, out: str) -> None:
    """The process ends at the deadline, logs what this means, and its exit code shows it."""
    with running(script) as run:
        began_s = time.monotonic()
        run.send_signal(signal.SIGTERM)

        code, said, errors = ended(run)
        took_s = time.monotonic() - began_s

    assert (KILLED, out) == (code, said)
    assert errors.count("\n") == 1
    assert "nothing is lost" in errors
    assert took_s >= WITHIN_S


@pytest.mark.parametrize(
    "script", [TAKEN_DOWN, STOP_FAILS, LOG_STANDS_STILL], ids=["taken down", "stop fails", "log stands still"]
)
def test_kernel_ends_a_stuck_process(script: str) -> None:
    """It needs nothing of the interpreter to run."""
    with running(script) as run:
        run.send_signal(signal.SIGTERM)

        code, _, _ = ended(run)

    assert code == -signal.SIGALRM


def test_further_signals_change_nothing() -> None:
    """A second signal neither asks the program again nor extends the deadline."""
    with running(NEVER) as run:
        run.send_signal(signal.SIGTERM)
        assert run.stdout is not None
        assert next_line(run.stdout, "it was asked") == "asked\n"
        for number in (signal.SIGTERM, signal.SIGINT):
            run.send_signal(number)

        code, said, _ = ended(run)

    assert (KILLED, "") == (code, said)


def test_handlers_are_restored_without_a_signal() -> None:
    """After the context a signal ends the process at once: there is nothing left to stop."""
    with running(UNASKED) as run:
        run.send_signal(signal.SIGTERM)

        assert (-signal.SIGTERM, "", "") == ended(run)
