"""Evaluates aggregates: comparisons of numbers that are taken from an attribute of the spans of a subject.

In: facts. Out: true, false or None (unknown). A number that is not known exactly is a range. In a truncated trace,
and beyond the spans that are remembered, a count or a duration is a lower bound.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from itertools import chain
from typing import NamedTuple, TypeAlias

from dsl.judge.events import span_identity
from dsl.judge.facts import Facts
from dsl.judge.measures import total
from dsl.judge.occurrences import Occurrences
from dsl.syntax.nodes import Duration
from dsl.syntax.printer import number_text, operand_text

Number: TypeAlias = Fraction | float
"""An exact number, or an infinity."""


class Range(NamedTuple):
    """The numbers that a quantity can be; `is_whole`: it can only be an integer."""

    low: Number
    high: Number
    is_whole: bool = False


_UNKNOWN = Range(-math.inf, math.inf)


@dataclass(frozen=True, slots=True)
class Constant:
    """A number in a rule."""

    value: Fraction

    @classmethod
    def of(cls, value: float) -> Constant:
        """Return the constant for a literal; a float is its shortest decimal, as it is written."""
        return cls(Fraction(value) if isinstance(value, int) else Fraction(Decimal(repr(value))))

    @property
    def atoms(self) -> tuple[bytes, ...]:
        """Return the atoms that the quantity is taken from."""
        return ()

    def range(self, facts: Facts, *, whole: bool) -> Range:  # noqa: ARG002, it does not depend on the trace
        """Return what the quantity can be."""
        return Range(self.value, self.value)


@dataclass(frozen=True, slots=True)
class DistinctCount:
    """The number of distinct spans that hit an atom, or of distinct values if it is an atom with `Use.DISTINCT`.

    It is exact below `limit`.
    """

    atom: bytes
    limit: int
    is_of_values: bool

    @property
    def atoms(self) -> tuple[bytes, ...]:
        """Return the atoms that the quantity is taken from."""
        return (self.atom,)

    def range(self, facts: Facts, *, whole: bool) -> Range:
        """Return what the quantity can be."""
        remembered = facts.get(self.atom)
        # More may be remembered than this rule needs, for another rule; that must not make a difference.
        count = 0 if remembered is None else min(remembered.identity_count, self.limit)
        is_exact = whole and count < self.limit
        if self.is_of_values and remembered is not None:
            is_exact &= remembered.occurrences is None  # else a value could not be compared
        return Range(Fraction(count), Fraction(count) if is_exact else math.inf, is_whole=True)


@dataclass(frozen=True, slots=True)
class LargestGroup:
    """The largest number of spans that have the same value."""

    atom: bytes

    @property
    def atoms(self) -> tuple[bytes, ...]:
        """Return the atoms that the quantity is taken from."""
        return (self.atom,)

    def range(self, facts: Facts, *, whole: bool) -> Range:
        """Return what the quantity can be."""
        remembered = facts.get(self.atom)
        occurrences = None if remembered is None else remembered.occurrences
        is_exact, found = whole, set[tuple[bytes, bytes]]()
        if occurrences is not None:
            is_exact &= occurrences.is_complete
            for occurrence in occurrences.kept:
                values = [variant.keys[0] for variant in occurrence.variants]
                is_exact &= occurrence.is_complete and None not in values
                identity = span_identity(occurrence.identity)
                found.update((identity, value) for value in chain.from_iterable(filter(None, values)))
        sizes = Counter(value for _, value in found)
        size = Fraction(max(sizes.values(), default=0))
        return Range(size, size if is_exact else math.inf, is_whole=True)


@dataclass(frozen=True, slots=True)
class Measure:
    """The sum, min, max or avg, as `function` says, of the numbers of an atom with `Use.NUMBERS`.

    Of the copies of a span, the largest number counts. None when there is no number, except for a sum.
    """

    atom: bytes
    function: str

    @property
    def atoms(self) -> tuple[bytes, ...]:
        """Return the atoms that the quantity is taken from."""
        return (self.atom,)

    def range(self, facts: Facts, *, whole: bool) -> Range | None:
        """Return what the quantity can be."""
        remembered = facts.get(self.atom)
        occurrences = (remembered.occurrences if remembered else None) or Occurrences()
        numbers, is_exact = list[Decimal](), whole and occurrences.is_complete
        for occurrence in occurrences.kept:
            copies = [variant.keys[0] for variant in occurrence.variants]
            if None in copies or not occurrence.is_complete:  # no number, or there may be a larger one
                return _UNKNOWN
            if of_span := [Decimal(number.decode()) for copy in copies for number in copy or ()]:
                numbers.append(max(of_span))
        if not numbers and self.function != "sum":
            return None if is_exact else _UNKNOWN
        return self._range(numbers, is_exact=is_exact)

    def _range(self, numbers: Sequence[Decimal], *, is_exact: bool) -> Range:
        if self.function == "max":
            largest = Fraction(max(numbers))
            return Range(largest, largest if is_exact else math.inf)
        if self.function == "min":
            smallest = Fraction(min(numbers))
            return Range(smallest if is_exact else -math.inf, smallest)
        if not is_exact or (sum_of_all := total(numbers)) is None:
            return _UNKNOWN
        result = Fraction(sum_of_all) / (len(numbers) if self.function == "avg" else 1)
        return Range(result, result)


@dataclass(frozen=True, slots=True)
class TraceExtent:
    """The time from the earliest start to the latest end of all spans, in ns; None when there is no start or no end.

    `spans` is the atom that every span hits, `ends` the one of which facts have the ends of spans instead of starts.
    """

    spans: bytes
    ends: bytes

    @property
    def atoms(self) -> tuple[bytes, ...]:
        """Return the atoms that the quantity is taken from."""
        return (self.spans,)

    def range(self, facts: Facts, *, whole: bool) -> Range | None:
        """Return what the quantity can be."""
        spans, ends = facts.get(self.spans), facts.get(self.ends)
        first_ns, last_ns = None if spans is None else spans.first_ns, None if ends is None else ends.last_ns
        if first_ns is None or last_ns is None:
            return None if whole else _UNKNOWN
        extent_ns = Fraction(last_ns - first_ns)
        return Range(extent_ns, extent_ns if whole else math.inf)


Quantity: TypeAlias = Constant | DistinctCount | LargestGroup | Measure | TraceExtent


class QuantityExplanation(NamedTuple):
    """What the quantities of a comparison are: `amounts` has a text for each, such as `count(a) is 3`."""

    text: str
    amounts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantityTerm:
    """True when two quantities compare as required; `text` is the comparison in canonical form.

    `labels` are the quantities in canonical form.
    """

    text: str
    left: Quantity
    op: str
    right: Quantity
    labels: tuple[str, str] = ("", "")

    @property
    def atoms(self) -> Iterator[bytes]:
        """Yield the atoms that the quantities are taken from."""
        yield from (*self.left.atoms, *self.right.atoms)

    def truth(self, facts: Facts, *, whole: bool) -> bool | None:
        """Evaluate the term on the facts of a trace; None when its truth is unknown."""
        left, right = (side.range(facts, whole=whole) for side in (self.left, self.right))
        # As of a missing attribute, every comparison with a quantity that the trace does not have is false.
        return False if left is None or right is None else _compare(left, self.op, right)

    def explain(self, facts: Facts, *, whole: bool) -> QuantityExplanation:
        """Return what the quantities are."""
        return QuantityExplanation(
            self.text,
            tuple(
                f"{label} {_amount(side.range(facts, whole=whole), is_duration=isinstance(side, TraceExtent))}"
                for label, side in zip(self.labels, (self.left, self.right), strict=True)
                if not isinstance(side, Constant)
            ),
        )


def _amount(amount: Range | None, *, is_duration: bool) -> str:
    if amount is None:
        return "has no value"
    low, high = (_number(each, is_duration=is_duration) for each in (amount.low, amount.high))
    if low is None:
        return "is not known" if high is None else f"is {high} at most"
    return f"is {low}" if amount.low == amount.high else f"is {low} at least"


def _number(number: Number, *, is_duration: bool) -> str | None:
    if not isinstance(number, Fraction):
        return None
    exact = int(number) if number.denominator == 1 else float(number)
    return operand_text(Duration(exact)) if is_duration else number_text(exact)


def _compare(left: Range, op: str, right: Range) -> bool | None:
    if op in {">", ">="}:
        return _compare(right, "<" if op == ">" else "<=", left)
    if op in {"<", "<="}:
        # An order is monotone in both sides, so the extremes decide.
        outcomes = {
            low < high if op == "<" else low <= high for low, high in ((left.low, right.high), (left.high, right.low))
        }
        return outcomes.pop() if len(outcomes) == 1 else None
    is_equal = _is_equal(left, right)
    return is_equal if op == "==" or is_equal is None else not is_equal


def _is_equal(left: Range, right: Range) -> bool | None:
    if left.low == left.high == right.low == right.high:
        return True
    is_apart = left.high < right.low or left.low > right.high
    is_apart |= _is_fraction_beside_whole(left, right) or _is_fraction_beside_whole(right, left)
    return False if is_apart else None


def _is_fraction_beside_whole(side: Range, other: Range) -> bool:
    """Return whether the side is a number such as 1.5, which no count equals."""
    return other.is_whole and side.low == side.high and isinstance(side.low, Fraction) and side.low.denominator != 1
