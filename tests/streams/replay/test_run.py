"""Tests how the processes of a replay are started."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from streams.replay import run


@contextmanager
def one_more_thread() -> Iterator[None]:
    """A thread that runs within this context."""
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


@pytest.mark.parametrize("count", [1, 2])
def test_processes_are_forked_only_without_other_threads(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """A lock that another thread holds would stay locked in a forked process."""
    with one_more_thread():
        assert not run._can_fork()

    monkeypatch.setattr(threading, "active_count", lambda: count)
    assert (count == 1 and sys.platform == "linux") == run._can_fork()
