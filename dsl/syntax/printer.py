"""Prints nodes in canonical form, which parses back to equal nodes.

In: nodes. Out: text. Names and texts are quoted only where they must be, every group of `and` or `or` that needs
parentheses gets them, and `always` comes before `never`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

from dsl.syntax.nodes import (
    Aggregate,
    AllOf,
    AnyOf,
    Boolean,
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
    RelationWord,
    RuleBody,
    Step,
    Subject,
    Text,
    TraceDuration,
    When,
    Without,
)
from dsl.syntax.soft_keywords import SOFT_KEYWORDS, TRACE_DURATION
from dsl.syntax.suggestions import RESERVED
from dsl.syntax.tokens import UNIT_NS

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(\.([A-Za-z_][A-Za-z0-9_-]*|[0-9]+))*")
_ESCAPED = re.compile(r'["\\\x00-\x1f\x7f]')
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}
_NEVER_BARE = RESERVED | {"trace", "trace.has", "trace.count"}
_EXACT = 1 << 64
"""Below this, whole numbers are printed with all digits; no integer on a span is larger."""


def body_text(body: RuleBody) -> str:
    """Print a rule."""
    if not isinstance(body, When):
        return expr_text(body)
    clauses = [("when", body.condition)]
    clauses += [("always", clause) for clause in body.always] + [("never", clause) for clause in body.never]
    return " ".join(f"{word} {{ {expr_text(expr)} }}" for word, expr in clauses)


def expr_text(expr: Expr) -> str:
    """Print an expression."""
    match expr:
        case AllOf(items) | AnyOf(items):
            return (" and " if isinstance(expr, AllOf) else " or ").join(_expr_in_group(item) for item in items)
        case Not(item):
            return f"not {_expr_in_group(item)}"
        case Order(left, op, right):
            return f"{subject_text(left)} {op} {subject_text(right)}"
        case Pair(quantifier=quantifier, subject=subject, that=that, partner=partner):
            narrowed = "" if that is None else f" that {_partner_text(that)}"
            return f"{quantifier} {occurrence_text(subject)}{narrowed} {_partner_text(partner)}"
        case CountComparison(left, op, right):
            return f"{quantity_text(left)} {op} {quantity_text(right)}"
        case Has() | HasAttribute():
            return subject_text(expr)


def subject_text(subject: Subject) -> str:
    """Print a subject.

    >>> from dsl.syntax.nodes import Name
    >>> subject_text(Has(Name("GET /users"), Comparison(Name("status"), ">=", Number(500))))
    'trace.has("GET /users").where(status >= 500)'
    """
    if isinstance(subject, HasAttribute):
        text, name = cond_text(subject.comparison), subject.comparison.name.text
        return text.replace(name, quoted_text(name), 1) if name == TRACE_DURATION else text
    name = name_text(subject.name.text)
    head = f"trace.has({name})" if name.startswith('"') or name == TRACE_DURATION else name
    return head if subject.where is None else f"{head}.where({cond_text(subject.where)})"


def occurrence_text(subject: Subject) -> str:
    """Print a subject of a pair: comparisons get parentheses, and names that are soft keywords get `trace.has(…)`.

    >>> from dsl.syntax.nodes import Name
    >>> occurrence_text(HasAttribute(Exists(Name("x")))), occurrence_text(Has(Name("own")))
    ('(x exists)', 'trace.has(own)')
    """
    if isinstance(subject, HasAttribute):
        return f"({subject_text(subject)})"
    text = subject_text(subject)
    name = subject.name.text
    return text.replace(name, f"trace.has({name})", 1) if name in SOFT_KEYWORDS else text


def quantity_text(side: Quantity | Number | Duration) -> str:
    """Print one side of a comparison of quantities.

    >>> from dsl.syntax.nodes import Name
    >>> quantity_text(Aggregate("distinct", Has(Name("a")), Name("x")))
    'distinct(a, x)'
    """
    match side:
        case Count(subject):
            return f"count({subject_text(subject)})"
        case Aggregate("count by", subject, name):
            return f"count({subject_text(subject)} by {name_text(name.text)})"
        case Aggregate(function, subject, name):
            return f"{function}({occurrence_text(subject)}, {name_text(name.text)})"
        case TraceDuration():
            return TRACE_DURATION
        case Number() | Duration():
            return _literal_text(side)


def relation_texts(relations: Relations) -> Iterator[str]:
    """Yield the text of each relation."""
    yield from (" ".join([word.text, *map(_literal_text, _operands(word))]) for word in relations.words)
    if relations.keys:
        yield "with " + ", ".join(map(_key_text, relations.keys))
    yield from map(_without_text, relations.without)


def cond_text(cond: Cond) -> str:
    """Print the condition of a where."""
    match cond:
        case AllOf(items):
            return " and ".join(_cond_in_group(item) for item in items)
        case AnyOf(items):
            return " or ".join(_cond_in_group(item) for item in items)
        case Not(item):
            return f"not {_cond_in_group(item)}"
        case Comparison(name, op, value):
            return f"{path_text(name)} {op} {operand_text(value)}"
        case Exists(name):
            return f"{path_text(name)} exists"
        case IsTruthy(name):
            return path_text(name)


def name_text(text: str) -> str:
    """Print a name or text, quoted only where it must be.

    >>> name_text("pii.access"), name_text("in"), name_text("a b")
    ('pii.access', '"in"', '"a b"')
    """
    is_plain = _NAME.fullmatch(text) and text not in _NEVER_BARE and not text.endswith(".where")
    return text if is_plain else quoted_text(text)


def path_text(name: Name) -> str:
    """Print a name with its path.

    >>> from dsl.syntax.nodes import Elements
    >>> path_text(Name("x", path=("a key", 0, Elements.ALL)))
    'x["a key"][0][*]'
    """
    return name_text(name.text) + "".join(f"[{_step_text(step)}]" for step in name.path)


def _step_text(step: Step) -> str:
    return name_text(step) if isinstance(step, str) else str(step if isinstance(step, int) else step.value)


def quoted_text(text: str) -> str:
    r"""Print a text in quotes.

    >>> quoted_text('say "a"')
    '"say \\"a\\""'
    """
    return '"' + _ESCAPED.sub(_escape, text) + '"'


def operand_text(operand: Operand) -> str:
    """Print the right-hand side of a comparison."""
    match operand:
        case ListLiteral(items):
            return "[" + ", ".join(map(_literal_text, items)) + "]"
        case Reference(name):
            return "$" + path_text(name)
        case _:
            return _literal_text(operand)


def number_text(value: float) -> str:
    """Print a number so that equal numbers get the same text.

    >>> number_text(5), number_text(5.0), number_text(-0.0), number_text(0.5), number_text(10**22)
    ('5', '5', '0', '0.5', '1e+22')
    """
    return repr(_canonical(value))


def _canonical(value: float) -> float:
    """Return the integer among equal numbers, or the float where an integer has more digits than a double holds."""
    if type(value) is float:
        return int(value) if value.is_integer() and abs(value) < _EXACT else value
    return value if abs(value) < _EXACT or abs(value) > sys.float_info.max or float(value) != value else float(value)


def _escape(character: re.Match[str]) -> str:
    return _ESCAPES.get(character[0], f"\\u{ord(character[0]):04x}")


def _literal_text(literal: Literal) -> str:
    match literal:
        case Text(value):
            return name_text(value)
        case Number(value):
            return number_text(value)
        case Boolean(value):
            return "true" if value else "false"
        case Duration(value_ns):
            return duration_text(value_ns)


def duration_text(value_ns: float) -> str:
    """Return a duration in the largest unit that leaves no remainder.

    >>> duration_text(90 * 60 * 10**9)
    '90m'
    """
    whole_ns = _canonical(value_ns)
    for unit, size_ns in reversed(UNIT_NS.items()):
        if whole_ns and isinstance(whole_ns, int) and whole_ns % size_ns == 0:
            return f"{whole_ns // size_ns}{unit}"
    return f"{number_text(whole_ns)}ns"


def _partner_text(partner: Partner) -> str:
    own = "own " if partner.is_own else ""
    return " ".join([f"has {own}{occurrence_text(partner.subject)}", *relation_texts(partner.relations)])


def _operands(word: RelationWord) -> list[Literal]:
    return [] if word.duration is None else [word.duration]


def _key_text(key: JoinKey) -> str:
    if key.right is None:
        return f"{key.op} {name_text(key.left.text)}"
    return f"{name_text(key.left.text)} {key.op} {name_text(key.right.text)}"


def _without_text(without: Without) -> str:
    return f"without {'any ' if without.is_any else ''}{occurrence_text(without.subject)} between"


def _expr_in_group(expr: Expr) -> str:
    return f"({expr_text(expr)})" if isinstance(expr, AllOf | AnyOf) else expr_text(expr)


def _cond_in_group(cond: Cond) -> str:
    return f"({cond_text(cond)})" if isinstance(cond, AllOf | AnyOf) else cond_text(cond)
