"""Checks quantities: aggregates, counts and the duration of the trace.

In: nodes and the text that they were parsed from. Out: errors for comparisons of unlike units, and warnings.
"""

from __future__ import annotations

from collections.abc import Iterator

from dsl import problems
from dsl.judge.atoms import MAX_COUNTED
from dsl.problems import Problem
from dsl.syntax.nodes import (
    COUNT_BY,
    DISTINCT,
    Aggregate,
    Count,
    CountComparison,
    Duration,
    Number,
    Quantity,
    TraceDuration,
)
from dsl.syntax.source import SourceText

_COUNT = "a number or another count"
_DURATION = "a duration such as 10s"
_WHOLE_NUMBERS = frozenset({COUNT_BY, DISTINCT})
"""The functions that count."""


def check_comparison(comparison: CountComparison, source: SourceText) -> Iterator[Problem]:
    """Yield an error for a comparison of a duration with anything else."""
    sides = (comparison.left, comparison.right)
    if len({_is_duration(side) for side in sides}) == 1:
        return
    at, expected = next((side.at, _COUNT) for side in sides if _is_duration(side))
    if any(isinstance(side, TraceDuration) for side in sides):
        at, expected = next((side.at, _DURATION) for side in sides if not _is_duration(side))
    yield problems.wrong_operand(source.spot(at), comparison.op, expected)


def lint_comparison(comparison: CountComparison, source: SourceText) -> Iterator[Problem]:
    """Yield the warnings about a comparison."""
    for side, other in ((comparison.left, comparison.right), (comparison.right, comparison.left)):
        if isinstance(side, Number) and side.value >= MAX_COUNTED and is_count(other):
            yield problems.count_above_limit(source.spot(side.at), MAX_COUNTED)


def is_count(side: Quantity | Number | Duration) -> bool:
    """Return whether the side is a whole number that is at least 0."""
    return isinstance(side, Count) or (isinstance(side, Aggregate) and side.function in _WHOLE_NUMBERS)


def _is_duration(side: Quantity | Number | Duration) -> bool:
    return isinstance(side, Duration | TraceDuration)
