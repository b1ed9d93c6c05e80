"""Verdicts the slow way: every question of a rule is put to all spans again, straight from its nodes."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from itertools import product

from dsl import Span
from dsl.syntax.nodes import (
    Aggregate,
    AllOf,
    AnyOf,
    Cond,
    Count,
    CountComparison,
    Duration,
    Expr,
    Not,
    Number,
    Order,
    Pair,
    RuleBody,
    Subject,
    When,
    subjects,
)
from tests.differential import naive_aggregates, naive_pairs
from tests.differential.naive_aggregates import FEW
from tests.differential.naive_spans import holds, satisfies

SIGNS = {"==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


@dataclass(frozen=True)
class Trace:
    """Some spans, whether they are all, and what is excepted; `odd` says that an odd number of `not` is around.

    `always_excepted` binds what pairs are about, `repeated` are other subjects of pairs that it binds as well.
    """

    spans: list[Span]
    is_whole: bool
    exceptions: tuple[Cond, ...]
    always_excepted: tuple[Cond, ...] = ()
    repeated: tuple[Subject, ...] = ()

    def truth(self, expr: Expr, *, odd: bool = False) -> bool | None:
        """Whether the expression is true; None when that is not known."""
        match expr:
            case Not(item):
                return None if (found := self.truth(item, odd=not odd)) is None else not found
            case AllOf(items) | AnyOf(items):
                truths, decisive = {self.truth(item, odd=odd) for item in items}, isinstance(expr, AnyOf)
                return decisive if decisive in truths else None if None in truths else not decisive
            case Order(left, op, right):
                sides = [naive_pairs.occurrences(self.of(side, odd), side) for side in (left, right)]
                starts = [[at.start_ns for at in of_side if at.start_ns] for of_side in sides]
                first, second = ((min if op == "before" else max)(side, default=0) for side in starts)
                return (all(starts) and SIGNS["<" if op == "before" else ">"](first, second)) if self.is_whole else None
            case Pair():
                return naive_pairs.truth(expr, self.sides(expr, odd), is_whole=self.is_whole)
            case CountComparison(left, op, right):
                known = [number for side in (left, right) for number in replace(self, is_whole=True).numbers(side, odd)]
                around = [*FEW, *known, *(number + 1 for number in known), *(number - 1 for number in known)]
                answers = {
                    SIGNS[op](*pair) for pair in product(*(self.numbers(at, odd, around) for at in (left, right)))
                }
                return answers.pop() if len(answers) == 1 else None if answers else False
            case _:
                return bool(self.of(expr, odd)) or (False if self.is_whole else None)

    def of(self, subject: Subject, odd: object) -> list[Span]:
        """The spans that satisfy the subject."""
        found = [span for span in self.spans if satisfies(span, subject)]
        return found if odd else _without(self.exceptions, found)

    def sides(self, pair: Pair, odd: object) -> naive_pairs.Sides:
        """The spans of which those that satisfy its subjects make a pair true."""
        bound = _without(self.always_excepted, self.spans)
        other = bound if pair.partner.subject in self.repeated else self.spans
        if self.exceptions and not odd:
            other = _without(self.exceptions, other)
        return naive_pairs.Sides(bound, other, self.spans)

    def numbers(self, side: object, odd: object, around: Sequence[Fraction] = FEW) -> list[Fraction]:
        """A number, or all that a quantity can be; nothing when the trace does not have it."""
        match side:
            case Number(value) | Duration(value):
                return [Fraction(Decimal(str(value)))]
            case Count(subject):
                count = len({span.identity for span in self.of(subject, odd)})
                return naive_aggregates.at_least(count, is_whole=self.is_whole)
            case Aggregate():
                bound = _without(self.always_excepted, self.spans)
                return naive_aggregates.numbers(side, bound, around, is_whole=self.is_whole)
            case _:
                return naive_aggregates.durations(self.spans, around, is_whole=self.is_whole)


def _without(exceptions: tuple[Cond, ...], spans: list[Span]) -> list[Span]:
    return [span for span in spans if not any(holds(cond, "", span, {}) for cond in exceptions)]


def verdict(body: RuleBody, kind: str, trace: Trace) -> str:
    """The verdict, or `excepted`."""
    about: Expr
    bad: Expr
    never: tuple[Expr, ...] = ()
    trace = replace(trace, always_excepted=trace.exceptions)
    if isinstance(body, When):
        about, bad, never = body.condition, AnyOf(tuple(map(Not, body.always))), body.never
    elif kind == "invariant" and isinstance(body, AllOf):
        about, bad = body.items[0], Not(AllOf(body.items[1:]))
    else:
        about, bad = AnyOf((body, *(subject for subject, is_positive in subjects(body) if is_positive))), body
    seen, plain = replace(trace, is_whole=True), replace(trace, exceptions=())
    if seen.truth(about) is False:
        return "excepted" if replace(seen, exceptions=(), always_excepted=()).truth(about) else "not_applicable"
    forbidding = replace(plain, repeated=tuple(subject for subject, _ in subjects(about)))
    truths = {(trace if kind == "pattern" else plain).truth(bad), *map(forbidding.truth, never)}
    is_bad = True if True in truths else None if None in truths else False
    return "undetermined" if is_bad is None or not trace.truth(about) else "broken" if is_bad else "held"
