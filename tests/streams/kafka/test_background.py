"""Queries in the background."""

from __future__ import annotations

import pytest

from streams.kafka import background


def test_what_a_question_raises_is_raised_where_the_answer_is_taken() -> None:
    """The caller gets the error from the future, not the thread."""

    def question() -> int:
        raise ValueError("no answer")

    answer = background.run_in_background(question)

    with pytest.raises(ValueError, match="no answer"):
        answer.result()
