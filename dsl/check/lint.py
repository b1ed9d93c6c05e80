"""Warns of what is allowed but probably a mistake.

In: nodes without errors. Out: warnings; rules that have only warnings load.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import product
from typing import TypeAlias

from dsl import problems
from dsl.check.aggregates import is_count, lint_comparison, lint_required
from dsl.check.meaning import meaning_of
from dsl.check.other_spans import lint_keys, lint_texts
from dsl.check.pairs import lint_order
from dsl.check.semconv import nearest_name
from dsl.judge.builtin import BUILTINS, DURATION, builtin_of, lookup_keys
from dsl.judge.formula import compare
from dsl.judge.predicate import split_subject
from dsl.judge.ruleset import Kind
from dsl.problems import Problem
from dsl.syntax.nodes import (
    AllOf,
    AnyOf,
    Comparison,
    Cond,
    CountComparison,
    Expr,
    Has,
    HasAttribute,
    ListLiteral,
    Name,
    Not,
    Number,
    Pair,
    Reference,
    RuleBody,
    Subject,
    Text,
    When,
    comparisons,
    expressions,
    subjects,
)
from dsl.syntax.printer import expr_text
from dsl.syntax.source import SourceText

_MAX_LEAVES = 8

Assignment: TypeAlias = Mapping[str, bool]
"""The truth of each leaf of an expression, by its text."""


def lint_rule(body: RuleBody, kind: Kind | None, source: SourceText) -> Iterator[Problem]:
    """Yield every warning about a rule; `kind` is None when it could not be determined."""
    exprs = expressions(body)
    all_subjects = [subject for expr in exprs for subject, _ in subjects(expr)]
    names = frozenset(name for subject in all_subjects if (name := split_subject(subject).name) is not None)
    for expr in exprs:
        yield from _structure(expr, source)
        yield from _compared_names(expr, source)
        for subject, _ in subjects(expr):
            yield from _subject(subject, source)
            yield from lint_texts(subject, exprs, names, source)
    yield from lint_order(body, source)
    has_clauses = not isinstance(body, When) or body.always or body.never
    if kind is not None and has_clauses:
        for expr in meaning_of(body, kind).required:
            yield from lint_required(expr, source)
        yield from _constant_verdicts(body, kind, source)


def _structure(expr: Expr | Cond, source: SourceText) -> Iterator[Problem]:
    match expr:
        case AllOf(items):
            yield from _contradictions(items, source)
            for item in items:
                yield from _structure(item, source)
        case AnyOf(items):
            for item in items:
                if isinstance(item, AllOf) and not item.grouped:
                    yield problems.mixed_and_or(source.spot(item.at))
                yield from _structure(item, source)
        case Not(item):
            yield from _structure(item, source)
        case CountComparison():
            yield from lint_comparison(expr, source)


def _contradictions(items: tuple[Expr | Cond, ...], source: SourceText) -> Iterator[Problem]:
    excluded = {item.item for item in items if isinstance(item, Not)}
    for item in items:
        if isinstance(item, Has | HasAttribute) and item in excluded:
            yield problems.required_and_excluded(source.spot(item.at), expr_text(item))


def _compared_names(expr: Expr, source: SourceText) -> Iterator[Problem]:
    """Yield the warnings about join keys, and about the names in aggregates."""
    match expr:
        case AllOf(items) | AnyOf(items):
            for item in items:
                yield from _compared_names(item, source)
        case Not(item):
            yield from _compared_names(item, source)
        case Pair(quantifier=_, subject=subject):
            yield from lint_keys(expr, source)
            for partner in expr.partners:
                for key in partner.relations.keys:
                    yield from _name(key.left, split_subject(subject).name, source)
                    if key.right is not None:
                        yield from _name(key.right, split_subject(partner.subject).name, source)
        case CountComparison():
            for each in expr.aggregates:
                yield from _name(each.name, split_subject(each.subject).name, source)


def lint_cond(cond: Cond, subject: str | None, source: SourceText) -> Iterator[Problem]:
    """Yield every warning about the condition of a subject's where, or of an exception (`subject` is None)."""
    yield from _structure(cond, source)
    for comparison in comparisons(cond):
        yield from _name(comparison.name, subject, source)
        if isinstance(comparison, Comparison):
            builtin = None if comparison.name.path else builtin_of(comparison.name.text, subject)
            yield from _value(comparison, builtin, source)
            if isinstance(comparison.value, Reference):
                yield from _name(comparison.value.name, subject, source)


