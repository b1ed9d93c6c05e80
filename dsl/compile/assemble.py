"""Assembles a rule's formula from its nodes.

In: a checked form, its kind, time zone and exceptions. Out: a `Formula` and the questions its atoms ask, each with the
number of spans that must be told apart. Exceptions bind only subjects under an even number of `not` in what the rule
is about (W, T, the pattern); the same subjects without them are kept beside, to know when an exception decided.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from dsl.judge.atoms import MAX_COUNTED, Exemption, Question
from dsl.judge.formula import Counted, CountIs, Every, Neg, Ordered, Seen, Some, Term, wakes
from dsl.judge.predicate import EVERY_SPAN
from dsl.judge.ruleset import Formula, Kind
from dsl.syntax.nodes import (
    AllOf,
    AnyOf,
    Carries,
    Compared,
    Count,
    Duration,
    Expr,
    Form,
    Has,
    Name,
    Not,
    Number,
    Order,
    Subject,
    When,
    subjects,
)
from dsl.syntax.printer import expr_text

ANY_SPAN = Has(Name(EVERY_SPAN))


@dataclass(slots=True)
class Assembly:
    """Assembles one rule; afterwards `questions` holds what its atoms ask and how far each is counted."""

    zone: str
    exemptions: tuple[Exemption, ...]
    questions: dict[Question, int] = field(default_factory=dict)
    is_about_every_trace: bool = False
    _subjects: dict[Seen, None] = field(default_factory=dict)

    def formula(self, form: Form, kind: Kind) -> Formula:
        """The formula of a rule."""
        about = _about(form, kind)
        applies = self._applies(about, kind, bound=True)
        broken = self._broken(form, kind)
        shown = tuple(self._subjects)
        plain = self._applies(about, kind, bound=False) if self.exemptions else applies
        woken = frozenset(wakes(plain))
        if plain.truth({}, whole=True) is not False:
            every_span = self._seen(ANY_SPAN, bound=False)
            shown, woken = (*shown, every_span), woken | {every_span.atom}
        self.is_about_every_trace = Question(ANY_SPAN, self.zone).fingerprint in woken
        return Formula(applies, broken, plain if self.exemptions else None, shown, woken)

    def _applies(self, about: Expr, kind: Kind, *, bound: bool) -> Term:
        term = self._term(about, bound=bound)
        if kind is not Kind.PATTERN:
            return term
        positive = (subject for subject, is_positive in subjects(about) if is_positive)
        return Some((term, *(self._seen(subject, bound=bound) for subject in positive)))

    def _broken(self, form: Form, kind: Kind) -> Term:
        if isinstance(form, When):
            required = [Neg(self._term(clause)) for clause in form.always]
            return Some((*required, *map(self._term, form.never)))
        if kind is Kind.INVARIANT and isinstance(form, AllOf):
            return Neg(Every(tuple(map(self._term, form.items[1:]))))
        return self._term(form, bound=True)

    def _term(self, expr: Expr, *, bound: bool = False, positive: bool = True) -> Term:
        """The term of an expression; `bound` when the rule's exceptions bind its positive subjects."""
        match expr:
            case Has() | Carries():
                return self._seen(expr, bound=bound and positive)
            case Not(item):
                return Neg(self._term(item, bound=bound, positive=not positive))
            case AllOf(items):
                return Every(tuple(self._term(item, bound=bound, positive=positive) for item in items))
            case AnyOf(items):
                return Some(tuple(self._term(item, bound=bound, positive=positive) for item in items))
            case Order(left, op, right):
                first, second = (self._seen(side, bound=bound and positive).atom for side in (left, right))
                return Ordered(expr_text(expr), first, op, second)
            case Compared():
                return self._count_is(expr, bound=bound and positive)

    def _seen(self, subject: Subject, *, bound: bool, counted: int = 0) -> Seen:
        question = Question(subject, self.zone, self.exemptions if bound else ())
        self.questions[question] = max(counted, self.questions.get(question, 0))
        seen = Seen(question.text, question.fingerprint)
        self._subjects[seen] = None
        return seen

    def _count_is(self, expr: Compared, *, bound: bool) -> CountIs:
        constants = [side.value for side in (expr.left, expr.right) if isinstance(side, Number)]
        limit = _limit(constants[0] if constants else None)

        def side(node: Count | Number | Duration) -> Counted | float:
            if isinstance(node, Count):
                return Counted(self._seen(node.subject, bound=bound, counted=limit).atom, limit)
            return node.value if isinstance(node, Number) else node.value_ns

        return CountIs(expr_text(expr), side(expr.left), expr.op, side(expr.right))


def _about(form: Form, kind: Kind) -> Expr:
    """W, T or the pattern."""
    if isinstance(form, When):
        return form.condition
    return form.items[0] if kind is Kind.INVARIANT and isinstance(form, AllOf) else form


def _limit(constant: float | None) -> int:
    """How many spans must be told apart to compare a count with a constant, or (None) with another count."""
    return MAX_COUNTED if constant is None else int(min(max(1, math.floor(constant) + 1), MAX_COUNTED))
