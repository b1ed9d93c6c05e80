"""Checks pairs, and orders that should be pairs.

In: nodes and the text that they were parsed from. Out: errors for pairs that cannot be judged, and warnings
for `before` and `after` where they compare too little.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from dsl import problems
from dsl.problems import Problem
from dsl.syntax.nodes import (
    ORDER_WORDS,
    STRUCTURE_WORDS,
    WITHIN,
    AllOf,
    AnyOf,
    Duration,
    Expr,
    Not,
    Order,
    Pair,
    Partner,
    Relations,
    RelationWord,
    RuleBody,
    When,
)
from dsl.syntax.printer import expr_text
from dsl.syntax.source import SourceText

_SORTS = (
    (ORDER_WORDS, "`before` or `after`"),
    (STRUCTURE_WORDS, "`above`, `below` or `beside`"),
    ((WITHIN,), "`within`"),
)
"""The relations of which a pair has at most one each, and what they are called."""
MAX_KEYS = 16
_OPPOSITE = {"before": "after", "after": "before"}


def check_pair(pair: Pair, source: SourceText) -> Iterator[Problem]:
    """Yield every error in the relations of a pair."""
    for partner in pair.partners:
        yield from _relations(partner.relations, source)
    keys = [key for partner in pair.partners for key in partner.relations.keys]
    if len(keys) > MAX_KEYS:
        yield problems.too_many_keys(source.spot(keys[MAX_KEYS].at), len(keys), MAX_KEYS)


def _relations(relations: Relations, source: SourceText) -> Iterator[Problem]:
    for word in relations.words:
        if word.text == WITHIN and not _is_distance(word):
            yield problems.wrong_operand(source.spot(word.at), WITHIN, "a duration such as 10m")
    for words, called in _SORTS:
        of_sort = [word for word in relations.words if word.text in words]
        for word in of_sort[1:]:
            yield problems.duplicate_relation(source.spot(word.at), called)
    for key in relations.keys:
        if key.op not in {"same", "different", "==", "!="}:
            yield problems.ordered_keys(source.spot(key.at), key.op)
    for without in relations.without[1:]:
        yield problems.duplicate_relation(source.spot(without.at), "`without`")
    if relations.without and relations.order is None:
        yield problems.unordered_without(source.spot(relations.without[0].at))


def _is_distance(word: RelationWord) -> bool:
    return isinstance(word.duration, Duration) and word.duration.value_ns >= 0


def lint_order(body: RuleBody, source: SourceText) -> Iterator[Problem]:
    """Warn of `before` and `after` in conditions and prohibitions, where they miss all but the first or last start."""
    if isinstance(body, When):
        for order in chain(_orders(body.condition), *(_orders(clause, positive=True) for clause in body.never)):
            yield problems.order_of_bounds(source.spot(order.at), order.op, expr_text(_as_pair(order)))


def _orders(expr: Expr, *, positive: bool | None = None) -> Iterator[Order]:
    """Yield the orders of an expression; with `positive`, only those under an even number of `not`."""
    match expr:
        case Order() if positive is not False:
            yield expr
        case Not(item):
            yield from _orders(item, positive=None if positive is None else not positive)
        case AllOf(items) | AnyOf(items):
            for item in items:
                yield from _orders(item, positive=positive)


def _as_pair(order: Order) -> Pair:
    """Return `a after b` for every a and b: some a has b before."""
    partner = Partner(order.right, Relations((RelationWord(_OPPOSITE[order.op]),)))
    return Pair(quantifier="some", subject=order.left, that=None, partner=partner, at=order.at)
