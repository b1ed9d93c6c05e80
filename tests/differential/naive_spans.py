"""What rules ask of one span, the slow way: every name is looked up again, every literal is compared for itself."""

from __future__ import annotations

import ipaddress
import json
import re
from dataclasses import replace
from zoneinfo import ZoneInfo

import msgspec

from dsl import Event, Span, Value
from dsl.judge.builtin import BUILTINS
from dsl.judge.span import Attributes
from dsl.judge.values import ORDER_OPERATORS
from dsl.syntax.nodes import (
    AllOf,
    AnyOf,
    Comparison,
    Cond,
    Duration,
    Elements,
    HasAttribute,
    IsTruthy,
    ListLiteral,
    Name,
    Not,
    Reference,
    Step,
    Subject,
    comparisons,
)

UTC = ZoneInfo("UTC")
DECIMAL = re.compile(r"[+-]?[0-9]{1,18}(\.[0-9]{1,18})?")


def satisfies(span: Span, subject: Subject) -> bool:
    """Whether the span satisfies the subject."""
    return bool(satisfying(span, subject))


def attribute(name: str, subject: Subject, span: Span, event: Attributes) -> Value:
    """What a name stands for in a where of the subject."""
    above, _ = _parts(subject)
    return _find(name, above, span, event)


def _parts(subject: Subject) -> tuple[str, Cond | None]:
    if isinstance(subject, HasAttribute):
        name, _, last = subject.comparison.name.text.rpartition(".")
        where: Cond | None = replace(subject.comparison, name=Name(last))
    else:
        name, where = subject.name.text, subject.where
    return name, where


def satisfying(span: Span, subject: Subject) -> list[Attributes]:
    """The events of a span that satisfy the subject, or one without attributes for the span; none when it does not."""
    name, where = _parts(subject)
    events = [event.attributes for event in span.events if event.name == name] or [{}]
    return [event for event in events if is_about(span, subject) and (where is None or holds(where, name, span, event))]


def has_event(span: Span, subject: Subject) -> bool:
    """Whether a span has an event of the name of the subject, which `span` is not: that is any span."""
    name, _ = _parts(subject)
    return name != "span" and any(event.name == name for event in span.events)


def is_event_of(event: Event, span: Span, subject: Subject) -> bool:
    """Whether an event of a span satisfies the subject."""
    name, where = _parts(subject)
    return event.name == name != "span" and (where is None or holds(where, name, span, event.attributes))


def is_by_itself(span: Span, subject: Subject) -> bool:
    """Whether a span satisfies the subject without its events."""
    alone = msgspec.structs.replace(span, events=())
    return bool(satisfying(alone, subject))


def is_about(span: Span, subject: Subject) -> bool:
    """Whether a span has what the subject names, whatever its where says."""
    name, where = _parts(subject)
    flag = span.attributes.get(name)
    is_named = name in {span.name, "span", *(event.name for event in span.events)}
    is_named |= _is_there(flag) and str(flag).lower() != "false"
    asked = list(comparisons(where)) if where else []
    names = [each.name.text for each in asked]
    names += [
        each.value.name.text for each in asked if isinstance(each, Comparison) and isinstance(each.value, Reference)
    ]
    is_carried = any(_is_there(_find(f"{name}.{each}".lstrip("."), "", span, {})) for each in names)
    return is_carried or (bool(name) and is_named)


def holds(cond: Cond, name: str, span: Span, event: Attributes) -> bool:
    """Whether a condition below a subject of this name is true of the span and one of its events."""
    match cond:
        case Not(item):
            return not holds(item, name, span, event)
        case AllOf(items):
            return all(holds(item, name, span, event) for item in items)
        case AnyOf(items):
            return any(holds(item, name, span, event) for item in items)
        case Comparison(tested, op):
            truths = [_is_true(value, cond, name, span, event) for value in _reached(tested, name, span, event)]
            return bool(truths) and (all if op in {"!=", "not in"} else any)(truths)
        case _:
            values = _reached(cond.name, name, span, event)
            return any(not (isinstance(cond, IsTruthy) and _is_empty(value)) for value in values)


def _is_empty(value: Value) -> bool:
    return value in (False, 0, "") or str(value).lower() == "false"


