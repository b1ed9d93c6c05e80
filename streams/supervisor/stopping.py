"""How a program ends when it is asked to: in order where that can be, and in time whatever has happened.

In: SIGTERM or Ctrl-C, and what asks the program for an orderly end. Out: the end, `ORDERLY_S` and a little more after
the first signal at the latest; further signals change nothing.

What must hold: the end depends on nothing that may stand still. Python calls a signal's handler in the main thread,
between two steps of the interpreter, which a call that waits for a broker or a disk may keep from coming. So C's part
of the handler writes to a pipe, at whose other end is a thread: it asks for the orderly end, and ends the process when
that does not come. Where this thread cannot run either (the log's reader stands still, the interpreter is being taken
down), the kernel ends the process, by SIGALRM.

An end that is not in order loses nothing: state on disk, transactions and offsets are made for `kill -9`.
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
"""The exit code of a program that did not end in order: that of `kill -9`, as a shell has it."""
ORDERLY_S = 8.0
"""So long may an orderly end take."""
LAST_S = 0.5
"""So long after that the kernel ends a process that could not do it itself."""

_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT})
_READ_BYTES = 64


@contextmanager
def stopping(stop: Callable[[], object], within_s: float = ORDERLY_S) -> Iterator[None]:
    """While this context lasts SIGTERM and Ctrl-C call `stop`, once and in a thread of its own; main thread only.

    `within_s` after the signal the process ends with `KILLED` unless it has ended before, also when the context has
    not lasted so long: what comes after it may stand still, too. Without a signal all is as before at the end of the
    context.
    """
    hears, says = os.pipe()
    os.set_blocking(says, False)
    is_asked = threading.Event()
    threading.Thread(target=_wait, args=(hears, is_asked, stop, within_s), name="stopping", daemon=True).start()
    # Before the handlers: a signal between the two would be lost.
    said_before = signal.set_wakeup_fd(says, warn_on_full_buffer=False)
    before = {number: signal.signal(number, _leave_to_thread) for number in _SIGNALS}
    try:
        yield
    finally:
        if not is_asked.is_set():
            for number, handler in before.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(said_before)
            os.close(says)


def _leave_to_thread(_number: int, _frame: FrameType | None) -> None:
    """The pipe has it: this is called too late when the main thread stands still."""


def _wait(hears: int, is_asked: threading.Event, stop: Callable[[], object], within_s: float) -> None:
    """Waits for one of the signals, then for the end of the process."""
    while heard := os.read(hears, _READ_BYTES):
        # Every signal that has a handler is written to the pipe.
        if not _SIGNALS.isdisjoint(heard):
            is_asked.set()
            signal.setitimer(signal.ITIMER_REAL, within_s + LAST_S)
            _end(stop, within_s)
    os.close(hears)


def _end(stop: Callable[[], object], within_s: float) -> None:
    until_s = time.monotonic() + within_s
    stop()
    time.sleep(max(0.0, until_s - time.monotonic()))
    log.error(
        "no orderly end in time, so this process ends at once: nothing is lost, "
        "what was done after the last commit is done again at the next start",
        waited_s=within_s,
        exit_code=KILLED,
    )
    os._exit(KILLED)
