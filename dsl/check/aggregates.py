"""Checks quantities: aggregates, counts and the duration of the trace.

In: nodes and the text that they were parsed from. Out: errors for comparisons of unlike units, and warnings.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TypeAlias

from dsl import problems
from dsl.judge.atoms import MAX_COUNTED
from dsl.judge.builtin import DURATION, builtin_of
from dsl.judge.predicate import split_subject
from dsl.problems import Problem
from dsl.syntax.nodes import (
    COUNT_BY,
    DISTINCT,
    MEASURES,
    OF_SOME,
    Aggregate,
    AllOf,
    AnyOf,
    Count,
    CountComparison,
    Duration,
    Expr,
    Not,
    Number,
    Quantity,
    TraceDuration,
)
from dsl.syntax.printer import expr_text
from dsl.syntax.source import SourceText

_Side: TypeAlias = Quantity | Number | Duration

_NUMBER = "a number or another count"
_DURATION = "a duration such as 10s"
_WHOLE_NUMBERS = frozenset({COUNT_BY, DISTINCT})
"""The functions that count."""
_OPPOSITE = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}


def check_comparison(comparison: CountComparison, source: SourceText) -> Iterator[Problem]:
    """Yield an error for a comparison of a duration with anything else."""
    for side, other in _both_ways(comparison):
        if isinstance(side, TraceDuration) and not _is_duration(other):
            yield problems.wrong_operand(source.spot(other.at), comparison.op, _DURATION)
            return
    for side, other in _both_ways(comparison):
        # A number is accepted for a span's duration in nanoseconds, as in a where.
        if _is_duration(side) and not _is_duration(other) and not isinstance(other, Number):
            yield problems.wrong_operand(source.spot(side.at), comparison.op, _NUMBER)


def lint_comparison(comparison: CountComparison, source: SourceText) -> Iterator[Problem]:
    """Yield the warnings about a comparison."""
    for side, other in _both_ways(comparison):
        if isinstance(side, Number) and side.value >= MAX_COUNTED and is_count(other):
            yield problems.count_above_limit(source.spot(side.at), MAX_COUNTED)
        if isinstance(side, Number) and isinstance(other, Aggregate) and _is_duration(other):
            yield problems.unitless_duration(source.spot(side.at))


def lint_required(expr: Expr, source: SourceText, *, positive: bool = True) -> Iterator[Problem]:
    """Warn of required comparisons with what a trace may not have: the smallest, largest or average number."""
    match expr:
        case AllOf(items) | AnyOf(items):
            for item in items:
                yield from lint_required(item, source, positive=positive)
        case Not(item):
            yield from lint_required(item, source, positive=not positive)
        case CountComparison(_, op) if positive and any(each.function in OF_SOME for each in expr.aggregates):
            negation = expr_text(Not(replace(expr, op=_OPPOSITE[op])))
            yield problems.absent_measure(source.spot(expr.at), expr_text(expr), negation)


def is_count(side: Quantity | Number | Duration) -> bool:
    """Return whether the side is a whole number that is at least 0."""
    return isinstance(side, Count) or (isinstance(side, Aggregate) and side.function in _WHOLE_NUMBERS)


def _is_duration(side: _Side) -> bool:
    if isinstance(side, Aggregate) and side.function in MEASURES:
        return builtin_of(side.name.text, split_subject(side.subject).name) == DURATION
    return isinstance(side, Duration | TraceDuration)


def _both_ways(comparison: CountComparison) -> Iterator[tuple[_Side, _Side]]:
    """Yield each side with the other one."""
    yield comparison.left, comparison.right
    yield comparison.right, comparison.left
