"""Warns of texts that look like attributes of another span, and of names in join keys that look like texts.

In: nodes without errors. Out: warnings, each with the form to write unless that would lose a part of the rule. In a
where, `a.id` is a text and not the attribute of a span a; in `with k == "x"`, "x" is the name of an attribute and not a
text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from dsl import problems
from dsl.judge.predicate import EVERY_SPAN, split_subject
from dsl.problems import Problem
from dsl.syntax.nodes import (
    AllOf,
    AnyOf,
    Comparison,
    Exists,
    Expr,
    Has,
    HasAttribute,
    JoinKey,
    ListLiteral,
    Name,
    Not,
    Pair,
    Partner,
    Reference,
    Relations,
    Subject,
    Text,
    comparisons,
    subjects,
)
from dsl.syntax.printer import cond_text, expr_text, name_text, operand_text
from dsl.syntax.source import SourceText

_NEGATIVE = frozenset({"!=", "not in"})
_EQUALITY = frozenset({"==", "in"}) | _NEGATIVE
_MAX_CHARS = 200
"""A longer form is not written out."""


def lint_texts(subject: Subject, exprs: Sequence[Expr], names: frozenset[str], source: SourceText) -> Iterator[Problem]:
    """Warn of texts that look like another subject's attribute: `id == a.id` compares with the text "a.id".

    `exprs` are the expressions of the rule, and `names` those of all its subjects.
    """
    own = split_subject(subject)
    for comparison in comparisons(own.where) if own.where is not None else ():
        for text in _bare_texts(comparison):
            owners = [name for name in names if text.value.startswith(f"{name}.") and text.value not in names]
            if owners and isinstance(comparison, Comparison):
                other = max(owners, key=len)
                attribute, is_own = text.value.removeprefix(f"{other}."), own.name == other
                if is_own:
                    instead = _reference(comparison, attribute)
                else:
                    pair = _pair(subject, comparison, text, other, exprs)
                    instead = None if pair is None else expr_text(pair)
                if instead is not None and len(instead) > _MAX_CHARS:
                    instead = None
                yield problems.attribute_as_text(
                    source.spot(text.at), text.value, instead, has_one_name=not comparison.name.path, is_own=is_own
                )


def lint_keys(pair: Pair, source: SourceText) -> Iterator[Problem]:
    """Warn of quoted names beside unquoted ones in `K == L` and `K != L`: they may be meant as texts."""
    for partner in pair.partners:
        for key in partner.relations.keys:
            if key.right is None or key.left.quoted == key.right.quoted:
                continue
            text = key.left if key.left.quoted else key.right
            yield problems.name_as_text(
                source.spot(text.at),
                text.text,
                expr_text(_with_text(pair, partner, key)),
                is_plain=not name_text(text.text).startswith('"'),
            )


def _bare_texts(comparison: object) -> Iterator[Text]:
    if isinstance(comparison, Comparison):
        value = comparison.value
        for literal in value.items if isinstance(value, ListLiteral) else (value,):
            if isinstance(literal, Text) and not literal.quoted:
                yield literal


def _reference(comparison: Comparison, attribute: str) -> str | None:
    """Return what compares two attributes of the same span; None where a comparison cannot."""
    reference = Reference(Name(attribute))
    if comparison.op not in _EQUALITY:
        return None
    if isinstance(comparison.value, ListLiteral):
        return cond_text(replace(comparison, value=reference)) if len(comparison.value.items) == 1 else None
    return operand_text(reference)


def _pair(own: Subject, comparison: Comparison, text: Text, other: str, exprs: Sequence[Expr]) -> Pair | None:
    """Return the pair that compares with another span's attribute; None if it would lose a part of the rule."""
    rest = _rest(own, comparison, text)
    if rest is None:
        return None
    attribute = Name(text.value.removeprefix(f"{other}."))
    name = (own.comparison if isinstance(own, HasAttribute) else comparison).name
    compared = attribute if name.path else Name(name.text)
    is_negative = comparison.op in _NEGATIVE
    leaf = next(each for expr in exprs for each in _leaves(expr) if any(found is own for found, _ in subjects(each)))
    if isinstance(leaf, Pair):
        if leaf.subject is own:
            named = [each for each in leaf.partners if split_subject(each.subject).name == other]
            key = _key(compared, attribute, is_negative=is_negative)
            is_one = len(named) == 1
            return _with_key(replace(leaf, subject=rest), named[0], named[0].subject, key) if is_one else None
        partner = next((each for each in leaf.partners if each.subject is own), None)
        if partner is None or split_subject(leaf.subject).name != other:
            return None
        return _with_key(leaf, partner, rest, _key(attribute, compared, is_negative=is_negative))
    others = {found for expr in exprs for found, _ in subjects(expr) if split_subject(found).name == other}
    if leaf is not own or len(others) > 1:
        return None
    relations = Relations(keys=(_key(attribute, compared, is_negative=is_negative),))
    return Pair(quantifier="each", subject=others.pop(), that=None, partner=Partner(rest, relations))


