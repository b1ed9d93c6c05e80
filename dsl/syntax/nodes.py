"""What a rule's text says, as values: the tree that `dsl.syntax.parse` builds and every later stage reads.

In: nothing. Out: frozen nodes. Two nodes are equal when they say the same; `at`, where a node stands in its text, and
marks of how it was written (`quoted`, `grouped`) play no part in that. Groups in parentheses survive as nesting.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeAlias, TypeVar


class TextRange(NamedTuple):
    """A stretch of a rule's text: character offsets, `end` exclusive."""

    start: int
    end: int


NOWHERE = TextRange(0, 0)


@dataclass(frozen=True, slots=True)
class Name:
    """A name of a span, an attribute or an event; `quoted` when it stood in quotes."""

    text: str
    quoted: bool = field(default=False, compare=False)
    at: TextRange = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Text:
    """A literal text."""

    value: str
    quoted: bool = field(default=False, compare=False)
    at: TextRange = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Number:
    """A literal number; an int when it was written without point and exponent."""

    value: int | float
    at: TextRange = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Duration:
    """A literal duration."""

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
    """A bare name inside where."""

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
    """Two or more items joined by `and`; `grouped` when the whole stood in parentheses."""

    items: tuple[T, ...]
    grouped: bool = field(default=False, compare=False)
    at: TextRange = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class AnyOf(Generic[T]):
    """Two or more items joined by `or`; `grouped` when the whole stood in parentheses."""

    items: tuple[T, ...]
    grouped: bool = field(default=False, compare=False)
    at: TextRange = field(default=NOWHERE, compare=False)


Cond: TypeAlias = "Comparison | Exists | IsTruthy | Not[Cond] | AllOf[Cond] | AnyOf[Cond]"


@dataclass(frozen=True, slots=True)
class Has:
    """`trace.has(name).where(where)`, or the bare name; `bare` when it was written as nothing but a name."""

    name: Name
    where: Cond | None = None
    bare: bool = field(default=False, compare=False)
    at: TextRange = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class HasAttribute:
    """`name op value` or `name exists` outside where."""

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


@dataclass(frozen=True, slots=True)
class CountComparison:
    """A count compared with a number or another count; `dsl.check.check` refuses durations."""

    left: Count | Number | Duration
    op: str
    right: Count | Number | Duration
    at: TextRange = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class RelationWord:
    """A word of a pair that is a relation by itself: `before`, `beside`, `within 10m`."""

    text: str
    at: TextRange = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class JoinKey:
    """`same left`, `different left`, or `left op right`: the values that two occurrences have in common."""

    op: str
    left: Name
    right: Name | None = None
    at: TextRange = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Without:
    """`without subject between`; `is_any` when its keys do not matter: `without any subject between`."""

    subject: Subject
    is_any: bool = False
    at: TextRange = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Relations:
    """How one occurrence must stand to another, each sort in the order written; `dsl.check.pairs` refuses repetitions.

    `words` are the relations of this and of later versions that take nothing or a duration.
    """

    words: tuple[RelationWord, ...] = ()
    keys: tuple[JoinKey, ...] = ()
    without: tuple[Without, ...] = ()

    @property
    def order(self) -> str | None:
        """`before` or `after`, None when neither is asked for."""
        return next((word.text for word in self.words if word.text in {"before", "after"}), None)


@dataclass(frozen=True, slots=True)
class Partner:
    """What an occurrence must have: `has subject relations`; `is_own` when no two may share it."""

    subject: Subject
    relations: Relations = field(default_factory=Relations)
    is_own: bool = False


@dataclass(frozen=True, slots=True)
class Pair:
    """`each subject has partner`, or `some`; `that` narrows the subject to occurrences that have another partner."""

    quantifier: str
    subject: Subject
    that: Partner | None
    partner: Partner
    at: TextRange = field(default=NOWHERE, compare=False)

    @property
    def keys(self) -> tuple[JoinKey, ...]:
        """Everything that is compared, in the order written."""
        return (*(self.that.relations.keys if self.that else ()), *self.partner.relations.keys)

    @property
    def others(self) -> Iterator[Subject]:
        """Every subject but the first, in the order written."""
        for partner in (self.that, self.partner) if self.that else (self.partner,):
            yield partner.subject
            yield from (without.subject for without in partner.relations.without)


Expr: TypeAlias = "Has | HasAttribute | Order | Pair | CountComparison | Not[Expr] | AllOf[Expr] | AnyOf[Expr]"


@dataclass(frozen=True, slots=True)
class When:
    """`when { condition } always { … } never { … }`; the clauses in the order they were written."""

    condition: Expr
    always: tuple[Expr, ...]
    never: tuple[Expr, ...]
    at: TextRange = field(default=NOWHERE, compare=False)


RuleBody: TypeAlias = "When | Expr"


def expressions(body: RuleBody) -> tuple[Expr, ...]:
    """Return the expressions of a rule: the condition and the clauses of `when`, or the one expression it is."""
    return (body.condition, *body.always, *body.never) if isinstance(body, When) else (body,)


def subjects(expr: Expr) -> Iterator[tuple[Subject, bool]]:
    """Every subject of an expression in the order written, and whether it stands under an even number of `not`.

    Of a pair only the first subject can: the others tell nothing alone.

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
            yield from ((side.subject, positive) for side in (left, right) if isinstance(side, Count))
        case Pair(_, subject):
            yield subject, positive
            yield from ((other, False) for other in expr.others)
        case Not(item):
            yield from _subjects(item, positive=not positive)
        case AllOf(items) | AnyOf(items):
            for item in items:
                yield from _subjects(item, positive=positive)


def comparisons(cond: Cond) -> Iterator[Comparison | Exists | IsTruthy]:
    """Every comparison inside a where, in the order written."""
    match cond:
        case Not(item):
            yield from comparisons(item)
        case AllOf(items) | AnyOf(items):
            for item in items:
                yield from comparisons(item)
        case _:
            yield cond


def subject_comparisons(subject: Subject) -> Iterator[Comparison | Exists | IsTruthy]:
    """Every comparison that a subject makes."""
    match subject:
        case HasAttribute(comparison):
            yield comparison
        case Has(_, where) if where is not None:
            yield from comparisons(where)
