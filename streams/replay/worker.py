"""Runs one process of a replay: it reads a share of the source partitions and judges a share of the traces.

In: a `Job`, and the facts that the other processes send. Out: to each process the facts of its traces, and to the
replay the results. The trace id tells which process judges a trace, so it does not matter which one reads it. Each
process receives everything that all of them read, in order, so all have the same clock; its last message to the others
is that it has read everything.
"""

from __future__ import annotations

import gc
import os
import signal
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing import connection, parent_process
from pathlib import Path
from queue import Empty
from threading import Thread
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from confluent_kafka import KafkaException

from dsl import RuleSet, compile_texts
from streams.config.settings import Settings
from streams.errors import BetraceError, StateError
from streams.ingest.watermark_alignment import PartitionProgress, too_far_ahead
from streams.observe import logs
from streams.projection.project import Projector
from streams.replay.evaluator import Evaluator
from streams.replay.feed import Feed, KafkaFeed
from streams.replay.outcome import RECORDS, Counts, OutputOptions, Signal
from streams.replay.plan import Input, Plan
from streams.replay.selection import CountedOutcome, HalfSeen, Selection
from streams.replay.source_reader import HourRead, Read, SourceReader
from streams.rules.chosen import chosen
from streams.windows.clock import Source
from topics.errors import TopicsError
from topics.records.facts import VERSION, Facts, decode, encode

if TYPE_CHECKING:
    from multiprocessing.queues import Queue, SimpleQueue

FLUSH_S = 0.2
FLUSH_GROUPS = 20_000
WAIT_S = 0.05
GC_THRESHOLDS = (100_000, 50, 100)
ROOM_BYTES = 128 << 20
"""Memory for what waits for the slowest source partition; beyond it the others are paused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What every process receives: `texts` are the rules' files, `only` the ids of the given rules, None for all.

    If `archive` is not None it is read instead of Kafka. `selection` is what a backfill judges, None for a replay.
    """

    settings: Settings
    texts: Mapping[str, str]
    only: frozenset[str] | None
    plan: Plan
    archive: str | None = None
    output: OutputOptions = RECORDS
    selection: Selection | None = None

    def rules(self) -> RuleSet:
        """Return the given rules.

        Raises:
            ConfigError: there is no rule with one of these ids.
        """
        rules, _ = compile_texts(self.texts)
        return rules if self.only is None else chosen(rules, self.only)


class Selected(NamedTuple):
    """What a process of a backfill found and read since its last report."""

    outcomes: list[CountedOutcome]
    half_seen: list[HalfSeen]
    hours: dict[tuple[Source, int], HourRead]


class Progress(NamedTuple):
    """What a process found since its last report; `clock_ms` is the time it has reached."""

    number: int
    offsets: int
    spans: int
    clock_ms: int | None
    signals: list[Signal]
    selected: Selected | None = None


class Done(NamedTuple):
    """The last report of a process."""

    number: int
    signals: list[Signal]
    read: Read
    counts: Counts
    selected: Selected | None = None


class Failed(NamedTuple):
    """The report of a process that failed."""

    message: str
    exit_code: int


Report: TypeAlias = Progress | Done | Failed
Inbox: TypeAlias = "Queue[bytes | None]"
Outbox: TypeAlias = "Queue[Report]"
Jobs: TypeAlias = "SimpleQueue[tuple[Job, tuple[Input, ...]]]"


def projector(settings: Settings, rules: RuleSet, output: OutputOptions) -> Projector:
    """Return ingest's projector, with the attribute by which traces are grouped, showing only what is needed."""
    identity, who = settings.identity, output.who
    shown = identity if who is None or who in identity else (*identity, who)
    return Projector(rules, shown, settings.redaction, output.shows)


def run_process(number: int, jobs: Jobs, inboxes: list[Inbox], outbox: Outbox) -> None:
    """Run a process, from before it has a job."""
    # Ctrl-C is handled by the replay, which then ends its processes.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # stdout carries signals; without this, log lines would be among them.
    logs.configure()
    # Almost nothing here is ever in a cycle, and frequent collections cost a third of the speed.
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    _end_with_parent()
    job, inputs = jobs.get()
    try:
        with tempfile.TemporaryDirectory(prefix="betrace-replay-") as directory:
            Worker(job, number, inputs, inboxes, outbox, Path(directory)).run()
    except (BetraceError, TopicsError, KafkaException) as error:
        outbox.put(Failed(str(error), error.exit_code if isinstance(error, BetraceError) else BetraceError.exit_code))


