"""Aggregates the slow way: straight from the spans that satisfy a subject, with all that a cut trace may lack."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import TypeAlias

from dsl import Span, Value
from dsl.judge.values import is_present
from dsl.syntax.nodes import Aggregate
from tests.differential.naive_pairs import contents, occurrences
from tests.differential.naive_spans import attribute, number_of

Numbers: TypeAlias = list[Fraction]
"""All numbers, among a few, that something can be; none when there is no such number."""

FEW = tuple(Fraction(number, 2) for number in range(-120, 120))
"""All literals in these tests, and the numbers around them."""


def numbers(side: Aggregate, spans: Sequence[Span], around: Iterable[Fraction], *, is_whole: bool) -> Numbers:
    """What the aggregate can be, of spans among which are those that satisfy its subject."""
    if side.function in {"sum", "min", "max", "avg"}:
        return _of_measure(side, spans, around, is_whole=is_whole)
    if side.function == "distinct":
        found = {(at.identity, value) for at in contents(spans, side.subject) for value in at.values(side.name.text)}
        return at_least(len({value for _, value in found}), is_whole=is_whole)
    occurred = occurrences(spans, side.subject)
    found = {(at.span.identity, value) for at in occurred for value in at.values(side.name.text)}
    return at_least(max(Counter(value for _, value in found).values(), default=0), is_whole=is_whole)


def durations(spans: Sequence[Span], around: Iterable[Fraction], *, is_whole: bool) -> Numbers:
    """What the duration of the trace can be."""
    starts = [span.start_ns for span in spans if span.start_ns is not None]
    ends = [span.end_ns for span in spans if span.end_ns is not None]
    if not starts or not ends:
        return [] if is_whole else [*around]
    return _above(Fraction(max(ends) - min(starts)), around, is_whole=is_whole)


def at_least(number: int, *, is_whole: bool) -> Numbers:
    """A count or, in a trace that is not whole, that and those above."""
    whole_numbers = [each for each in FEW if each.denominator == 1]
    return _above(Fraction(number), whole_numbers, is_whole=is_whole)


def _above(number: Fraction, around: Iterable[Fraction], *, is_whole: bool) -> Numbers:
    return [number] if is_whole else [number, *(each for each in around if each > number), number + 1000]


def _of_measure(side: Aggregate, spans: Sequence[Span], around: Iterable[Fraction], *, is_whole: bool) -> Numbers:
    of_span: dict[bytes, list[Value]] = {}
    for at in contents(spans, side.subject):
        value = attribute(side.name.text, side.subject, at.span, at.event)
        if is_present(value):
            of_span.setdefault(at.identity, []).append(value)
    if any(number_of(value) is None for values in of_span.values() for value in values):
        return [*around]
    found = [max(_exact(value) for value in values) for values in of_span.values()]
    if side.function == "sum" and is_whole:
        return [sum(found, Fraction(0))]
    if not found or not is_whole:
        if found and side.function == "max":
            return _above(max(found), around, is_whole=False)
        if found and side.function == "min":
            return [min(found), *(each for each in around if each < min(found))]
        return [] if is_whole else [*around]
    average = sum(found, Fraction(0)) / len(found)
    return [{"min": min(found), "max": max(found), "avg": average}[side.function]]


def _exact(value: Value) -> Fraction:
    return Fraction(Decimal(str(value)))
