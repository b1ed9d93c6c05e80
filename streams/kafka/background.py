"""Questions to Kafka that must not hold up who asks them: a broker that is away answers after its time-out only.

In: a question, which may block. Out: its answer, later. The threads are daemons, so that no question that is still open
holds up the end of the program either.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

AnswerT = TypeVar("AnswerT")


def run_in_background(question: Callable[[], AnswerT]) -> Future[AnswerT]:
    """Asks in a thread of its own; what the question raises, the future's `result` raises.

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
