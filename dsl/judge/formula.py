"""Formulas: what a rule says of a whole trace, as terms over facts about atoms.

In: the facts a window holds of each atom that was hit. Out: true, false or None (unknown). In a whole trace only a
count beyond what is counted is unknown. In a cut one a subject that was not seen is unknown, a count is "n or more",
before and after are unknown; each subject is judged on its own (Kleene's logic). Pairs are in `dsl.judge.pairs`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from dsl.judge.facts import Facts
from dsl.judge.pairs import PairBoundsTerm, PairExplanation, PairTerm


class HitTerm(NamedTuple):
    """A subject: its atom was hit. `text` is the subject in canonical form."""

    text: str
    atom: bytes

    def truth(self, facts: Facts, *, whole: bool) -> bool | None:
        """Whether the term is true of a trace with these facts; None when that is not known.

        >>> HitTerm("a", b"1").truth({}, whole=True), HitTerm("a", b"1").truth({}, whole=False)
        (False, None)
        """
        if self.atom in facts:
            return True
        return False if whole else None


@dataclass(frozen=True, slots=True)
class OrderTerm:
    """One subject before or after another."""

    text: str
    left: bytes
    op: str
    right: bytes

    def truth(self, facts: Facts, *, whole: bool) -> bool | None:
        """As `HitTerm.truth`."""
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
    """How often an atom was hit; exact below `limit`."""

    atom: bytes
    limit: int


@dataclass(frozen=True, slots=True)
class CountTerm:
    """A count compared with a number or another count."""

    text: str
    left: HitCount | int | float
    op: str
    right: HitCount | int | float

    def truth(self, facts: Facts, *, whole: bool) -> bool | None:
        """As `HitTerm.truth`."""
        return _compare(
            _count_range(self.left, facts, whole=whole), self.op, _count_range(self.right, facts, whole=whole)
        )


@dataclass(frozen=True, slots=True)
class NotTerm:
    """Not the item."""

    item: Term

    def truth(self, facts: Facts, *, whole: bool) -> bool | None:
        """As `HitTerm.truth`."""
        return _negate(self.item.truth(facts, whole=whole))


@dataclass(frozen=True, slots=True)
class AllOfTerm:
    """All items."""

    items: tuple[Term, ...]

    def truth(self, facts: Facts, *, whole: bool) -> bool | None:
        """As `HitTerm.truth`."""
        truth: bool | None = True
        for item in self.items:
            if (one := item.truth(facts, whole=whole)) is False:
                return False
            truth = truth and one
        return truth


@dataclass(frozen=True, slots=True)
class AnyOfTerm:
    """At least one item."""

    items: tuple[Term, ...]

    def truth(self, facts: Facts, *, whole: bool) -> bool | None:
        """As `HitTerm.truth`."""
        truth: bool | None = False
        for item in self.items:
            if (one := item.truth(facts, whole=whole)) is True:
                return True
            if one is None:
                truth = None
        return truth


Term: TypeAlias = HitTerm | OrderTerm | PairTerm | PairBoundsTerm | CountTerm | NotTerm | AllOfTerm | AnyOfTerm


class Reason(NamedTuple):
    """Something that a verdict rests on: a subject or comparison that is missing, or is there."""

    text: str
    is_missing: bool


class _Range(NamedTuple):
    low: float
    high: float


def trigger_atoms(term: Term, *, positive: bool = True) -> Iterator[bytes]:
    """The atoms of which one must be hit before the term can be true, unless it is true of nothing."""
    match term:
        case HitTerm(_, atom):
            yield from [atom] if positive else []
        case OrderTerm(_, left, _, right):
            yield from [left, right] if positive else []
        case PairTerm() | PairBoundsTerm():  # `some` cannot be true, and `each` not false, without its first subject
            yield from [term.subject] if positive is (term.quantifier == "some") else []
        case CountTerm(_, left, _, right):  # more of a count can make a comparison true or false
            yield from (side.atom for side in (left, right) if isinstance(side, HitCount))
        case NotTerm(item):
            yield from trigger_atoms(item, positive=not positive)
        case AllOfTerm(items) | AnyOfTerm(items):
            for item in items:
                yield from trigger_atoms(item, positive=positive)


def reasons(term: Term, facts: Facts, *, whole: bool, expected: bool) -> Iterator[Reason]:
    """Why the term is not `wanted`; nothing when it is."""
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


def pair_explanations(term: Term, facts: Facts, *, whole: bool, expected: bool) -> Iterator[PairExplanation]:
    """Of each pair for which the term is not `wanted`, which occurrences it is about."""
    if (truth := term.truth(facts, whole=whole)) is expected:
        return
    match term:
        case NotTerm(item):
            yield from pair_explanations(item, facts, whole=whole, expected=not expected)
        case AllOfTerm(items) | AnyOfTerm(items):
            for item in items:
                yield from pair_explanations(item, facts, whole=whole, expected=expected)
        case PairTerm() | PairBoundsTerm() if expected or truth:
            yield term.explain(facts, is_missing=expected)


def compare(left: float, op: str, right: float) -> bool:
    """A comparison of two known numbers.

    >>> compare(2, ">=", 2), compare(2, "!=", 2)
    (True, False)
    """
    return bool(_compare(_Range(left, left), op, _Range(right, right)))


def _negate(truth: bool | None) -> bool | None:  # noqa: FBT001 (a truth value is what it negates)
    return None if truth is None else not truth


def _count_range(side: HitCount | float, facts: Facts, *, whole: bool) -> _Range:
    if not isinstance(side, HitCount):
        return _Range(side, side)
    # More may be held than this rule needs, for another rule's sake: it must not make a difference.
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
    """A number that no count is ever equal to, however much is missing: 1.5."""
    return side.low == side.high and side.low != math.floor(side.low)
