"""Advises: what is allowed, and probably not meant.

In: nodes that `dsl.check.check` found right. Out: warnings; rules that have only these load.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from typing import TypeAlias

from dsl import problems
from dsl.check.pairs import order_advice
from dsl.check.semconv import near
from dsl.judge.atoms import MAX_COUNTED
from dsl.judge.builtin import BUILTINS, DURATION, builtin_of, lookup_keys
from dsl.judge.formula import compare
from dsl.judge.predicate import parts
from dsl.judge.ruleset import Kind
from dsl.problems import Problem
from dsl.syntax.nodes import (
    AllOf,
    AnyOf,
    Carries,
    Choices,
    Compared,
    Cond,
    Count,
    Expr,
    Form,
    Has,
    Name,
    Not,
    Number,
    Pair,
    Reference,
    Subject,
    Test,
    Text,
    When,
    subjects,
    tests,
)
from dsl.syntax.printer import expr_text, name_text, subject_text
from dsl.syntax.source import Passage

_MAX_LEAVES = 8

Trial: TypeAlias = Mapping[str, bool]
"""A world: which leaves of an expression, by their text, are true."""


def advice(form: Form, kind: Kind | None, passage: Passage) -> Iterator[Problem]:
    """Every warning about one rule; None is a kind that could not be told."""
    exprs = [form.condition, *form.always, *form.never] if isinstance(form, When) else [form]
    asked = [subject for expr in exprs for subject, _ in subjects(expr)]
    names = frozenset(name for subject in asked if (name := parts(subject).name) is not None)
    for expr in exprs:
        yield from _shape(expr, passage)
        yield from _compared_names(expr, passage)
        for subject, _ in subjects(expr):
            yield from _subject(subject, passage)
            yield from _attributes_as_text(subject, names, passage)
    yield from order_advice(form, passage)
    has_clauses = not isinstance(form, When) or form.always or form.never
    if kind is not None and has_clauses:
        yield from _constant(form, kind, passage)


def _shape(expr: Expr | Cond, passage: Passage) -> Iterator[Problem]:
    match expr:
        case AllOf(items):
            yield from _both_sides(items, passage)
            for item in items:
                yield from _shape(item, passage)
        case AnyOf(items):
            for item in items:
                if isinstance(item, AllOf) and not item.grouped:
                    yield problems.mixed_and_or(passage.spot(item.at))
                yield from _shape(item, passage)
        case Not(item):
            yield from _shape(item, passage)
        case Compared(left, _, right):
            for side in (left, right):
                if isinstance(side, Number) and side.value >= MAX_COUNTED:
                    yield problems.count_beyond(passage.spot(side.at), MAX_COUNTED)


def _both_sides(items: tuple[Expr | Cond, ...], passage: Passage) -> Iterator[Problem]:
    excluded = {item.item for item in items if isinstance(item, Not)}
    for item in items:
        if isinstance(item, Has | Carries) and item in excluded:
            yield problems.same_on_both_sides(passage.spot(item.at), expr_text(item))


def _compared_names(expr: Expr, passage: Passage) -> Iterator[Problem]:
    """The same for the names of values that pairs compare."""
    match expr:
        case AllOf(items) | AnyOf(items):
            for item in items:
                yield from _compared_names(item, passage)
        case Not(item):
            yield from _compared_names(item, passage)
        case Pair(_, subject):
            for key in expr.keys:
                yield from _name(key.left, parts(subject).name, passage)


def condition_advice(cond: Cond, subject: str | None, passage: Passage) -> Iterator[Problem]:
    """Every warning about what stands inside where of a subject, or (None) of an exception."""
    yield from _shape(cond, passage)
    for test in tests(cond):
        yield from _name(test.name, subject, passage)
        if isinstance(test, Test):
            yield from _value(test, builtin_of(test.name.text, subject), passage)
            if isinstance(test.value, Reference):
                yield from _name(test.value.name, subject, passage)


def _subject(subject: Subject, passage: Passage) -> Iterator[Problem]:
    if isinstance(subject, Has):
        yield from _name(subject.name, None, passage)
    # A dotted name outside where is one name, so it is compared with the conventions as a whole.
    name, where = parts(subject)
    if where is not None:
        yield from condition_advice(where, name, passage)


def _attributes_as_text(subject: Subject, names: frozenset[str], passage: Passage) -> Iterator[Problem]:
    """Texts that read like an attribute of one of the rule's subjects: `id == a.id` compares with the text a.id."""
    own, where = parts(subject)
    for test in tests(where) if where is not None else ():
        if isinstance(test, Test) and isinstance(test.value, Text) and not test.value.quoted:
            text = test.value.value
            found = [name for name in names if text.startswith(f"{name}.") and text not in names]
            if found:
                name = max(found, key=len)
                attribute = text.removeprefix(f"{name}.")
                spot = passage.spot(test.value.at)
                has_one_name = own == name or test.name.text == attribute
                instead = _instead(own, name, test.name.text, attribute)
                yield problems.attribute_as_text(spot, text, instead, has_one_name=has_one_name)


