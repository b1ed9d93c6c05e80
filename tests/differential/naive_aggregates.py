"""Aggregates the slow way: straight from the spans that satisfy a subject, with all that a cut trace may lack."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from dsl import Span
from dsl.syntax.nodes import Aggregate
from tests.differential.naive_pairs import occurrences

FEW = range(-60, 60)
"""All literals in these tests, and the numbers around them."""


def numbers(side: Aggregate, spans: Sequence[Span], *, is_whole: bool) -> list[float]:
    """All numbers that the aggregate may be, of spans among which are those that satisfy its subject."""
    found = {(at.identity, value) for at in occurrences(spans, side.subject) for value in at.values(side.name.text)}
    if side.function == "distinct":
        return at_least(len({value for _, value in found}), is_whole=is_whole)
    return at_least(max(Counter(value for _, value in found).values(), default=0), is_whole=is_whole)


def durations(spans: Sequence[Span], *, is_whole: bool) -> list[float]:
    """All durations that the trace may have; none when it has no start or no end."""
    starts = [span.start_ns for span in spans if span.start_ns is not None]
    ends = [span.end_ns for span in spans if span.end_ns is not None]
    if not starts or not ends:
        return [] if is_whole else [*FEW]
    return at_least(max(ends) - min(starts), is_whole=is_whole)


def at_least(number: int, *, is_whole: bool) -> list[float]:
    """A number or, in a trace that is not whole, that and those above."""
    return [number] if is_whole else [number, *(each for each in FEW if each > number), number + max(FEW)]
