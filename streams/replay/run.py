"""Runs a replay as a whole: its processes, and their results merged into one.

In: a `Job`. Out: signals in the order of record time, whichever process found them, as soon as no earlier one can come;
finally what was read and counted.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from heapq import heappop, heappush
from multiprocessing.context import ForkContext, SpawnContext
from queue import Empty
from types import TracebackType
from typing import Protocol, Self

from streams.errors import BetraceError, StateError
from streams.replay.outcome import Signal
from streams.replay.plan import Plan
from streams.replay.source_reader import Read
from streams.replay.tally import Tally
from streams.replay.worker import Done, Failed, Inbox, Job, Jobs, Outbox, Progress, Report, run_process
from topics.records.facts import TICK_MS

POLL_S = 0.5
_NEVER = 1 << 62


class FailedError(BetraceError):
    """A process of the replay failed; it reported why, with its exit code."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed.message)
        self.exit_code = failed.exit_code


class Watcher(Protocol):
    """Receives the progress."""

    def advance(self, offsets: int, spans: int) -> None:
        """Add the offsets and spans read since the last call."""


class Result(Protocol):
    """The result of a replay, complete once its signals were consumed.

    `read` is what was read, `chains` how many traces were judged, `tallies` the counts by rule id. `half_seen` are the
    traces that began in the requested period but before what could be read, and are not judged.
    """

    read: Read
    chains: int
    tallies: dict[str, Tally]
    half_seen: frozenset[bytes]

    @property
    def plan(self) -> Plan:
        """What was to be read."""

    def run(self) -> Iterator[list[Signal]]:
        """Yield the signals, as they are found, by the record time at which they were due."""


class Replay:
    """A replay by a team; once `run` has ended, `read`, `chains` and `tallies` have the counts."""

    def __init__(self, job: Job, team: Team, watcher: Watcher) -> None:
        self.read = Read()
        self.chains = 0
        self.tallies: dict[str, Tally] = {}
        self.half_seen: frozenset[bytes] = frozenset()
        self._job = job
        self._team = team
        self._watcher = watcher
        self._signals: list[Signal] = []
        self._clocks_ms: dict[int, int] = dict.fromkeys(range(team.count), 0)

    @property
    def plan(self) -> Plan:
        """What is read."""
        return self._job.plan

    def run(self) -> Iterator[list[Signal]]:
        """Yield signals, as they are found, by the record time at which they were due, then by uid and revision.

        Raises:
            FailedError: a process reported why it failed.
            StateError: a process died.
        """
        self._team.start(self._job)
        while self._clocks_ms:
            report = self._team.next_report()
            if isinstance(report, Failed):
                raise FailedError(report)
            self._take(report)
            yield list(self._ready())

    def _take(self, report: Progress | Done) -> None:
        for each in report.signals:
            heappush(self._signals, each)
        if isinstance(report, Progress):
            self._watcher.advance(report.offsets, report.spans)
            self._clocks_ms[report.number] = report.clock_ms or 0
            return
        del self._clocks_ms[report.number]
        self.read.add(report.read)
        self.chains += report.counts.chains
        self.half_seen |= report.counts.half_seen
        for rule, tally in report.counts.tallies.items():
            self.tallies.setdefault(rule, Tally()).add(tally)

    def _ready(self) -> Iterator[Signal]:
        """Yield those due before every process's clock; the windows that the end of the input closed come last."""
        clock_ms = min(self._clocks_ms.values(), default=_NEVER) // TICK_MS * TICK_MS
        while self._signals and (not self._clocks_ms or self._signals[0] < (False, clock_ms)):
            yield heappop(self._signals)


def _can_fork() -> bool:
    """Return whether processes may be forked: they have everything imported, which saves most of a CPU second.

    They lack the other threads of this process, and a lock that one of those holds would never be released.
    """
    return sys.platform == "linux" and threading.active_count() == 1


class Team:
    """The processes of a replay; they wait for a job, receive one, and report."""

    def __init__(self, count: int, *, forks: bool | None = None) -> None:
        context = ForkContext() if (_can_fork() if forks is None else forks) else SpawnContext()
        self.count = count
        self._outbox: Outbox = context.Queue()
        self._inboxes: list[Inbox] = [context.Queue() for _ in range(count)]
        self._jobs: list[Jobs] = [context.SimpleQueue() for _ in range(count)]
        self._processes = [
            context.Process(target=run_process, args=(number, jobs, self._inboxes, self._outbox), daemon=True)
            for number, jobs in enumerate(self._jobs)
        ]

    def __enter__(self) -> Self:
        for process in self._processes:
            process.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.join()

    def start(self, job: Job) -> None:
        """Give each process its share of the job."""
        for jobs, inputs in zip(self._jobs, job.plan.divide(self.count), strict=True):
            jobs.put((job, inputs))

    def next_report(self) -> Report:
        """Wait for a report.

        Raises:
            StateError: a process died.
        """
        while True:
            gone = [process.exitcode for process in self._processes if process.exitcode]
            try:
                return self._outbox.get(timeout=POLL_S)
            except Empty:
                if gone:
                    raise StateError(
                        f"a process of the replay ended with {gone[0]}",
                        action="check the error above and the available memory, then start again",
                    ) from None
