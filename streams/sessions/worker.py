"""The facts partitions of one sessions worker, and the protocol that keeps them consistent however the worker ends.

Each facts partition is a task (`task`): a state machine with a RocksDB store and a publisher. Signals and verdicts are
sent as windows close; a step commits them and makes the state durable:

    1  one transaction: signals and verdicts of all closes so far, and the checkpoint
    2  one RocksDB WriteBatch: changed and removed chains, position
    3  acknowledge the facts messages that were processed, in order
    4  from time to time, trim the facts log below the checkpoint's start

A crash between any two of them repeats work and loses none, and nothing is published twice: see `recovery`. A failure
that is nobody's fault (brokers that do not answer, another worker that took over) closes the task. After a backoff the
partition is opened again from its durable state, as after a crash.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import partial

import msgspec
import structlog
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from streams.config.settings import ADMIN, Settings
from streams.errors import NotDoneError
from streams.kafka import reader
from streams.observe import metrics, self_tracing
from streams.observe.health import Health
from streams.observe.logs import OncePerMinute
from streams.rules import registry
from streams.rules.registry import RuleSets
from streams.sessions import recovery
from streams.sessions.checkpoint_queries import CheckpointQueries
from streams.sessions.judging import JudgingReporter
from streams.sessions.last_checkpoint import last_checkpoint
from streams.sessions.publish import FencedError, Publisher
from streams.sessions.task import PartitionTask
from streams.windows import store_faults
from streams.windows.partition import Partition
from streams.windows.store_faults import DamagedError
from topics.cluster import admin as kafka
from topics.errors import AdminError

log = structlog.get_logger()

COMMITS_AT_ONCE = 8
BACKOFF_S = (1.0, 30.0)
"""How long to wait before a partition is opened again after a failure: at first, and at most as failures repeat."""
FENCED_BACKOFF_S = 15.0
"""How long to wait after being fenced: by then the group has rebalanced, or the other worker has gone."""
LAST_STEP_S = 3.0
QUERY_TIMEOUT_S = 3.0
CATCH_UP_S = 10.0
"""How long one pass over the partitions processes facts that Faust does not deliver.

Outcomes are committed only between passes, and the brokers abort a transaction that is not committed in time
(`streams.sessions.publish.TRANSACTION_MS`).
"""
LEAST_CATCH_UP_S = 1.0
"""The least of that for a partition: each time a reader is opened for it."""
SILENCE_S = 5.0
"""After this time without a message the partition's end is queried: Faust may stand still while the log grows."""
TRIM_INTERVAL_S = 30.0

Acknowledge = Callable[[], object]


class End(msgspec.Struct, frozen=True, array_like=True):
    """Up to where a source partition must be applied: `[…, offset)`, read in this epoch or a later one."""

    offset: int
    epoch: int


Ends = dict[str, dict[int, End]]
"""Ends by source topic and partition."""


