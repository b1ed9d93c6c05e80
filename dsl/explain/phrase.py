"""Phrases nodes in plain English.

In: nodes without errors. Out: sentences about a trace, and phrases about a span. Negation is pushed down to subjects
and comparisons, where missing attributes are mentioned: `not (x == 1)` is true without an `x`, `x != 1` is not.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import MappingProxyType

from dsl.judge.predicate import EVERY_SPAN
from dsl.syntax.nodes import (
    OF_SOME,
    Aggregate,
    AllOf,
    AnyOf,
    Comparison,
    Cond,
    Count,
    CountComparison,
    Duration,
    Exists,
    Expr,
    Has,
    HasAttribute,
    IsTruthy,
    JoinKey,
    ListLiteral,
    Literal,
    Name,
    Not,
    Number,
    Operand,
    Order,
    Pair,
    Partner,
    Quantity,
    Reference,
    Relations,
    Subject,
    Text,
    TraceDuration,
    Without,
)
from dsl.syntax.printer import operand_text, path_text

_COUNTS = MappingProxyType(
    {
        "==": ("equals", "differs from"),
        "!=": ("differs from", "equals"),
        "<": ("is less than", "is at least"),
        "<=": ("is at most", "is more than"),
        ">": ("is more than", "is at most"),
        ">=": ("is at least", "is less than"),
    }
)
_COMPARISONS = MappingProxyType(
    {
        "==": ("is", "is not"),
        "!=": ("exists and is not", "is"),
        "<": ("is less than", "is not less than"),
        "<=": ("is at most", "is not at most"),
        ">": ("is more than", "is not more than"),
        ">=": ("is at least", "is not at least"),
        "in": ("is one of", "is none of"),
        "not in": ("exists and is none of", "is one of"),
        "in_cidr": ("is an address in", "is not an address in"),
        "contains": ("contains", "does not contain"),
        "matches": ("matches the pattern", "does not match the pattern"),
        "starts_with": ("starts with", "does not start with"),
        "ends_with": ("ends with", "does not end with"),
    }
)

_STRUCTURES = MappingProxyType(
    {
        "above": "that is above it",
        "below": "that is below it",
        "directly above": "that is its parent",
        "directly below": "that is its child",
        "beside": "that has the same parent",
    }
)
_AGGREGATES = MappingProxyType(
    {
        "distinct": "number of different values of",
        "sum": "sum of",
        "min": "smallest",
        "max": "largest",
        "avg": "average",
    }
)

_PLAIN = 10**15
"""Whole numbers below this are written in full, even if the rule writes 1e6."""


def sentence(expr: Expr, *, holds: bool = True) -> str:
    """Describe a trace for which the expression is true, or not true when `holds` is false.

    >>> from dsl.syntax.nodes import Name
    >>> sentence(AllOf((Has(Name("a")), Not(Has(Name("b")))))), sentence(Not(Has(Name("b"))), holds=False)
    ('there is a span `a` and there is no span `b`', 'there is a span `b`')
    """
    return " ".join(clauses(expr, holds=holds))


def clauses(expr: Expr, *, holds: bool = True) -> list[str]:
    """Return the sentence as a list, split at the outermost `and` or `or`; all but the first begin with that word."""
    match expr:
        case Not(item):
            return clauses(item, holds=not holds)
        case AllOf(items) | AnyOf(items):
            word = "and" if isinstance(expr, AllOf) is holds else "or"
            return joined(word, [_part(item, holds=holds) for item in items])
        case Has() | HasAttribute():
            return [f"there is {'a' if holds else 'no'} {noun(expr)}"]
        case Order():
            return [_order(expr, holds=holds)]
        case Pair():
            return [_pair(expr, holds=holds)]
        case CountComparison(left, op, right):
            phrase = f"{_amount(left)} {_COUNTS[op][not holds]} {_amount(right)}"
            return [phrase if holds else phrase + _absence(left, right)]


def noun(subject: Subject) -> str:
    """Describe the spans that satisfy a subject.

    >>> from dsl.syntax.nodes import Name
    >>> noun(Has(Name("payment"), Comparison(Name("amount"), ">", Number(1000))))
    'span `payment` whose `amount` is more than 1000'
    """
    if isinstance(subject, HasAttribute):
        return f"span {whose_phrase(subject.comparison)}"
    head = "span" if subject.name.text == EVERY_SPAN else f"span {_quoted(subject.name.text)}"
    return head if subject.where is None else f"{head} {whose_phrase(subject.where)}"


def whose_phrase(cond: Cond, *, holds: bool = True) -> str:
    """Describe, as a relative clause, a span for which the condition is true, or not true when `holds` is false.

    >>> from dsl.syntax.nodes import Name
    >>> whose_phrase(AllOf((Comparison(Name("x"), "==", Number(1)), Exists(Name("y")))))
    'whose `x` is 1 and whose `y` exists'
    """
    match cond:
        case Not(item):
            return whose_phrase(item, holds=not holds)
        case AllOf(items) if holds:
            parts = joined("and whose", [_cond_part(item, holds=True) for item in items])
        case AnyOf(items) if not holds:
            parts = joined("and whose", [_cond_part(item, holds=False) for item in items])
        case _:
            parts = [_cond_part(cond, holds=holds)]
    return "whose " + " ".join(parts)


def cond_phrase(cond: Cond, *, holds: bool = True) -> str:
    """Describe the attributes of a span for which the condition is true, or not true when `holds` is false.

    >>> from dsl.syntax.nodes import Name
    >>> cond_phrase(Not(Comparison(Name("x"), "==", Text("a b"))))
    '`x`, if it exists, is not "a b"'
    """
    match cond:
        case Not(item):
            return cond_phrase(item, holds=not holds)
        case AllOf(items) | AnyOf(items):
            word = "and" if isinstance(cond, AllOf) is holds else "or"
            return " ".join(joined(word, [_cond_part(item, holds=holds) for item in items]))
        case Exists(name):
            return f"{_quoted(path_text(name))} {'exists' if holds else 'is missing'}"
        case IsTruthy(Name("span.is_root")):
            return f"`span.is_root` is {'true' if holds else 'not true'}"
        case IsTruthy(name):
            phrase = "exists and is neither false, 0 nor empty" if holds else "is missing, false, 0 or empty"
            return f"{_quoted(path_text(name))} {phrase}"
        case Comparison(name, op, value):
            condition = "both exist" if isinstance(value, Reference) else "it exists"
            subject = _quoted(path_text(name)) + ("" if holds else f", if {condition},")
            return f"{subject} {_COMPARISONS[op][not holds]} {_value(op, value)}"


def joined(word: str, parts: Iterable[str]) -> list[str]:
    """Return the distinct parts, all but the first prefixed with a word.

    >>> joined("or", ["x", "y", "x"])
    ['x', 'or y']
    """
    first, *rest = dict.fromkeys(parts)
    return [first, *(f"{word} {part}" for part in rest)]


def _part(expr: Expr, *, holds: bool) -> str:
    phrase = sentence(expr, holds=holds)
    return f"({phrase})" if _is_group(expr) else phrase


def _cond_part(cond: Cond, *, holds: bool) -> str:
    phrase = cond_phrase(cond, holds=holds)
    return f"({phrase})" if _is_group(cond) else phrase


def _is_group(node: Expr | Cond) -> bool:
    return _is_group(node.item) if isinstance(node, Not) else isinstance(node, AllOf | AnyOf)


def _order(order: Order, *, holds: bool) -> str:
    which = "first" if order.op == "before" else "last"
    left, right = noun(order.left), noun(order.right)
    if holds:
        return f"the {which} {left} starts {order.op} the {which} {right}"
    return f"the {which} {left} does not start {order.op} the {which} {right} (or one of them is missing)"


def _pair(pair: Pair, *, holds: bool) -> str:
    subject = noun(pair.subject) + ("" if pair.that is None else f" that has a {_partner(pair.that)}")
    other = _partner(pair.partner) + (", each one of its own" if pair.partner.is_own else "")
    if pair.quantifier == "some":
        return f"{'at least one' if holds else 'no'} {subject} has a {other}"
    return f"each {subject} has a {other}" if holds else f"not every {subject} has a {other}"


def _partner(partner: Partner) -> str:
    relations = partner.relations
    phrase = [f"that starts {relations.order} it"] if relations.order else []
    phrase += [_STRUCTURES[relations.structure]] if relations.structure else []
    phrase += [
        f"with a start at most {operand_text(word.duration)} away"
        for word in relations.words
        if word.duration is not None
    ]
    phrase += map(_join_key, relations.keys)
    phrase += [f"with no {noun(each.subject)} between them{_of(each, relations)}" for each in relations.without]
    return " ".join([noun(partner.subject), *phrase])


def _join_key(key: JoinKey) -> str:
    left, right = map(_quoted, key.names)
    if left == right:
        return f"with {'the same' if key.is_equality else 'another'} {left}"
    return f"whose {right} {'is' if key.is_equality else 'differs from'} its {left}"


def _of(without: Without, relations: Relations) -> str:
    return " (whatever its values)" if without.is_any and relations.keys else ""


def _amount(side: Quantity | Number | Duration) -> str:
    match side:
        case Count(subject):
            return "the number of " + _plural(subject)
        case Aggregate("count by", subject, name):
            return f"the largest number of {_plural(subject)} with the same {_quoted(name.text)}"
        case Aggregate(function, subject, name):
            return f"the {_AGGREGATES[function]} {_quoted(name.text)} of {_plural(subject)}"
        case TraceDuration():
            return "the duration of the trace"
        case Number() | Duration():
            return operand_text(side)


def _absence(*sides: Quantity | Number | Duration) -> str:
    """Describe when a comparison is not true because the trace does not have one of the numbers."""
    is_absent = [
        isinstance(side, TraceDuration) or (isinstance(side, Aggregate) and side.function in OF_SOME) for side in sides
    ]
    return " (or one of them is missing)" if all(is_absent) else " (or there is none)" if any(is_absent) else ""


def _plural(subject: Subject) -> str:
    return "spans" + noun(subject).removeprefix("span")


def _value(op: str, operand: Operand) -> str:
    is_choice = op in {"in", "not in"}
    match operand:
        case Reference(name):
            return f"the {'values' if is_choice else 'value'} of {_quoted(path_text(name))}"
        case ListLiteral(items):
            return (", " if is_choice else " or ").join(map(_literal, items))
        case _:
            return _literal(operand)


def _literal(literal: Literal) -> str:
    if isinstance(literal, Text):
        return '"' + literal.value.replace("\n", "\\n") + '"'
    if isinstance(literal, Number) and literal.value == int(literal.value) and abs(literal.value) < _PLAIN:
        return str(int(literal.value))
    return operand_text(literal)


def _quoted(name: str) -> str:
    return f"`{name}`"
