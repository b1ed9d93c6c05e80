"""Reads the checkpoints of other facts partitions for those of this worker that wait for them.

In: the facts partitions at task, once a step. Out: what they asked for, told to them a step or more later: the question
is asked in the background, because brokers may take long to query and a step must not.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from concurrent.futures import Future
from functools import partial
from typing import Protocol

import structlog

from streams.config.settings import Settings
from streams.errors import BetraceError
from streams.kafka import background
from streams.sessions.last_checkpoint import search
from topics.records.checkpoints import Checkpoint

log = structlog.get_logger()

QUERY_INTERVAL_S = 10.0
"""How long after a question the next one is asked: what is asked for changes once an hour of record time."""

Checkpoints = dict[int, Checkpoint | None]


class CheckpointConsumer(Protocol):
    """A facts partition that may want the checkpoints of others."""

    def required_checkpoints(self) -> Collection[int]:
        """The numbers of those that it wants now."""
        ...

    def receive_checkpoints(self, checkpoints: Checkpoints) -> None:
        """Takes the query in."""
        ...


class CheckpointQueries:
    """One question at a time, for all partitions of a worker that ask."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._query: Future[Checkpoints] | None = None
        self._waiting: dict[CheckpointConsumer, Collection[int]] = {}
        self._next_s = 0.0
        self._is_closed = False

    def poll(self, tasks: Iterable[CheckpointConsumer]) -> None:
        """Tells the query that has come, and asks the next question when it is time."""
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
        """Gives up a question that is open."""
        self._is_closed = True

    def _read(self, numbers: list[int]) -> Checkpoints:
        settings = self._settings
        return {number: search(settings, number, lambda: self._is_closed).last for number in numbers}

    def _distribute(self, query: Future[Checkpoints], tasks: Collection[CheckpointConsumer]) -> None:
        try:
            checkpoints = query.result()
        except BetraceError as error:
            log.warning("checkpoints of other facts partitions not read, asked again later", reason=str(error))
            return
        for each, numbers in self._waiting.items():
            # One that was given up and began again has not asked: what it knows is newer than this query.
            if each in tasks:
                each.receive_checkpoints({number: checkpoints[number] for number in numbers})