def _is_true(value: Value, comparison: Comparison, name: str, span: Span, event: Attributes) -> bool:
    op, operand = comparison.op, comparison.value
    if isinstance(operand, Reference):
        return _is_so(value, op, next(iter(_reached(operand.name, name, span, event)), None))
    literals = operand.items if isinstance(operand, ListLiteral) else (operand,)
    plain: list[Value] = [each.value_ns if isinstance(each, Duration) else each.value for each in literals]
    return _compares(value, op, plain)


def _reached(asked: Name, subject: str, span: Span, event: Attributes) -> list[Value]:
    """All values that a path leads to."""
    values = [_find(asked.text, subject, span, event)]
    for step in asked.path:
        values = [found for value in values for found in _inside(_parsed(value), step)]
    return [value for value in values if _is_there(value)]


def _parsed(value: Value) -> Value:
    if not isinstance(value, str) or value.strip()[:1] not in {"{", "["}:
        return value
    try:
        parsed: Value = json.loads(value)
    except ValueError:
        return None
    return parsed


def _inside(value: Value, step: Step) -> list[Value]:
    if isinstance(value, dict):
        return [value[step]] if isinstance(step, str) and step in value else []
    if not isinstance(value, list) or isinstance(step, str):
        return []
    return value if step is Elements.ALL else value[step : step + 1]


def _find(name: str, subject: str, span: Span, event: Attributes) -> Value:
    for key in (f"{subject}.{name}", name) if subject else (name,):
        found = [location.get(key) for location in (span.attributes, event, span.resource, span.scope)]
        for value in (*found, BUILTINS[key](span, UTC) if key in BUILTINS else None):
            if _is_there(value):
                return value
    return None


def _is_there(value: Value) -> bool:
    return value is not None and value == value  # noqa: PLR0124 (NaN is missing)


def _is_so(value: Value, op: str, other: Value) -> bool:
    """`value op $name`."""
    if op in ORDER_OPERATORS:
        return {type(value), type(other)} <= {int, float} and _compares(value, op, [other])
    if not (_is_there(value) and _is_there(other)):
        return False
    if isinstance(other, list) and op in {"==", "!="}:
        pairs = zip(value, other, strict=True) if isinstance(value, list) and len(value) == len(other) else [(None, 1)]
        return all(_is_element(item, element) for item, element in pairs) is (op == "==")
    return _compares(value, op, other if isinstance(other, list) else [other])


def _is_element(item: Value, other: Value) -> bool:
    if isinstance(other, list | dict):
        return type(item) is type(other) and repr(item) == repr(other)
    return _is_there(item) and not isinstance(item, list) and _equal(item, other)


def _compares(value: Value, op: str, literals: list[Value]) -> bool:
    items = value if isinstance(value, list) else [value]
    if op in ORDER_OPERATORS:
        number, (limit,) = number_of(value), literals
        return number is not None and isinstance(limit, int | float) and ORDER_OPERATORS[op](number, limit)
    if op in {"matches", "starts_with", "ends_with", "in_cidr"}:
        texts = [text for item in items if (text := _text(item)) is not None]
        return any(_fits(text, op, str(literal)) for text in texts for literal in literals)
    if op == "contains" and not isinstance(value, list):
        whole = value if isinstance(value, dict) else _text(value)
        return whole is not None and any(str(_text(literal)) in whole for literal in literals)
    return any(_equal(item, literal) for item in items for literal in literals) is not (op in {"!=", "not in"})


def _equal(item: Value, literal: Value) -> bool:
    if isinstance(literal, bool):
        return item is literal or (isinstance(item, str) and item.lower() == str(literal).lower())
    if isinstance(literal, str):
        return _text(item) == literal
    if isinstance(literal, bytes):
        return item == literal
    return isinstance(literal, int | float) and number_of(item) == literal


def _fits(text: str, op: str, literal: str) -> bool:
    if op == "in_cidr":
        is_address = re.fullmatch(r"([0-9]{1,2}\.){3}[0-9]{1,2}", text) is not None
        return is_address and ipaddress.ip_address(text) in ipaddress.ip_network(literal)
    if op == "matches":
        return re.search(literal, text) is not None
    return text.startswith(literal) if op == "starts_with" else text.endswith(literal)


def number_of(value: Value) -> float | None:
    """The number that a value is compared as, None when it is none."""
    if isinstance(value, str) and DECIMAL.fullmatch(value):
        return float(value) if "." in value else int(value)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _text(value: Value) -> str | None:
    if isinstance(value, bool | int):
        return str(value).lower()
    return value if isinstance(value, str) else None