def _rest(own: Subject, comparison: Comparison, text: Text) -> Subject | None:
    """Return the subject without the comparison with the text; None if a join key cannot replace that."""
    value = comparison.value
    others = tuple(item for item in value.items if item is not text) if isinstance(value, ListLiteral) else ()
    if comparison.op not in _EQUALITY or (others and comparison.op == "in"):
        return None
    if isinstance(own, HasAttribute):
        name = own.comparison.name
        return HasAttribute(Comparison(name, comparison.op, ListLiteral(others)) if others else Exists(name))
    items = own.where.items if isinstance(own.where, AllOf) else (own.where,)
    if not any(item is comparison for item in items):
        return None
    kept = (replace(comparison, value=ListLiteral(others)),) if others else ()
    conds = [cond for item in items if item for cond in (kept if item is comparison else (item,))]
    return replace(own, where=AllOf(tuple(conds)) if len(conds) > 1 else next(iter(conds), None))


def _key(first: Name, second: Name, *, is_negative: bool) -> JoinKey:
    if first.text == second.text:
        return JoinKey("different" if is_negative else "same", first)
    return JoinKey("!=" if is_negative else "==", first, second)


def _with_key(pair: Pair, partner: Partner, subject: Subject, key: JoinKey) -> Pair | None:
    """Return the pair with another join key; None if `without` compares by its keys, and would mean something else."""
    relations = partner.relations
    if not all(each.is_any for each in relations.without):
        return None
    keys = relations.keys if key in relations.keys else (*relations.keys, key)
    changed = replace(partner, subject=subject, relations=replace(relations, keys=keys))
    return replace(pair, that=changed) if partner is pair.that else replace(pair, partner=changed)


def _leaves(expr: Expr) -> Iterator[Expr]:
    """Yield what `and`, `or` and `not` join."""
    match expr:
        case AllOf(items) | AnyOf(items):
            for item in items:
                yield from _leaves(item)
        case Not(item):
            yield from _leaves(item)
        case _:
            yield expr


def _with_text(pair: Pair, partner: Partner, key: JoinKey) -> Pair:
    """Return the pair with a where instead of a key."""
    keys = tuple(each for each in partner.relations.keys if each is not key)
    changed = replace(partner, relations=replace(partner.relations, keys=keys))
    if key.left.quoted and key.right is not None:
        changed = replace(changed, subject=_narrowed(partner.subject, key.right, key.op, key.left))
    elif key.right is not None:
        pair = replace(pair, subject=_narrowed(pair.subject, key.left, key.op, key.right))
    return replace(pair, that=changed) if partner is pair.that else replace(pair, partner=changed)


def _narrowed(subject: Subject, name: Name, op: str, text: Name) -> Has:
    parts, comparison = split_subject(subject), Comparison(name, op, Text(text.text))
    where = comparison if parts.where is None else AllOf((parts.where, comparison))
    return Has(Name(parts.name or EVERY_SPAN), where)
