"""Waits that have an end and say what they waited for; the end is far, as a machine may be slow."""

from __future__ import annotations

import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Thread
from typing import IO, AnyStr

WAIT_S = 120
LOOK_EVERY_S = 0.05


def wait_until(is_so: Callable[[], object], what: str, within_s: float = WAIT_S) -> None:
    """Looks until it is so; fails when it is not within the time."""
    deadline_s = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < deadline_s, f"waited {within_s} s in vain until {what}"
        time.sleep(LOOK_EVERY_S)


def next_line(output: IO[AnyStr], what: str, within_s: float = WAIT_S) -> AnyStr:
    """Returns the next line of a process's output; fails when none comes within the time or the output ends."""
    lines: SimpleQueue[AnyStr] = SimpleQueue()
    Thread(target=lambda: lines.put(output.readline()), daemon=True).start()
    try:
        line = lines.get(timeout=within_s)
    except Empty:
        raise AssertionError(f"waited {within_s} s in vain for {what}") from None
    assert line, f"the output ended before {what}"
    return line
