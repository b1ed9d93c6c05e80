"""Runs queries to Kafka in the background, because a broker that is away answers only after a time-out.

In: a query, which may block. Out: its answer, later. The threads are daemons, so an open query does not delay the end
of the program either.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

AnswerT = TypeVar("AnswerT")


def run_in_background(question: Callable[[], AnswerT]) -> Future[AnswerT]:
    """Run a query in a thread of its own; the future's `result` returns its answer, or raises what it raised.

    >>> run_in_background(lambda: 6 * 7).result()
    42
    """
    answer: Future[AnswerT] = Future()

    def run() -> None:
        try:
            answer.set_result(question())
        except BaseException as error:  # noqa: BLE001, it is raised where the answer is taken
            answer.set_exception(error)

    Thread(target=run, name="question", daemon=True).start()
    return answer