def _subject(subject: Subject, source: SourceText) -> Iterator[Problem]:
    if isinstance(subject, Has):
        yield from _name(subject.name, None, source)
    # Outside a where, a dotted name is one name, so it is compared with the conventions as a whole.
    name, where = split_subject(subject)
    if where is not None:
        yield from lint_cond(where, name, source)


def _name(name: Name, subject: str | None, source: SourceText) -> Iterator[Problem]:
    keys = lookup_keys(name.text, subject)
    if any(key in BUILTINS for key in keys):
        return
    for key in keys:
        if (known := nearest_name(key)) is not None:
            yield problems.near_name(source.spot(name.at), key, known, built_in=known in BUILTINS)
            return


def _value(comparison: Comparison, builtin: str | None, source: SourceText) -> Iterator[Problem]:
    spot = source.spot(comparison.value.at)
    is_bare = isinstance(comparison.value, Text) and not comparison.value.quoted
    if is_bare and comparison.value == Text("null") and comparison.op in {"==", "!="}:
        yield problems.null_comparison(spot, comparison.name.text, comparison.op)
    literals = comparison.value.items if isinstance(comparison.value, ListLiteral) else (comparison.value,)
    if builtin == DURATION and any(isinstance(literal, Number) for literal in literals):
        yield problems.unitless_duration(spot)


def _constant_verdicts(body: RuleBody, kind: Kind, source: SourceText) -> Iterator[Problem]:
    """Warn of a rule that can never apply or never be broken, by trying every assignment of its leaves."""
    meaning = meaning_of(body, kind)
    leaf_texts = sorted({leaf for expr in expressions(body) for leaf in _leaf_texts(expr)})
    if len(leaf_texts) > _MAX_LEAVES:
        return
    assignments = [dict(zip(leaf_texts, each, strict=True)) for each in product((False, True), repeat=len(leaf_texts))]
    applicable = [each for each in assignments if _evaluate(meaning.about, each)]
    if not applicable and kind is not Kind.PATTERN:
        yield problems.never_applicable(source.spot(body.condition.at if isinstance(body, When) else body.at))
    elif not any(_evaluate(meaning.broken, each) for each in applicable):
        yield problems.never_broken(source.spot(body.at))


def _leaf_texts(expr: Expr) -> Iterator[str]:
    match expr:
        case AllOf(items) | AnyOf(items):
            for item in items:
                yield from _leaf_texts(item)
        case Not(item):
            yield from _leaf_texts(item)
        case _ if _constant_truth(expr) is None:
            yield expr_text(expr)


def _evaluate(expr: Expr, assignment: Assignment) -> bool:
    match expr:
        case AllOf(items):
            return all(_evaluate(item, assignment) for item in items)
        case AnyOf(items):
            return any(_evaluate(item, assignment) for item in items)
        case Not(item):
            return not _evaluate(item, assignment)
        case _:
            return assignment[expr_text(expr)] if (fixed := _constant_truth(expr)) is None else fixed


def _constant_truth(expr: Expr) -> bool | None:
    """Return the truth of a comparison that is the same for every count, such as `count(a) >= 0`; else None."""
    match expr:
        case CountComparison(quantity, op, Number(value)) if is_count(quantity):
            truths = {compare(count, op, value) for count in _counts_around(value)}
        case CountComparison(Number(value), op, quantity) if is_count(quantity):
            truths = {compare(value, op, count) for count in _counts_around(value)}
        case _:
            return None
    return truths.pop() if len(truths) == 1 else None


def _counts_around(value: float) -> set[int]:
    near_value = max(0, math.floor(value))
    return {0, near_value, near_value + 1, near_value + 2}
