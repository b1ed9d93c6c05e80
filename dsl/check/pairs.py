"""Checks pairs: what the grammar lets through of them and this version does not judge, or nobody can mean.

In: a pair and the passage it was read from. Out: errors; and of the order of dsl.md, where a pair is meant, advice.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from dsl import problems
from dsl.problems import Problem
from dsl.syntax.nodes import AllOf, AnyOf, Expr, Not, Order, Pair, Partner, Relations, RelationWord, RuleBody, When
from dsl.syntax.printer import expr_text
from dsl.syntax.source import SourceText

_SUPPORTED = ("before", "after")
_OPPOSITE = {"before": "after", "after": "before"}


def check_pair(pair: Pair, source: SourceText) -> Iterator[Problem]:
    """Everything wrong with a pair, its subjects apart."""
    for partner in (pair.that, pair.partner):
        if partner is not None:
            yield from _relations(partner.relations, source)


def _relations(relations: Relations, source: SourceText) -> Iterator[Problem]:
    words = [word for word in relations.words if word.text in _SUPPORTED]
    for word in relations.words:
        if word.text not in _SUPPORTED:
            yield problems.unsupported_word(source.spot(word.at), word.text)
    for key in relations.keys:
        if key.op != "same":
            yield problems.unsupported_word(source.spot(key.at), key.op)
    for word in words[1:]:
        yield problems.duplicate_relation(source.spot(word.at), "`before` or `after`")
    for without in relations.without[1:]:
        yield problems.duplicate_relation(source.spot(without.at), "`without`")
    if relations.without and relations.order is None:
        yield problems.unordered_without(source.spot(relations.without[0].at))


def lint_order(body: RuleBody, source: SourceText) -> Iterator[Problem]:
    """Where an order of first or last starts stands in a `when`, or is forbidden: there it misses what is between."""
    if isinstance(body, When):
        for order in chain(_orders(body.condition), *(_orders(clause, positive=True) for clause in body.never)):
            yield problems.order_of_bounds(source.spot(order.at), order.op, expr_text(_as_pair(order)))


def _orders(expr: Expr, *, positive: bool | None = None) -> Iterator[Order]:
    """The orders of an expression; with `positive` those that stand under an even number of `not` alone."""
    match expr:
        case Order() if positive is not False:
            yield expr
        case Not(item):
            yield from _orders(item, positive=None if positive is None else not positive)
        case AllOf(items) | AnyOf(items):
            for item in items:
                yield from _orders(item, positive=positive)


def _as_pair(order: Order) -> Pair:
    """`a after b` for each a and b: some a has b before."""
    partner = Partner(order.right, Relations((RelationWord(_OPPOSITE[order.op]),)))
    return Pair("some", order.left, None, partner, at=order.at)
