"""Evaluates formulas: the terms of a rule over the facts of a trace, in Kleene's three-valued logic.

In: the facts of each atom that was hit. Out: true, false or None (unknown). In a whole trace, only a count above the
counting limit is unknown. In a truncated one, an atom without hits is unknown, a count is a lower bound, and before and
after are unknown. The terms of pairs are in `dsl.judge.pairs`, those of aggregates in `dsl.judge.aggregates`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from dsl.judge.aggregates import QuantityExplanation, QuantityTerm
from dsl.judge.facts import Facts
from dsl.judge.pairs import PairBoundsTerm, PairExplanation, PairTerm


class HitTerm(NamedTuple):
    """True when the atom was hit; `text` is its subject in canonical form."""

    text: str
    atom: bytes

    def truth(self, facts: Facts, *, whole: bool) -> bool | None:
        """Evaluate the term on the facts of a trace; None when its truth is unknown.

        >>> HitTerm("a", b"1").truth({}, whole=True), HitTerm("a", b"1").truth({}, whole=False)
        (False, None)
        """
        if self.atom in facts:
            return True
        return False if whole else None


@dataclass(frozen=True, slots=True)
class OrderTerm:
    """True when one subject comes before or after another."""

    text: str
    left: bytes
    op: str
    right: bytes

    def truth(self, facts: Facts, *, whole: bool) -> bool | None:
        """Evaluate the term, as `HitTerm.truth` does."""
        if not whole:
            return None
        if (left := facts.get(self.left)) is None or (right := facts.get(self.right)) is None:
            return False
        before = self.op == "before"
        left_ns, right_ns = (left.first_ns, right.first_ns) if before else (left.last_ns, right.last_ns)
        if left_ns is None or right_ns is None:
            return False
        return left_ns < right_ns if before else left_ns > right_ns


@dataclass(frozen=True, slots=True)
class HitCount:
    """The number of hits of an atom; exact below `limit`."""

    atom: bytes
    limit: int


@dataclass(frozen=True, slots=True)
class CountTerm:
    """True when a count compares as required with a number or another count."""

    text: str
    left: HitCount | int | float
    op: str
    right: HitCount | int | float

    def truth(self, facts: Facts, *, whole: bool) -> bool | None:
        """Evaluate the term, as `HitTerm.truth` does."""
        left, right = (_count_range(side, facts, whole=whole) for side in (self.left, self.right))
        return _compare(left, self.op, right)


@dataclass(frozen=True, slots=True)
class NotTerm:
    """True when the item is false."""

    item: Term

    def truth(self, facts: Facts, *, whole: bool) -> bool | None:
        """Evaluate the term, as `HitTerm.truth` does."""
        return _negate(self.item.truth(facts, whole=whole))


@dataclass(frozen=True, slots=True)
class AllOfTerm:
    """True when all items are true."""

    items: tuple[Term, ...]

    def truth(self, facts: Facts, *, whole: bool) -> bool | None:
        """Evaluate the term, as `HitTerm.truth` does."""
        truth: bool | None = True
        for item in self.items:
            if (one := item.truth(facts, whole=whole)) is False:
                return False
            truth = truth and one
        return truth


@dataclass(frozen=True, slots=True)
class AnyOfTerm:
    """True when at least one item is true."""

    items: tuple[Term, ...]

    def truth(self, facts: Facts, *, whole: bool) -> bool | None:
        """Evaluate the term, as `HitTerm.truth` does."""
        truth: bool | None = False
        for item in self.items:
            if (one := item.truth(facts, whole=whole)) is True:
                return True
            if one is None:
                truth = None
        return truth


Term: TypeAlias = (
    HitTerm | OrderTerm | PairTerm | PairBoundsTerm | CountTerm | QuantityTerm | NotTerm | AllOfTerm | AnyOfTerm
)


class Reason(NamedTuple):
    """A subject or comparison that explains a verdict because it is missing or, if not `is_missing`, present."""

    text: str
    is_missing: bool


class _Range(NamedTuple):
    low: float
    high: float


def trigger_atoms(term: Term, *, positive: bool = True) -> Iterator[bytes]:
    """Yield the atoms of which one must be hit before a term that is false without hits can be true."""
    match term:
        case HitTerm(_, atom):
            yield from [atom] if positive else []
        case OrderTerm(_, left, _, right):
            yield from [left, right] if positive else []
        case PairTerm() | PairBoundsTerm():  # without its first subject, `some` is false and `each` is true
            yield from [term.subject] if positive is (term.quantifier == "some") else []
        case CountTerm(_, left, _, right):  # a higher count can make a comparison true or false
            yield from (side.atom for side in (left, right) if isinstance(side, HitCount))
        case QuantityTerm():
            yield from term.atoms
        case NotTerm(item):
            yield from trigger_atoms(item, positive=not positive)
        case AllOfTerm(items) | AnyOfTerm(items):
            for item in items:
                yield from trigger_atoms(item, positive=positive)


def reasons(term: Term, facts: Facts, *, whole: bool, expected: bool) -> Iterator[Reason]:
    """Yield why the term is not `expected`; nothing when it is."""
    if (truth := term.truth(facts, whole=whole)) is expected:
        return
    match term:
        case NotTerm(item):
            yield from reasons(item, facts, whole=whole, expected=not expected)
        case AllOfTerm(items) | AnyOfTerm(items):
            for item in items:
                yield from reasons(item, facts, whole=whole, expected=expected)
        case _ if expected or truth:
            yield Reason(term.text, is_missing=expected)


def explanations(
    term: Term, facts: Facts, *, whole: bool, expected: bool
) -> Iterator[PairExplanation | QuantityExplanation]:
    """Yield an explanation for each pair and aggregate that keeps the term from being `expected`.

    That of a pair names the responsible occurrences, that of an aggregate the numbers that were compared.
    """
    if (truth := term.truth(facts, whole=whole)) is expected:
        return
    match term:
        case NotTerm(item):
            yield from explanations(item, facts, whole=whole, expected=not expected)
        case AllOfTerm(items) | AnyOfTerm(items):
            for item in items:
                yield from explanations(item, facts, whole=whole, expected=expected)
        case PairTerm() | PairBoundsTerm() if expected or truth:
            yield term.explain(facts, is_missing=expected)
        case QuantityTerm() if expected or truth:
            yield term.explain(facts, whole=whole)


def compare(left: float, op: str, right: float) -> bool:
    """Compare two known numbers.

    >>> compare(2, ">=", 2), compare(2, "!=", 2)
    (True, False)
    """
    return bool(_compare(_Range(left, left), op, _Range(right, right)))


def _negate(truth: bool | None) -> bool | None:  # noqa: FBT001 (a truth value is what it negates)
    return None if truth is None else not truth


def _count_range(side: HitCount | float, facts: Facts, *, whole: bool) -> _Range:
    if not isinstance(side, HitCount):
        return _Range(side, side)
    # More hits may be remembered than this rule needs, for another rule; that must not make a difference.
    count = min(truth.identity_count, side.limit) if (truth := facts.get(side.atom)) is not None else 0
    return _Range(count, count if whole and count < side.limit else math.inf)


def _compare(left: _Range, op: str, right: _Range) -> bool | None:
    match op:
        case "<":
            return True if left.high < right.low else False if left.low >= right.high else None
        case "<=":
            return True if left.high <= right.low else False if left.low > right.high else None
        case ">" | ">=":
            return _compare(right, "<" if op == ">" else "<=", left)
        case "!=":
            return _negate(_compare(left, "==", right))
        case _:
            if left.low == left.high == right.low == right.high:
                return True
            is_apart = left.high < right.low or left.low > right.high
            return False if is_apart or _is_fractional(left) or _is_fractional(right) else None


def _is_fractional(side: _Range) -> bool:
    """Return whether no count can equal the number, however many hits are missing: 1.5."""
    return side.low == side.high and side.low != math.floor(side.low)