def _instead(own: str | None, other: str, name: str, attribute: str) -> str:
    """What says it; a subject without a name is any span with the attribute."""
    if own == other:
        return f"${name_text(attribute)}"
    of_span = "(…)" if own is None else subject_text(Has(Name(own)))
    return f"each {subject_text(Has(Name(other)))} has {of_span} with same {name_text(name)}"


def _name(name: Name, subject: str | None, passage: Passage) -> Iterator[Problem]:
    keys = lookup_keys(name.text, subject)
    if any(key in BUILTINS for key in keys):
        return
    for key in keys:
        if (known := near(key)) is not None:
            yield problems.near_known(passage.spot(name.at), key, known, built_in=known in BUILTINS)
            return


def _value(test: Test, builtin: str | None, passage: Passage) -> Iterator[Problem]:
    spot = passage.spot(test.value.at)
    is_bare = isinstance(test.value, Text) and not test.value.quoted
    if is_bare and test.value == Text("null") and test.op in {"==", "!="}:
        yield problems.null_text(spot, test.name.text, test.op)
    literals = test.value.items if isinstance(test.value, Choices) else (test.value,)
    if builtin == DURATION and any(isinstance(literal, Number) for literal in literals):
        yield problems.unitless_duration(spot)


def _constant(form: Form, kind: Kind, passage: Passage) -> Iterator[Problem]:
    """Whether the rule can ever apply, and ever be broken: tried in every combination of what it asks."""
    about, broken = _readings(form, kind)
    leaves = sorted(set(_leaves(form.condition if isinstance(form, When) else form)))
    if isinstance(form, When):
        leaves = sorted({leaf for expr in (form.condition, *form.always, *form.never) for leaf in _leaves(expr)})
    if len(leaves) > _MAX_LEAVES:
        return
    trials = [dict(zip(leaves, each, strict=True)) for each in product((False, True), repeat=len(leaves))]
    if kind is not Kind.PATTERN and not any(about(trial) for trial in trials):
        yield problems.never_applicable(passage.spot(form.condition.at if isinstance(form, When) else form.at))
    elif not any(about(trial) and broken(trial) for trial in trials):
        yield problems.never_broken(passage.spot(form.at))


def _readings(form: Form, kind: Kind) -> tuple[Callable[[Trial], bool], Callable[[Trial], bool]]:
    if isinstance(form, When):
        return (
            lambda trial: _is_true(form.condition, trial),
            lambda trial: (
                any(not _is_true(clause, trial) for clause in form.always)
                or any(_is_true(clause, trial) for clause in form.never)
            ),
        )
    if kind is Kind.INVARIANT and isinstance(form, AllOf):
        first, rest = form.items[0], form.items[1:]
        return lambda trial: _is_true(first, trial), lambda trial: not all(_is_true(item, trial) for item in rest)
    return lambda trial: _is_true(form, trial), lambda _: True


def _leaves(expr: Expr) -> Iterator[str]:
    match expr:
        case AllOf(items) | AnyOf(items):
            for item in items:
                yield from _leaves(item)
        case Not(item):
            yield from _leaves(item)
        case _ if _fixed(expr) is None:
            yield expr_text(expr)


def _is_true(expr: Expr, trial: Trial) -> bool:
    match expr:
        case AllOf(items):
            return all(_is_true(item, trial) for item in items)
        case AnyOf(items):
            return any(_is_true(item, trial) for item in items)
        case Not(item):
            return not _is_true(item, trial)
        case _:
            return trial[expr_text(expr)] if (fixed := _fixed(expr)) is None else fixed


def _fixed(expr: Expr) -> bool | None:
    """Whether a count compares the same with its number however much there is: `count(a) >= 0`."""
    match expr:
        case Compared(Count(), op, Number(value)):
            found = {compare(count, op, value) for count in _counts_around(value)}
        case Compared(Number(value), op, Count()):
            found = {compare(value, op, count) for count in _counts_around(value)}
        case _:
            return None
    return found.pop() if len(found) == 1 else None


def _counts_around(value: float) -> set[int]:
    near_value = max(0, math.floor(value))
    return {0, near_value, near_value + 1, near_value + 2}