class SessionsWorker:
    """The facts partitions that this worker has; `streams.sessions.app` makes one call at a time.

    Only `assign`, `revoke` and `stop` may run concurrently with another call; they influence how it continues.
    """

    def __init__(
        self, settings: Settings, known: RuleSets, identity: recovery.LogIdentity, health: Health | None = None
    ) -> None:
        self._settings = settings
        self._health = health or Health()
        self._known = known
        self._judging = JudgingReporter(known, self._health)
        self._identity = identity
        self._admin = AdminClient({**settings.client(ADMIN)})
        self._queries = CheckpointQueries(settings)
        self._commits = ThreadPoolExecutor(COMMITS_AT_ONCE, "commit")
        self._assigned: frozenset[int] = frozenset()
        self._last_message_s: dict[int, float] = {}
        self._behind: set[int] = set()
        """The partitions that have not caught up with the messages that Faust delivered, or with the log."""
        self._tasks: dict[int, PartitionTask] = {}
        self._unacknowledged: defaultdict[int, list[Acknowledge]] = defaultdict(list)
        self._backoffs: dict[int, tuple[float, float]] = {}
        self._trimmed_to: dict[int, int] = {}
        self._trimmed_s = time.monotonic()
        self._stopped_s: float | None = None
        self._repeated = OncePerMinute()

    def assign(self, numbers: Iterable[int]) -> None:
        """Add facts partitions that the group assigned to this worker."""
        self._assigned |= frozenset(numbers)
        self._health.assign(len(self._assigned))

    def revoke(self, numbers: Iterable[int]) -> None:
        """Start no new work on partitions that the group is about to move; `release` must follow."""
        self._assigned -= frozenset(numbers)
        self._health.assign(len(self._assigned))

    def stop(self) -> None:
        """Start no new work because the program ends, and bound the waits for brokers."""
        self._stopped_s = time.monotonic()

    def apply(self, number: int, offset: int, value: bytes, acknowledge: Acknowledge) -> None:
        """Process one facts message, and those before it that Faust does not deliver, and send what closes by them.

        Raises:
            StateError: the message cannot be read, or messages before it are missing.
        """
        if number not in self._assigned:
            return
        self._last_message_s[number] = time.monotonic()
        self._unacknowledged[number].append(acknowledge)
        if self._may_open(number) and self._run_guarded(number, partial(self._process, number, offset, value)):
            self._health.move()

    def step(self, *, is_last: bool = False) -> list[Acknowledge]:
        """Make the work since the last step durable; return the acknowledgements that are due, in order."""
        self._queries.poll(self._tasks.values())
        with self_tracing.span("step", partitions=len(self._tasks)):
            self._step(is_last=is_last)
        due = [
            ack
            for number, task in self._tasks.items()
            if task.is_durable and number not in self._behind
            for ack in self._unacknowledged.pop(number, ())
        ]
        self._report_health()
        self._poll_silent()
        self._trim_log()
        return due

    def _step(self, *, is_last: bool) -> None:
        prepares = {number: partial(task.prepare, is_last=is_last) for number, task in self._tasks.items()}
        prepared = [number for number, prepare in prepares.items() if self._run_guarded(number, prepare)]
        commits = [(number, self._commits.submit(self._tasks[number].commit)) for number in prepared]
        for number, commit in commits:
            if self._run_guarded(number, partial(self._flush_state, number, commit)):
                self._backoffs.pop(number, None)

    def idle(self, ends: Ends) -> frozenset[int]:
        """Return the facts partitions that have applied all source records below `ends` and have no open window."""
        return frozenset(number for number, task in self._tasks.items() if _has_reached(task.partition, ends))

    def release(self, numbers: Iterable[int]) -> list[Acknowledge]:
        """Do a last step for partitions that move to another worker, then close them."""
        due = self.step()
        for number in numbers:
            self._unacknowledged.pop(number, None)
            self._backoffs.pop(number, None)
            self._last_message_s.pop(number, None)
            self._close_task(number)
        return due

    def close(self) -> list[Acknowledge]:
        """Do a last step, then close everything."""
        try:
            due = self.step(is_last=True)
            self._log_withheld()
            return due
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Close everything without a last step; work that is not durable is repeated, as after a crash."""
        self._queries.close()
        for number in list(self._tasks):
            self._close_task(number)
        self._commits.shutdown()

    def _log_withheld(self) -> None:
        """Log the signals that no summary covers yet; a later run publishes it when the hour is over."""
        counts: Counter[str] = Counter()
        for task in self._tasks.values():
            for withheld in task.summaries.withheld:
                counts[withheld.rule] += withheld.count
        for rule, count in sorted(counts.items()):
            log.info("signals withheld, summary follows at the end of the hour", rule=rule, count=count)

    def _run_guarded(self, number: int, call: Callable[[], bool]) -> bool:
        """Call; if it fails through nobody's fault, close the task, to be opened again after a backoff."""
        try:
            return call()
        except (NotDoneError, AdminError) as error:
            log.warning("facts partition closed after a failure, retrying later", partition=number, reason=str(error))
            metrics.PARTITIONS_GIVEN_UP.inc()
            self._close_task(number)
            if isinstance(error, DamagedError):
                self._discard_store(number)
            _, backoff_s = self._backoffs.get(number, (0.0, 0.0))
            backoff_s = (
                FENCED_BACKOFF_S
                if isinstance(error, FencedError)
                else min(max(2 * backoff_s, BACKOFF_S[0]), BACKOFF_S[1])
            )
            self._backoffs[number] = (time.monotonic() + backoff_s, backoff_s)
            return False

    def _discard_store(self, number: int) -> None:
        """Delete a damaged store: the facts log suffices to rebuild its windows."""
        path = recovery.store_path(self._settings, number)
        log.error("deleting a damaged store, its windows will be rebuilt", partition=number, store=str(path))
        metrics.STORES_DISCARDED.inc()
        store_faults.delete(path)

    def _may_open(self, number: int) -> bool:
        until_s, _ = self._backoffs.get(number, (0.0, 0.0))
        return number in self._assigned and self._stopped_s is None and time.monotonic() >= until_s

    def _is_out_of_time(self) -> bool:
        return self._stopped_s is not None and time.monotonic() - self._stopped_s > LAST_STEP_S

    def _close_task(self, number: int) -> None:
        self._behind.discard(number)
        task = self._tasks.pop(number, None)
        if task is not None:
            task.close()

    def _process(self, number: int, offset: int, value: bytes) -> bool:
        task = self._tasks.get(number) or self._open(number)
        # While the partition is behind, `_poll_silent` reads this message again in its turn.
        if number not in self._behind and self._catch_up(task, offset):
            task.process(offset, value)
        return True

    def _catch_up(self, task: PartitionTask, to_offset: int) -> bool:
        """Process the messages below `to_offset` with a reader of our own, because Faust does not deliver them.

        What this reader cannot read either is lost. Return False if there are more than can be processed in time; the
        partition is then behind.
        """
        until_s = time.monotonic() + max(CATCH_UP_S / len(self._assigned or (0,)), LEAST_CATCH_UP_S)
        at = TopicPartition(self._settings.topic("facts"), task.number, task.partition.next_offset)
        messages = reader.between(self._settings, at, to_offset, self._should_abort(task.number), task.lose)
        with closing(messages):
            for message in messages:
                task.process(message.offset() or 0, message.value() or b"")
                is_over = time.monotonic() > until_s or self._stopped_s is not None
                if is_over and task.partition.next_offset < to_offset:
                    self._behind.add(task.number)
                    return False
        self._behind.discard(task.number)
        return True

    def _open(self, number: int) -> PartitionTask:
        # Steps 1 to 4 of `recovery`.
        publisher = Publisher(self._settings, number, self._is_out_of_time)
        try:
            last = last_checkpoint(self._settings, number, self._should_abort(number))
            bounds = recovery.log_bounds(self._admin, self._settings, number, timeout_s=QUERY_TIMEOUT_S)
            store = self._identity.store(self._settings, number)
        except Exception:
            publisher.close()
            raise
        topic_id = self._identity.topic_id
        usable = recovery.usable_checkpoint(last, topic_id, store.position(), bounds.start)
        recovery.report_losses(number, last, usable, topic_id, bounds)
        log_start_missing = recovery.is_log_start_missing(last, usable, bounds)
        partition = recovery.open_partition(
            self._settings, self._known, number, store, usable, bounds.start, log_start_missing=log_start_missing
        )
        log.info("facts partition opened", partition=number, open_windows=partition.sessions.open_windows)
        task = self._tasks[number] = PartitionTask(
            self._settings, self._known, topic_id, number, partition, store, publisher, usable, usable or last
        )
        # Fetch the sets its sources are projected with: without them it is not known which rules judge.
        registry.fetch(self._settings, self._known, partition.rules.rule_sets)
        return task

    def _should_abort(self, number: int) -> Callable[[], bool]:
        return lambda: not self._may_open(number)

    def _flush_state(self, number: int, commit: Future[None]) -> bool:
        commit.result()
        self._tasks[number].flush_state(len(self._tasks))
        return True

    def _report_health(self) -> None:
        tasks = self._tasks.values()
        if tasks and all(task.is_durable for task in tasks):
            self._health.commit()
        for task in tasks:
            if task.rule_set is not None:
                self._health.use_rules(task.rule_set)
        self._judging.show(tasks)

    def _poll_silent(self) -> None:
        """Process the log without Faust, where Faust delivers nothing although the log grows, or was too fast."""
        now_s = time.monotonic()
        silent = [
            number
            for number in self._assigned
            if number in self._behind or now_s - self._last_message_s.setdefault(number, now_s) > SILENCE_S
        ]
        if not silent or self._stopped_s is not None:
            return
        facts = self._settings.topic("facts")
        partitions = [TopicPartition(facts, number) for number in silent]
        try:
            ends = kafka.end_offsets(self._admin, partitions, timeout_s=QUERY_TIMEOUT_S)
        except AdminError as error:
            self._repeated.warning("ends of silent facts partitions unknown, retrying later", reason=str(error))
            return
        for number in filter(self._may_open, silent):
            self._last_message_s[number] = now_s
            if self._run_guarded(number, partial(self._process_missed, number, ends[facts, number])):
                self._health.move()

    def _process_missed(self, number: int, end: int) -> bool:
        task = self._tasks.get(number) or self._open(number)
        if (start := task.partition.next_offset) < end:
            self._catch_up(task, end)
            metrics.FACTS_READ_ON.inc(task.partition.next_offset - start)
        return True

    def _trim_log(self) -> None:
        """Delete facts that no checkpoint requires; a request without an answer is repeated at the next interval."""
        now_s = time.monotonic()
        if now_s - self._trimmed_s < TRIM_INTERVAL_S or self._stopped_s is not None:
            return
        self._trimmed_s = now_s
        facts = self._settings.topic("facts")
        bounds = {number: task.trim_below for number, task in self._tasks.items()}
        due = [
            TopicPartition(facts, number, below)
            for number, below in bounds.items()
            if below > self._trimmed_to.get(number, 0)
        ]
        if due:
            for at, answer in self._admin.delete_records(due).items():
                answer.add_done_callback(partial(self._on_trimmed, at))

    def _on_trimmed(self, at: TopicPartition, answer: Future[object]) -> None:
        error = answer.exception()
        if error is None:
            self._trimmed_to[at.partition] = at.offset
        else:
            log.warning("facts log not trimmed", partition=at.partition, below=at.offset, reason=str(error))


def _has_reached(partition: Partition, ends: Ends) -> bool:
    progress = partition.clock.progress
    reached = all(
        (applied := progress.get((topic, number))) is not None
        and applied.epoch >= end.epoch
        and applied.applied_to >= end.offset
        for topic, numbers in ends.items()
        for number, end in numbers.items()
    )
    return reached and partition.sessions.is_empty
