"""Defines the syntax tree that `dsl.syntax.parse` builds and every later stage reads.

In: nothing. Out: frozen nodes. Equality compares meaning only: it ignores `at`, the position of a node in the rule's
text, and notation (`quoted`, `grouped`). Parenthesised groups are kept as nesting.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, NamedTuple, TypeAlias, TypeVar


class TextRange(NamedTuple):
    """A range of character offsets in a rule's text; `end` is exclusive."""

    start: int
    end: int


NOWHERE = TextRange(0, 0)


class Elements(Enum):
    """The step `[*]` of a path, into each element of an array."""

    ALL = "*"


Step: TypeAlias = str | int | Elements
"""A step into a value: the key of an object, the index of an element of an array, or all elements."""


@dataclass(frozen=True, slots=True)
class Name:
    """The name of a span, an attribute or an event; `quoted` when it was written in quotes.

    In a where, `path` leads into the value of the attribute: `x[to][0]`.
    """

    text: str
    quoted: bool = field(default=False, compare=False)
    at: TextRange = field(default=NOWHERE, compare=False)
    path: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class Text:
    """A text literal."""

    value: str
    quoted: bool = field(default=False, compare=False)
    at: TextRange = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Number:
    """A number literal: an int when it was written without a decimal point and exponent."""

    value: int | float
    at: TextRange = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Duration:
    """A duration literal."""

    value_ns: int | float
    at: TextRange = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Boolean:
    """`true` or `false`."""

    value: bool
    at: TextRange = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Reference:
    """`$name`: the value of another attribute of the same span."""

    name: Name
    at: TextRange = field(default=NOWHERE, compare=False)


Literal: TypeAlias = Text | Number | Duration | Boolean


@dataclass(frozen=True, slots=True)
class ListLiteral:
    """A list of literals."""

    items: tuple[Literal, ...]
    at: TextRange = field(default=NOWHERE, compare=False)


Operand: TypeAlias = Literal | ListLiteral | Reference


@dataclass(frozen=True, slots=True)
class Comparison:
    """`name op value`."""

    name: Name
    op: str
    value: Operand
    at: TextRange = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Exists:
    """`name exists`."""

    name: Name
    at: TextRange = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class IsTruthy:
    """A bare name in a where."""

    name: Name
    at: TextRange = field(default=NOWHERE, compare=False)


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Not(Generic[T]):
    """`not item`."""

    item: T
    at: TextRange = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class AllOf(Generic[T]):
    """Two or more items joined by `and`; `grouped` when they were written in parentheses."""

    items: tuple[T, ...]
    grouped: bool = field(default=False, compare=False)
    at: TextRange = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class AnyOf(Generic[T]):
    """Two or more items joined by `or`; `grouped` when they were written in parentheses."""

    items: tuple[T, ...]
    grouped: bool = field(default=False, compare=False)
    at: TextRange = field(default=NOWHERE, compare=False)


Cond: TypeAlias = "Comparison | Exists | IsTruthy | Not[Cond] | AllOf[Cond] | AnyOf[Cond]"


@dataclass(frozen=True, slots=True)
class Has:
    """`trace.has(name).where(where)`, or the bare name; `bare` when it was written as the name alone."""

    name: Name
    where: Cond | None = None
    bare: bool = field(default=False, compare=False)
    at: TextRange = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class HasAttribute:
    """`name op value` or `name exists`, outside a where."""

    comparison: Comparison | Exists
    at: TextRange = field(default=NOWHERE, compare=False)


Subject: TypeAlias = Has | HasAttribute


@dataclass(frozen=True, slots=True)
class Order:
    """`left before right` or `left after right`."""

    left: Subject
    op: str
    right: Subject
    at: TextRange = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Count:
    """`count(subject)`."""

    subject: Has
    at: TextRange = field(default=NOWHERE, compare=False)


DISTINCT = "distinct"
COUNT_BY = "count by"
MEASURES = ("sum", "min", "max", "avg")
OF_SOME = frozenset({"min", "max", "avg"})
"""The functions that need at least one number."""
"""The functions of numbers."""


@dataclass(frozen=True, slots=True)
class Aggregate:
    """A number computed from an attribute of the spans of a subject.

    `function` is `DISTINCT` for `distinct(subject, name)`, `COUNT_BY` for `count(subject by name)`, and else one of
    `MEASURES`, written as `DISTINCT` is.
    """

    function: str
    subject: Subject
    name: Name
    at: TextRange = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class TraceDuration:
    """`trace.duration`: from the earliest start to the latest end of all spans of the trace."""

    at: TextRange = field(default=NOWHERE, compare=False)


Quantity: TypeAlias = Count | Aggregate | TraceDuration
"""What a trace has a number of."""


@dataclass(frozen=True, slots=True)
class CountComparison:
    """A quantity of the trace compared with a literal or another one; `dsl.check.aggregates` rejects unlike units."""

    left: Quantity | Number | Duration
    op: str
    right: Quantity | Number | Duration
    at: TextRange = field(default=NOWHERE, compare=False)

    @property
    def aggregates(self) -> tuple[Aggregate, ...]:
        """The sides that are aggregates."""
        return tuple(side for side in (self.left, self.right) if isinstance(side, Aggregate))


