"""A replay as a whole: its processes, and what they find as one.

In: a `Job`. Out: signals in the order of record time, whoever found them, as soon as no earlier one can come; at the
end what was read and counted.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from heapq import heappop, heappush
from multiprocessing.context import ForkContext, SpawnContext
from queue import Empty
from types import TracebackType
from typing import Protocol, Self

from streams.errors import BetraceError, StateError
from streams.replay.outcome import Signal
from streams.replay.plan import Plan
from streams.replay.reading import Read
from streams.replay.tally import Tally
from streams.replay.worker import Done, Failed, Inbox, Job, Jobs, Outbox, Progress, Report, work
from topics.records.facts import TICK_MS

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


class Result(Protocol):
    """What a replay has found, when its signals are all there.

    `read` is what was read, `chains` how many traces were judged, `tallies` what was counted by rule id. `half_seen`
    are the traces that began in the time that is asked for and were there before what could be read: not judged.
    """

    read: Read
    chains: int
    tallies: dict[str, Tally]
    half_seen: frozenset[bytes]

    @property
    def plan(self) -> Plan:
        """What was to be read."""

    def run(self) -> Iterator[list[Signal]]:
        """Yields the signals, as they are found, by the record time at which they were due."""


class Replay:
    """A replay by a team; when `run` has ended, `read`, `chains` and `tallies` say what there was."""

    def __init__(self, job: Job, team: Team, watcher: Watcher) -> None:
        self.read = Read()
        self.chains = 0
        self.tallies: dict[str, Tally] = {}
        self.half_seen: frozenset[bytes] = frozenset()
        self._job = job
        self._team = team
        self._watcher = watcher
        self._found: list[Signal] = []
        self._clocks_ms: dict[int, int] = dict.fromkeys(range(team.count), 0)

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
        self._team.begin(self._job)
        while self._clocks_ms:
            report = self._team.next_report()
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
        self.half_seen |= report.counts.half_seen
        for rule, tally in report.counts.tallies.items():
            self.tallies.setdefault(rule, Tally()).add(tally)

    def _ready(self) -> Iterator[Signal]:
        """Those that are due before every process's clock; what the end of the input closed comes last."""
        clock_ms = min(self._clocks_ms.values(), default=_NEVER) // TICK_MS * TICK_MS
        while self._found and (not self._clocks_ms or self._found[0] < (False, clock_ms)):
            yield heappop(self._found)


class Team:
    """The processes of a replay; they wait for a job, are given one, and report."""

    def __init__(self, count: int, *, forks: bool = sys.platform == "linux") -> None:
        # A forked process has everything imported, which saves most of a second of a core, but no threads of others.
        context = ForkContext() if forks else SpawnContext()
        self.count = count
        self._outbox: Outbox = context.Queue()
        self._inboxes: list[Inbox] = [context.Queue() for _ in range(count)]
        self._jobs: list[Jobs] = [context.SimpleQueue() for _ in range(count)]
        self._processes = [
            context.Process(target=work, args=(number, jobs, self._inboxes, self._outbox), daemon=True)
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

    def begin(self, job: Job) -> None:
        """Gives each process its share of the job."""
        for jobs, share in zip(self._jobs, job.plan.shares(self.count), strict=True):
            jobs.put((job, share))

    def next_report(self) -> Report:
        """Waits for a report.

        Raises:
            StateError: a process is gone.
        """
        while True:
            gone = [process.exitcode for process in self._processes if process.exitcode]
            try:
                return self._outbox.get(timeout=LOOK_S)
            except Empty:
                if gone:
                    raise StateError(
                        f"a process of the replay ended with {gone[0]}",
                        action="see the error above and how much memory there is, then start again",
                    ) from None
