"""Compiles conditions and subjects into functions on spans.

In: nodes without errors, and a time zone. Out: closures, which no longer read the tree. No closure raises, whatever the
span contains.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple, TypeAlias
from zoneinfo import ZoneInfo

from dsl.judge.builtin import BUILTINS, lookup_keys
from dsl.judge.paths import reach
from dsl.judge.span import NO_ATTRIBUTES, Attributes, Span, Value, events_of
from dsl.judge.values import (
    ORDER_OPERATORS,
    Check,
    any_element,
    compare_numbers,
    compares_number,
    contains,
    equals,
    equals_any,
    equals_value,
    has_affix,
    in_networks,
    intersects,
    is_false,
    is_present,
    is_true,
    matches_regex,
)
from dsl.syntax.nodes import (
    NOWHERE,
    AllOf,
    AnyOf,
    Comparison,
    Cond,
    Elements,
    Exists,
    Has,
    IsTruthy,
    ListLiteral,
    Literal,
    Name,
    Not,
    Operand,
    Reference,
    Subject,
    Text,
    comparisons,
)

EVERY_SPAN = "span"
"""The name of the subject that every span satisfies."""

Where: TypeAlias = Callable[[Span, Attributes], bool]
"""A condition on a span and the attributes of one of its events."""

Predicate: TypeAlias = Callable[[Span], bool]


Lookup: TypeAlias = Callable[[Span, Attributes], Value]
"""The value of an attribute, None when it is missing."""


_Values: TypeAlias = Callable[[Span, Attributes], list[Value]]
_NEGATIVE = frozenset({"!=", "not in"})
"""The operators that are true of several values when they are true of all."""


class SubjectParts(NamedTuple):
    """A subject split into the name that prefixes its attributes, and its condition."""

    name: str | None
    where: Cond | None


def split_subject(subject: Subject) -> SubjectParts:
    """Split a subject; `x.a op value` means `x.where(a op value)`, and without a dot any span with the attribute.

    >>> from dsl.syntax.nodes import HasAttribute, Name
    >>> split_subject(HasAttribute(Exists(Name("payment.amount")))).name
    'payment'
    """
    if isinstance(subject, Has):
        return SubjectParts(subject.name.text, subject.where)
    comparison = subject.comparison
    above, dot, last = comparison.name.text.rpartition(".")
    if not (above and dot and last):
        return SubjectParts(None, comparison)
    return SubjectParts(above, replace(comparison, name=replace(comparison.name, text=last), at=NOWHERE))


def attribute_names(cond: Cond | None) -> tuple[str, ...]:
    """Return every attribute that a condition names, `$name` included, in source order, each once."""
    names: dict[str, None] = {}
    for comparison in comparisons(cond) if cond is not None else ():
        names[comparison.name.text] = None
        if isinstance(comparison, Comparison) and isinstance(comparison.value, Reference):
            names[comparison.value.name.text] = None
    return tuple(names)


def attribute_lookup(keys: tuple[str, ...], zone: ZoneInfo) -> Lookup:
    """Compile the lookup of an attribute under its names, in order; the first match wins."""
    steps = tuple((key, BUILTINS.get(key)) for key in keys)

    def lookup(span: Span, event: Attributes) -> Value:
        attributes, resource, scope = span.attributes, span.resource, span.scope
        # A loop over the four sources would cost 0.1 µs more.
        for key, read in steps:
            if key in attributes and is_present(value := attributes[key]):
                return value
            if event and key in event and is_present(value := event[key]):
                return value
            if resource and key in resource and is_present(value := resource[key]):
                return value
            if scope and key in scope and is_present(value := scope[key]):
                return value
            if read is not None and (value := read(span, zone)) is not None and is_present(value):
                return value
        return None

    return lookup


def compile_cond(cond: Cond, subject: str | None, zone: ZoneInfo) -> Where:
    """Compile the condition of a where."""
    match cond:
        case AllOf(items):
            return _short_circuit(tuple(compile_cond(item, subject, zone) for item in items), ends=False)
        case AnyOf(items):
            return _short_circuit(tuple(compile_cond(item, subject, zone) for item in items), ends=True)
        case Not(item):
            inner = compile_cond(item, subject, zone)
            return lambda span, event: not inner(span, event)
        case Exists() | IsTruthy() | Comparison():
            return _attribute_cond(cond, subject, zone)


def _short_circuit(items: tuple[Where, ...], *, ends: bool) -> Where:
    """Evaluate the items in order until one is `ends`: True for `or`, False for `and`."""

    def where(span: Span, event: Attributes) -> bool:
        for item in items:  # all() and any() with a generator cost 0.2 µs more
            if item(span, event) is ends:
                return ends
        return not ends

    return where


def _attribute_cond(comparison: Comparison | Exists | IsTruthy, subject: str | None, zone: ZoneInfo) -> Where:
    if Elements.ALL in comparison.name.path:
        return _elements_cond(comparison, subject, zone)
    lookup = _path_lookup(comparison.name, subject, zone)
    match comparison:
        case Exists():
            return lambda span, event: lookup(span, event) is not None
        case IsTruthy():
            return _checked(lookup, is_true)
        case Comparison(_, op, Reference(other)):
            return _compared(lookup, op, _path_lookup(other, subject, zone))
        case Comparison(_, op, value):
            return _checked(lookup, literal_check(op, value))


def _path_lookup(name: Name, subject: str | None, zone: ZoneInfo) -> Lookup:
    """Compile the lookup of the value that a path without `[*]` leads to."""
    lookup, path = attribute_lookup(lookup_keys(name.text, subject), zone), name.path
    if not path:
        return lookup
    return lambda span, event: next(iter(reach(lookup(span, event), path)), None)


def _elements_cond(comparison: Comparison | Exists | IsTruthy, subject: str | None, zone: ZoneInfo) -> Where:
    """Compile a condition on each value that a path with `[*]` leads to; without any, it is false."""
    lookup, path = attribute_lookup(lookup_keys(comparison.name.text, subject), zone), comparison.name.path

    def values(span: Span, event: Attributes) -> list[Value]:
        return reach(lookup(span, event), path)

    match comparison:
        case Exists():
            return lambda span, event: bool(values(span, event))
        case IsTruthy():
            return lambda span, event: any(map(is_true, values(span, event)))
        case Comparison(_, op, Reference(other)):
            return _each_compared(values, op, _path_lookup(other, subject, zone))
        case Comparison(_, op, value):
            check = literal_check(op, value)
            if op in _NEGATIVE:
                return lambda span, event: bool(found := values(span, event)) and all(map(check, found))
            return lambda span, event: any(map(check, values(span, event)))


def _each_compared(values: _Values, op: str, lookup_other: Lookup) -> Where:
    compare, combine = _REFERENCES[op], all if op in _NEGATIVE else any

    def where(span: Span, event: Attributes) -> bool:
        found, other = values(span, event), lookup_other(span, event)
        return bool(found) and other is not None and combine(compare(value, other) for value in found)

    return where


def literal_check(op: str, operand: Operand) -> Check:
    """Compile an operator and its literals into a check of one value."""
    literals = operand.items if isinstance(operand, ListLiteral) else (operand,)
    return _CHECKS[op](op, literals)  # type: ignore[arg-type]  # references are compiled by `_compared`


def subject_predicate(subject: SubjectParts, zone: ZoneInfo) -> Predicate:
    """Compile the part of a subject before its where: whether a span is one that the subject names."""
    name = subject.name
    if name == EVERY_SPAN:
        return lambda _: True
    if name is None:
        return _has_any_attribute(attribute_names(subject.where), None, zone)
    if subject.where is None:
        return _is_named(name)
    has, carries = _is_named(name), _has_any_attribute(attribute_names(subject.where), name, zone)
    return lambda span: span.name == name != "" or has(span) or carries(span)


def _is_named(name: str) -> Predicate:
    def has(span: Span) -> bool:
        if span.name == name and (name or not span.is_log):
            return True
        if (value := span.attributes.get(name)) is not None and is_present(value) and not is_false(value):
            return True
        return bool(span.events) and bool(events_of(span, name))

    return has


def _has_any_attribute(names: tuple[str, ...], subject: str | None, zone: ZoneInfo) -> Predicate:
    keys = names if subject is None else tuple(f"{subject}.{name}" for name in names)
    lookups = tuple(attribute_lookup((key,), zone) for key in keys)
    return lambda span: any(lookup(span, NO_ATTRIBUTES) is not None for lookup in lookups)


def _checked(lookup: Lookup, check: Check) -> Where:
    return lambda span, event: (value := lookup(span, event)) is not None and check(value)


def _compared(lookup: Lookup, op: str, lookup_other: Lookup) -> Where:
    compare = _REFERENCES[op]

    def where(span: Span, event: Attributes) -> bool:
        left, right = lookup(span, event), lookup_other(span, event)
        return left is not None and right is not None and compare(left, right)

    return where


def _texts(literals: tuple[Literal, ...]) -> list[str]:
    return [literal.value for literal in literals if isinstance(literal, Text)]


def _negated(check: Check) -> Check:
    return lambda value: not check(value)


_CHECKS: Mapping[str, Callable[[str, tuple[Literal, ...]], Check]] = {
    "==": lambda _, literals: any_element(equals(literals[0])),
    "!=": lambda _, literals: _negated(any_element(equals(literals[0]))),
    "in": lambda _, literals: any_element(equals_any(literals)),
    "not in": lambda _, literals: _negated(any_element(equals_any(literals))),
    "contains": lambda _, literals: contains(literals),
    "matches": lambda _, literals: matches_regex(_texts(literals)),
    "starts_with": lambda op, literals: has_affix(op, _texts(literals)),
    "ends_with": lambda op, literals: has_affix(op, _texts(literals)),
    "in_cidr": lambda _, literals: in_networks(_texts(literals)),
    **{op: lambda op, literals: compares_number(op, literals[0]) for op in ORDER_OPERATORS},  # type: ignore[arg-type]
}

_REFERENCES: Mapping[str, Callable[[Value, Value], bool]] = {
    "==": equals_value,
    "!=": lambda left, right: not equals_value(left, right),
    "in": intersects,
    "not in": lambda left, right: not intersects(left, right),
    "<": lambda left, right: compare_numbers("<", left, right),
    "<=": lambda left, right: compare_numbers("<=", left, right),
    ">": lambda left, right: compare_numbers(">", left, right),
    ">=": lambda left, right: compare_numbers(">=", left, right),
}