ORDER_WORDS = ("before", "after")
STRUCTURE_WORDS = ("above", "below", "directly above", "directly below", "beside")
WITHIN = "within"


@dataclass(frozen=True, slots=True)
class RelationWord:
    """A relation of a pair that needs no operand or only a duration: `before`, `beside`, `within 10m`.

    `dsl.check.pairs` rejects a number in place of the duration.
    """

    text: str
    duration: Duration | Number | None = None
    at: TextRange = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class JoinKey:
    """`same left`, `different left`, or `left op right`: the attributes by which two occurrences are compared."""

    op: str
    left: Name
    right: Name | None = None
    at: TextRange = field(default=NOWHERE, compare=False)

    @property
    def names(self) -> tuple[str, str]:
        """The names on the first and the second occurrence."""
        return self.left.text, (self.right or self.left).text

    @property
    def is_equality(self) -> bool:
        """Whether the values must be equal; otherwise they must differ."""
        return self.op in {"same", "=="}


@dataclass(frozen=True, slots=True)
class Without:
    """`without subject between`; `is_any` when join keys are ignored: `without any subject between`."""

    subject: Subject
    is_any: bool = False
    at: TextRange = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Relations:
    """The relations between two occurrences, each sort in source order; `dsl.check.pairs` rejects repetitions."""

    words: tuple[RelationWord, ...] = ()
    keys: tuple[JoinKey, ...] = ()
    without: tuple[Without, ...] = ()

    @property
    def order(self) -> str | None:
        """`before` or `after`; None when the pair states no order."""
        return next((word.text for word in self.words if word.text in ORDER_WORDS), None)

    @property
    def structure(self) -> str | None:
        """One of `STRUCTURE_WORDS`; None when the pair does not ask where in the trace the spans are."""
        return next((word.text for word in self.words if word.text in STRUCTURE_WORDS), None)

    @property
    def within_ns(self) -> float | None:
        """How far apart the starts may be; None when the pair does not limit it."""
        duration = next((word.duration for word in self.words if word.text == WITHIN), None)
        return duration.value_ns if isinstance(duration, Duration) else None


@dataclass(frozen=True, slots=True)
class Partner:
    """The partner that an occurrence must have: `has subject relations`; `is_own` when no two may share one."""

    subject: Subject
    relations: Relations = field(default_factory=Relations)
    is_own: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """`each subject has partner`, or `some`; `that` restricts the subject to occurrences that have another partner."""

    quantifier: str
    subject: Subject
    that: Partner | None
    partner: Partner
    at: TextRange = field(default=NOWHERE, compare=False)

    @property
    def partners(self) -> tuple[Partner, ...]:
        """The partner of `that`, if there is one, and that of the pair."""
        return (self.that, self.partner) if self.that else (self.partner,)

    @property
    def others(self) -> Iterator[Subject]:
        """Every subject of the pair except the first, in source order."""
        for partner in self.partners:
            yield partner.subject
            yield from (without.subject for without in partner.relations.without)


Expr: TypeAlias = "Has | HasAttribute | Order | Pair | CountComparison | Not[Expr] | AllOf[Expr] | AnyOf[Expr]"


@dataclass(frozen=True, slots=True)
class When:
    """`when { condition } always { … } never { … }`; the clauses of each kind are in source order."""

    condition: Expr
    always: tuple[Expr, ...]
    never: tuple[Expr, ...]
    at: TextRange = field(default=NOWHERE, compare=False)


RuleBody: TypeAlias = "When | Expr"


def expressions(body: RuleBody) -> tuple[Expr, ...]:
    """Return the expressions of a rule: the condition and clauses of `when`, or its single expression."""
    return (body.condition, *body.always, *body.never) if isinstance(body, When) else (body,)


def subjects(expr: Expr) -> Iterator[tuple[Subject, bool]]:
    """Yield every subject of an expression in source order, and whether it is under an even number of `not`.

    Only the first subject of a pair counts as positive: a hit of another one says nothing by itself.

    >>> [(subject.name.text, positive) for subject, positive in subjects(AllOf((Has(Name("a")), Not(Has(Name("b"))))))]
    [('a', True), ('b', False)]
    """
    yield from _subjects(expr, positive=True)


def _subjects(expr: Expr, *, positive: bool) -> Iterator[tuple[Subject, bool]]:
    match expr:
        case Has() | HasAttribute():
            yield expr, positive
        case Order(left, _, right):
            yield left, positive
            yield right, positive
        case CountComparison(left, _, right):
            yield from ((side.subject, positive) for side in (left, right) if isinstance(side, Count | Aggregate))
        case Pair(quantifier=_, subject=subject):
            yield subject, positive
            yield from ((other, False) for other in expr.others)
        case Not(item):
            yield from _subjects(item, positive=not positive)
        case AllOf(items) | AnyOf(items):
            for item in items:
                yield from _subjects(item, positive=positive)


def comparisons(cond: Cond) -> Iterator[Comparison | Exists | IsTruthy]:
    """Yield every comparison, existence check and bare name of a condition, in source order."""
    match cond:
        case Not(item):
            yield from comparisons(item)
        case AllOf(items) | AnyOf(items):
            for item in items:
                yield from comparisons(item)
        case _:
            yield cond
