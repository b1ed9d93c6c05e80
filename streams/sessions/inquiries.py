"""Reads the checkpoints of other facts partitions for those of this worker that wait for them.

In: the facts partitions at work, once a step. Out: what they asked for, told to them a step or more later: the question
is asked in the background, because brokers may take long to answer and a step must not.
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

ASK_S = 10.0
"""How long after a question the next one is asked: what is asked for changes once an hour of record time."""

Found = dict[int, Checkpoint | None]


class Asking(Protocol):
    """A facts partition that may want the checkpoints of others."""

    def asks(self) -> Collection[int]:
        """The numbers of those that it wants now."""
        ...

    def hear(self, found: Found) -> None:
        """Takes the answer in."""
        ...


class Inquiries:
    """One question at a time, for all partitions of a worker that ask."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._answer: Future[Found] | None = None
        self._asking: dict[Asking, Collection[int]] = {}
        self._next_s = 0.0
        self._is_closed = False

    def turn(self, at_work: Iterable[Asking]) -> None:
        """Tells the answer that has come, and asks the next question when it is time."""
        at_work = [*at_work]
        if self._answer is not None:
            if not self._answer.done():
                return
            self._tell(self._answer, at_work)
            self._answer = None
        now_s = time.monotonic()
        if now_s < self._next_s:
            return
        self._asking = {each: numbers for each in at_work if (numbers := each.asks())}
        if self._asking:
            self._next_s = now_s + ASK_S
            wanted = sorted(frozenset[int]().union(*self._asking.values()))
            self._answer = background.ask(partial(self._read, wanted))

    def close(self) -> None:
        """Gives up a question that is open."""
        self._is_closed = True

    def _read(self, numbers: list[int]) -> Found:
        settings = self._settings
        return {number: search(settings, number, lambda: self._is_closed).last for number in numbers}

    def _tell(self, answer: Future[Found], at_work: Collection[Asking]) -> None:
        try:
            found = answer.result()
        except BetraceError as error:
            log.warning("checkpoints of other facts partitions not read, asked again later", reason=str(error))
            return
        for each, numbers in self._asking.items():
            # One that was given up and began again has not asked: what it knows is newer than this answer.
            if each in at_work:
                each.hear({number: found[number] for number in numbers})