class Worker:
    """A running process of a replay."""

    def __init__(
        self,
        job: Job,
        number: int,
        inputs: tuple[Input, ...],
        inboxes: list[Inbox],
        outbox: Outbox,
        directory: Path,
    ) -> None:
        rules = job.rules()
        self._number = number
        self._inboxes = inboxes
        self._outbox = outbox
        self._plan = job.plan
        self._fingerprint = rules.fingerprint
        self._reader = SourceReader(job.settings, projector(job.settings, rules, job.output), job.plan, inputs)
        self._evaluator = Evaluator(job.settings, rules, job.plan, directory, job.output, job.selection)
        self._feed = _feed(job, inputs)
        self._paused: frozenset[Source] = frozenset()
        self._finished_count = 0
        self._signals: list[Signal] = []
        self._flushed_s = time.monotonic()
        self._reported = (0, 0)

    def run(self) -> None:
        """Read and judge to the end."""
        while self._reader.open:
            self._take_in()
            taken = self._feed.take(self._ahead())
            for source in self._reader.take(taken, local_ms=_now_ms()):
                self._feed.finish(source)
            for position in self._reader.pass_over(local_ms=_now_ms()):
                self._feed.resume(position)
            self._refuse_losses()
            if self._is_due():
                self._flush()
        self._feed.close()
        self._flush()
        for inbox in self._inboxes:
            inbox.put(None)
        while self._finished_count < len(self._inboxes):
            self._take_in(WAIT_S)
            if self._is_due():
                self._flush()
        self._flush()
        ended = self._evaluator.end()
        self._outbox.put(Done(self._number, ended, self._reader.read, self._evaluator.counts(), self._take_selected()))

    def _is_due(self) -> bool:
        return time.monotonic() - self._flushed_s >= FLUSH_S or self._reader.waiting_count() >= FLUSH_GROUPS

    def _take_in(self, wait_s: float = 0) -> None:
        """Process what the others have sent, waiting up to this long for the first of it."""
        inbox = self._inboxes[self._number]
        try:
            while wait_s or not inbox.empty():
                value = inbox.get(timeout=wait_s or None)
                wait_s = 0
                if value is None:
                    self._finished_count += 1
                else:
                    self._signals += self._evaluator.apply(decode(value))
        except Empty:
            return

    def _flush(self) -> None:
        """Send every process the facts of its traces, and report to the replay what was found."""
        self._flushed_s = time.monotonic()
        for to, sections in enumerate(self._reader.sections(len(self._inboxes))):
            if sections:
                self._give(to, Facts(version=VERSION, rules=self._fingerprint, sections=sections))
        offsets, spans = self._reported
        self._reported = self._reader.offsets, self._reader.read.spans
        progress = self._reported[0] - offsets, self._reported[1] - spans
        clock_ms = self._evaluator.clock_ms
        self._outbox.put(Progress(self._number, *progress, clock_ms, self._signals, self._take_selected()))
        self._signals = []

    def _refuse_losses(self) -> None:
        """Raise for unreadable records in a backfill, which publishes permanently; a replay only reports them."""
        if self._evaluator.selected is not None and self._reader.read.lost:
            each = self._reader.read.lost[0]
            topic, number = each.source
            raise StateError(
                f"{topic}[{number}] cannot be read from offset {each.from_offset} to {each.to_offset} "
                f"({each.reason}): the hours before are published, the others cannot be judged",
                action="check that the brokers can read those records, then start again",
            )

    def _take_selected(self) -> Selected | None:
        if self._evaluator.selected is None:
            return None
        hours, self._reader.hours = self._reader.hours, {}
        return Selected(*self._evaluator.selected.take(), hours)

    def _give(self, to: int, message: Facts) -> None:
        if to == self._number:
            self._signals += self._evaluator.apply(message)
        else:
            self._inboxes[to].put(encode(message))

    def _ahead(self) -> frozenset[Source]:
        """Return the inputs that must wait for slower ones, whoever reads those, because too much waits in memory."""
        held_bytes = self._evaluator.partition.sessions.buffer.held_bytes
        if held_bytes < (ROOM_BYTES // 2 if self._paused else ROOM_BYTES):
            self._paused = frozenset()
        else:
            self._paused = too_far_ahead(self._standings(), self._paused) & self._reader.open
        return self._paused

    def _standings(self) -> dict[Source, PartitionProgress]:
        marks = self._evaluator.partition.clock.progress
        found: defaultdict[Source, PartitionProgress] = defaultdict(lambda: PartitionProgress(None, None))
        for each in self._plan.inputs:
            mark = marks.get(each.source)
            if mark is not None and mark.watermark_ms is not None:
                is_at_end = mark.watermark_ms >= self._plan.clock_ms
                found[each.source] = PartitionProgress(mark.watermark_ms, mark.watermark_ms, is_at_end)
            else:
                found[each.source] = PartitionProgress(self._plan.read_from_ms, None)
        return found


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _feed(job: Job, inputs: tuple[Input, ...]) -> Feed:
    if job.archive is None:
        return KafkaFeed(job.settings, inputs)
    from streams.replay.archive_feed import ArchiveFeed  # noqa: PLC0415, an extra

    return ArchiveFeed(job.archive, job.plan, inputs)


def _end_with_parent() -> None:
    """End this process at once when the replay is gone, for whatever reason."""
    parent = parent_process()
    if parent is None:
        return
    sentinel = parent.sentinel

    def wait() -> None:
        connection.wait([sentinel])
        os._exit(1)

    Thread(target=wait, name="parent", daemon=True).start()
