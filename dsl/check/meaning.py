"""Defines what each kind of rule means: which traces it is about, and what breaks it.

In: the body of a rule and its kind. Out: a `Meaning`. No other module interprets `conditional`, `invariant` and
`pattern`: linting, compiling and explaining all read the `Meaning`.
"""

from __future__ import annotations

from dataclasses import dataclass

from dsl.judge.ruleset import Kind
from dsl.syntax.nodes import AllOf, AnyOf, Expr, Not, RuleBody, When


@dataclass(frozen=True, slots=True)
class Meaning:
    """The traces that a rule is about, and what breaks it.

    The rule applies when `about` is true; a pattern also applies when any positive subject of `about` was hit. It is
    broken when one of `required` is false or one of `forbidden` is true.
    """

    about: Expr
    required: tuple[Expr, ...] = ()
    forbidden: tuple[Expr, ...] = ()
    is_pattern: bool = False

    @property
    def broken(self) -> Expr:
        """The expression that is true when the rule is broken."""
        items: tuple[Expr, ...] = (*map(Not, self.required), *self.forbidden)
        return items[0] if len(items) == 1 else AnyOf(items)


def meaning_of(body: RuleBody, kind: Kind) -> Meaning:
    """Return the meaning of a rule.

    >>> from dsl.syntax.nodes import Has, Name
    >>> login, audit = Has(Name("login")), Has(Name("audit"))
    >>> meaning_of(AllOf((login, audit)), Kind.INVARIANT) == Meaning(login, required=(audit,))
    True
    """
    match body:
        case When(condition, always, never):
            return Meaning(condition, always, never)
        case AllOf((first, *rest)) if kind is Kind.INVARIANT:
            return Meaning(first, required=(AllOf(tuple(rest)) if len(rest) > 1 else rest[0],))
        case _:
            return Meaning(body, forbidden=(body,), is_pattern=True)
