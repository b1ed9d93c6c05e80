"""Ends a process when it is asked to: in order if possible, and within a deadline in any case.

In: SIGTERM or Ctrl-C, and a callable that requests an orderly shutdown. Out: the process ends at most `ORDERLY_S` and a
little more after the first signal; further signals change nothing.

The deadline depends on nothing that can block. Python runs a signal handler in the main thread, between two bytecode
instructions, which a call that waits for a broker or a disk may delay for ever. So the C part of the handler writes to
a pipe, and a thread at the other end requests the orderly shutdown, and ends the process if that takes too long. If
this thread cannot run either (the reader of the log blocks, the interpreter is shutting down), the kernel ends the
process with SIGALRM.

A shutdown that is not orderly loses nothing: state on disk, transactions and offsets survive `kill -9`.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import structlog

log = structlog.get_logger()

KILLED = 137
"""The exit code after a shutdown that was not orderly: as a shell reports `kill -9`."""
ORDERLY_S = 8.0
"""The time limit of an orderly shutdown."""
LAST_S = 0.5
"""The kernel ends a process that could not end itself this long after the limit."""

_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT})
_READ_BYTES = 64


@contextmanager
def stopping(stop: Callable[[], object], within_s: float = ORDERLY_S) -> Iterator[None]:
    """Call `stop` on SIGTERM and Ctrl-C, once and in a thread of its own, within this context; main thread only.

    The process ends with `KILLED` if it is still running `within_s` after the signal, even after the context was left:
    what follows it may block, too. If no signal came, leaving the context restores the previous handlers.
    """
    read_fd, write_fd = os.pipe()
    os.set_blocking(write_fd, False)
    is_stopping = threading.Event()
    threading.Thread(target=_wait, args=(read_fd, is_stopping, stop, within_s), name="stopping", daemon=True).start()
    # Before the handlers are set: a signal between the two would be lost.
    previous_fd = signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
    previous_handlers = {number: signal.signal(number, _leave_to_thread) for number in _SIGNALS}
    try:
        yield
    finally:
        if not is_stopping.is_set():
            for number, handler in previous_handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(previous_fd)
            os.close(write_fd)


def _leave_to_thread(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: the signal is already in the pipe, and this runs too late if the main thread is blocked."""


def _wait(read_fd: int, is_stopping: threading.Event, stop: Callable[[], object], within_s: float) -> None:
    """Wait for one of the signals, then for the end of the process."""
    while signals := os.read(read_fd, _READ_BYTES):
        # Every signal that has a handler is written to the pipe.
        if not _SIGNALS.isdisjoint(signals):
            is_stopping.set()
            signal.setitimer(signal.ITIMER_REAL, within_s + LAST_S)
            _end(stop, within_s)
    os.close(read_fd)


def _end(stop: Callable[[], object], within_s: float) -> None:
    until_s = time.monotonic() + within_s
    stop()
    time.sleep(max(0.0, until_s - time.monotonic()))
    log.error(
        "orderly shutdown timed out, so this process ends at once: nothing is lost, the next start repeats "
        "what was done after the last commit",
        waited_s=within_s,
        exit_code=KILLED,
    )
    os._exit(KILLED)
