"""Reads the checkpoints of other facts partitions for the tasks of this worker that require them.

In: the tasks, once a step. Out: the checkpoints, delivered to them a step or more later. The query runs in the
background, because brokers may take long to answer and a step must not wait.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from concurrent.futures import Future
from functools import partial
from typing import Protocol

from streams.config.settings import Settings
from streams.errors import BetraceError
from streams.kafka import background
from streams.observe.logs import OncePerMinute
from streams.sessions.last_checkpoint import search
from topics.records.checkpoints import Checkpoint

QUERY_INTERVAL_S = 10.0
"""The time between two queries; what they ask for changes once an hour of record time."""

Checkpoints = dict[int, Checkpoint | None]


class CheckpointConsumer(Protocol):
    """A facts partition that may require the checkpoints of others."""

    def required_checkpoints(self) -> Collection[int]:
        """Return the numbers of the partitions whose checkpoints it requires now."""
        ...

    def receive_checkpoints(self, checkpoints: Checkpoints) -> None:
        """Take the answer."""
        ...


class CheckpointQueries:
    """One query at a time, for all tasks of a worker."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._query: Future[Checkpoints] | None = None
        self._waiting: dict[CheckpointConsumer, Collection[int]] = {}
        self._next_s = 0.0
        self._is_closed = False
        self._repeated = OncePerMinute()

    def poll(self, tasks: Iterable[CheckpointConsumer]) -> None:
        """Deliver the answer that has arrived, and start the next query when it is due."""
        tasks = [*tasks]
        if self._query is not None:
            if not self._query.done():
                return
            self._distribute(self._query, tasks)
            self._query = None
        now_s = time.monotonic()
        if now_s < self._next_s:
            return
        self._waiting = {each: numbers for each in tasks if (numbers := each.required_checkpoints())}
        if self._waiting:
            self._next_s = now_s + QUERY_INTERVAL_S
            required = sorted(frozenset[int]().union(*self._waiting.values()))
            self._query = background.run_in_background(partial(self._read, required))

    def close(self) -> None:
        """Abandon an open query."""
        self._is_closed = True

    def _read(self, numbers: list[int]) -> Checkpoints:
        settings = self._settings
        return {number: search(settings, number, lambda: self._is_closed).last for number in numbers}

    def _distribute(self, query: Future[Checkpoints], tasks: Collection[CheckpointConsumer]) -> None:
        try:
            checkpoints = query.result()
        except BetraceError as error:
            self._repeated.warning(
                "checkpoints of other facts partitions could not be read, retrying later", reason=str(error)
            )
            return
        for each, numbers in self._waiting.items():
            # A task that was closed and reopened has not asked: what it knows is newer than this answer.
            if each in tasks:
                each.receive_checkpoints({number: checkpoints[number] for number in numbers})
