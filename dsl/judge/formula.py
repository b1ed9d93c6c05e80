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
from dsl.judge.pairs import Account, Paired, PairedBounds


class Seen(NamedTuple):
    """A subject: its atom was hit. `text` is the subject in canonical form."""

    text: str
    atom: bytes

    def truth(self, facts: Facts, *, whole: bool) -> bool | None:
        """Whether the term is true of a trace with these facts; None when that is not known.

        >>> Seen("a", b"1").truth({}, whole=True), Seen("a", b"1").truth({}, whole=False)
        (False, None)
        """
        if self.atom in facts:
            return True
        return False if whole else None


@dataclass(frozen=True, slots=True)
class Ordered:
    """One subject before or after another."""

    text: str
    left: bytes
    op: str
    right: bytes

    def truth(self, facts: Facts, *, whole: bool) -> bool | None:
        """As `Seen.truth`."""
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
class Counted:
    """How often an atom was hit; exact below `limit`."""

    atom: bytes
    limit: int


@dataclass(frozen=True, slots=True)
class CountIs:
    """A count compared with a number or another count."""

    text: str
    left: Counted | int | float
    op: str
    right: Counted | int | float

    def truth(self, facts: Facts, *, whole: bool) -> bool | None:
        """As `Seen.truth`."""
        return _compared(_range(self.left, facts, whole=whole), self.op, _range(self.right, facts, whole=whole))


@dataclass(frozen=True, slots=True)
class Neg:
    """Not the item."""

    item: Term

    def truth(self, facts: Facts, *, whole: bool) -> bool | None:
        """As `Seen.truth`."""
        return _negated(self.item.truth(facts, whole=whole))


@dataclass(frozen=True, slots=True)
class Every:
    """All items."""

    items: tuple[Term, ...]

    def truth(self, facts: Facts, *, whole: bool) -> bool | None:
        """As `Seen.truth`."""
        found: bool | None = True
        for item in self.items:
            if (one := item.truth(facts, whole=whole)) is False:
                return False
            found = found and one
        return found


@dataclass(frozen=True, slots=True)
class Some:
    """At least one item."""

    items: tuple[Term, ...]

    def truth(self, facts: Facts, *, whole: bool) -> bool | None:
        """As `Seen.truth`."""
        found: bool | None = False
        for item in self.items:
            if (one := item.truth(facts, whole=whole)) is True:
                return True
            if one is None:
                found = None
        return found


Term: TypeAlias = Seen | Ordered | Paired | PairedBounds | CountIs | Neg | Every | Some


class Reason(NamedTuple):
    """Something that a verdict rests on: a subject or comparison that is missing, or is there."""

    text: str
    is_missing: bool


class _Between(NamedTuple):
    low: float
    high: float


def wakes(term: Term, *, positive: bool = True) -> Iterator[bytes]:
    """The atoms of which one must be hit before the term can be true, unless it is true of nothing."""
    match term:
        case Seen(_, atom):
            yield from [atom] if positive else []
        case Ordered(_, left, _, right):
            yield from [left, right] if positive else []
        case Paired() | PairedBounds():  # `some` cannot be true, and `each` not false, without its first subject
            yield from [term.subject] if positive is (term.quantifier == "some") else []
        case CountIs(_, left, _, right):  # more of a count can make a comparison true or false
            yield from (side.atom for side in (left, right) if isinstance(side, Counted))
        case Neg(item):
            yield from wakes(item, positive=not positive)
        case Every(items) | Some(items):
            for item in items:
                yield from wakes(item, positive=positive)


def reasons(term: Term, facts: Facts, *, whole: bool, wanted: bool) -> Iterator[Reason]:
    """Why the term is not `wanted`; nothing when it is."""
    if (found := term.truth(facts, whole=whole)) is wanted:
        return
    match term:
        case Neg(item):
            yield from reasons(item, facts, whole=whole, wanted=not wanted)
        case Every(items) | Some(items):
            for item in items:
                yield from reasons(item, facts, whole=whole, wanted=wanted)
        case _ if wanted or found:
            yield Reason(term.text, is_missing=wanted)


def accounts(term: Term, facts: Facts, *, whole: bool, wanted: bool) -> Iterator[Account]:
    """Of each pair for which the term is not `wanted`, which occurrences it is about."""
    if (found := term.truth(facts, whole=whole)) is wanted:
        return
    match term:
        case Neg(item):
            yield from accounts(item, facts, whole=whole, wanted=not wanted)
        case Every(items) | Some(items):
            for item in items:
                yield from accounts(item, facts, whole=whole, wanted=wanted)
        case Paired() | PairedBounds() if wanted or found:
            yield term.account(facts, is_missing=wanted)


def compare(left: float, op: str, right: float) -> bool:
    """A comparison of two known numbers.

    >>> compare(2, ">=", 2), compare(2, "!=", 2)
    (True, False)
    """
    return bool(_compared(_Between(left, left), op, _Between(right, right)))


def _negated(found: bool | None) -> bool | None:  # noqa: FBT001 (a truth value is what it negates)
    return None if found is None else not found


def _range(side: Counted | float, facts: Facts, *, whole: bool) -> _Between:
    if not isinstance(side, Counted):
        return _Between(side, side)
    # More may be held than this rule needs, for another rule's sake: it must not make a difference.
    count = min(found.identity_count, side.limit) if (found := facts.get(side.atom)) is not None else 0
    return _Between(count, count if whole and count < side.limit else math.inf)


def _compared(left: _Between, op: str, right: _Between) -> bool | None:
    match op:
        case "<":
            return True if left.high < right.low else False if left.low >= right.high else None
        case "<=":
            return True if left.high <= right.low else False if left.low > right.high else None
        case ">" | ">=":
            return _compared(right, "<" if op == ">" else "<=", left)
        case "!=":
            return _negated(_compared(left, "==", right))
        case _:
            if left.low == left.high == right.low == right.high:
                return True
            is_apart = left.high < right.low or left.low > right.high
            return False if is_apart or _is_no_count(left) or _is_no_count(right) else None


def _is_no_count(side: _Between) -> bool:
    """A number that no count is ever equal to, however much is missing: 1.5."""
    return side.low == side.high and side.low != math.floor(side.low)
