"""Queries in the background."""

from __future__ import annotations

import pytest

from streams.kafka import background


def test_error_of_a_query_is_raised_by_its_result() -> None:
    """The caller gets the error from the future, not the thread."""

    def question() -> int:
        raise ValueError("no answer")

    answer = background.run_in_background(question)

    with pytest.raises(ValueError, match="no answer"):
        answer.result()
