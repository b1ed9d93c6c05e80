"""A replay as a whole: its processes, and what they find as one.

In: a `Job`. Out: signals in the order of record time, whoever found them, as soon as no earlier one can come; at the
end what was read and counted.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from heapq import heappop, heappush
from multiprocessing.context import SpawnProcess
from queue import Empty
from typing import Protocol

from streams.errors import BetraceError, StateError
from streams.replay.judging import Signal
from streams.replay.plan import Plan
from streams.replay.reading import Read
from streams.replay.tally import Tally
from streams.replay.worker import Done, Failed, Job, Outbox, Progress, Report, work
from topics.facts import TICK_MS

LOOK_S = 0.5
_NEVER = 1 << 62


class FailedError(BetraceError):
    """A process of the replay could not go on; it said why, and with which exit code."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed.message)
        self.exit_code = failed.exit_code


class Watcher(Protocol):
    """Who watches the progress."""

    def advance(self, offsets: int, spans: int) -> None:
        """So much more was read."""


class Replay:
    """A replay; when `run` has ended, `read`, `chains` and `tallies` say what there was."""

    def __init__(self, job: Job, count: int, watcher: Watcher) -> None:
        self.read = Read()
        self.chains = 0
        self.tallies: dict[str, Tally] = {}
        self._job = job
        self._count = count
        self._watcher = watcher
        self._found: list[Signal] = []
        self._clocks_ms: dict[int, int] = dict.fromkeys(range(count), 0)

    @property
    def plan(self) -> Plan:
        """What is read."""
        return self._job.plan

    def run(self) -> Iterator[list[Signal]]:
        """Yields signals, as they are found, by the record time at which they were due, then by uid and revision.

        Raises:
            FailedError: a process says why it cannot go on.
            StateError: a process is gone.
        """
        with _working(self._job, self._count) as next_report:
            while self._clocks_ms:
                report = next_report()
                if isinstance(report, Failed):
                    raise FailedError(report)
                self._take(report)
                yield list(self._ready())

    def _take(self, report: Progress | Done) -> None:
        for each in report.signals:
            heappush(self._found, each)
        if isinstance(report, Progress):
            self._watcher.advance(report.offsets, report.spans)
            self._clocks_ms[report.number] = report.clock_ms or 0
            return
        del self._clocks_ms[report.number]
        self.read.add(report.read)
        self.chains += report.counts.chains
        for rule, tally in report.counts.tallies.items():
            self.tallies.setdefault(rule, Tally()).add(tally)

    def _ready(self) -> Iterator[Signal]:
        """Those that are due before every process's clock; what the end of the input closed comes last."""
        clock_ms = min(self._clocks_ms.values(), default=_NEVER) // TICK_MS * TICK_MS
        while self._found and (not self._clocks_ms or self._found[0] < (False, clock_ms)):
            yield heappop(self._found)


@contextmanager
def _working(job: Job, count: int) -> Iterator[Callable[[], Report]]:
    """The processes while they work; gives a function that waits for their next report."""
    context = multiprocessing.get_context("spawn")
    outbox: Outbox = context.Queue()
    inboxes = [context.Queue() for _ in range(count)]
    shares = job.plan.shares(count)
    processes = [
        context.Process(target=work, args=(job, number, shares[number], inboxes, outbox), daemon=True)
        for number in range(count)
    ]
    for process in processes:
        process.start()
    try:
        yield lambda: _next(outbox, processes)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()


def _next(outbox: Outbox, processes: list[SpawnProcess]) -> Report:
    while True:
        gone = [process.exitcode for process in processes if process.exitcode]
        try:
            return outbox.get(timeout=LOOK_S)
        except Empty:
            if gone:
                raise StateError(
                    f"a process of the replay ended with {gone[0]}",
                    action="see the error above and how much memory there is, then start again",
                ) from None
