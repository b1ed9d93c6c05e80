"""Warns of texts that look like attributes of another span, and of names in join keys that look like texts.

In: nodes without errors. Out: warnings, each with the form to write. In a where, `a.id` is a text and not the attribute
of a span a; in `with k == "x"`, "x" is the name of an attribute and not a text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from dsl import problems
from dsl.judge.predicate import EVERY_SPAN, split_subject
from dsl.problems import Problem
from dsl.syntax.nodes import (
    AllOf,
    Comparison,
    Exists,
    Has,
    HasAttribute,
    JoinKey,
    ListLiteral,
    Name,
    Pair,
    Partner,
    Relations,
    Subject,
    Text,
    comparisons,
)
from dsl.syntax.printer import expr_text, name_text
from dsl.syntax.source import SourceText

_NEGATIVE = frozenset({"!=", "not in"})


def lint_texts(subject: Subject, names: frozenset[str], source: SourceText) -> Iterator[Problem]:
    """Warn of texts that look like another subject's attribute: `id == a.id` compares with the text "a.id".

    `names` are those of all subjects of the rule.
    """
    where = split_subject(subject).where
    for comparison in comparisons(where) if where is not None else ():
        for text in _bare_texts(comparison):
            owners = [name for name in names if text.value.startswith(f"{name}.") and text.value not in names]
            if owners and isinstance(comparison, Comparison):
                other = max(owners, key=len)
                replacement = _replacement(subject, comparison, other, text.value.removeprefix(f"{other}."))
                yield problems.attribute_as_text(
                    source.spot(text.at), text.value, replacement, has_one_name=not comparison.name.path
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


def _replacement(own: Subject, comparison: Comparison, other: str, attribute: str) -> str:
    """Return what compares the subject's attribute with that of another span, or with another of the same span."""
    if split_subject(own).name == other:
        return f"${name_text(attribute)}"
    partner: Subject = HasAttribute(Exists(own.comparison.name)) if isinstance(own, HasAttribute) else Has(own.name)
    name = (own.comparison if isinstance(own, HasAttribute) else comparison).name
    is_negative = comparison.op in _NEGATIVE
    if name.path or name.text == attribute:
        key = JoinKey("different" if is_negative else "same", Name(attribute))
    else:
        key = JoinKey("!=" if is_negative else "==", Name(attribute), Name(name.text))
    has_partner = Partner(partner, Relations(keys=(key,)))
    return expr_text(Pair(quantifier="each", subject=Has(Name(other)), that=None, partner=has_partner))


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
