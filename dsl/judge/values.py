"""How attribute values compare: one small function per literal, built once when a rule is compiled.

In: the literals of a rule. Out: `Check`s, which say of any value whether it compares so. A check never raises, whatever
the value's type, size or depth; what a literal's type does not compare with is false. Every check takes time linear in
the value.
"""

from __future__ import annotations

import ipaddress
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import msgspec
import re2

from dsl.judge.span import Value
from dsl.syntax.nodes import Boolean, Duration, Literal, Number, Text
from dsl.syntax.printer import number_text
from dsl.syntax.source import REPLACEMENT, replace_surrogates

Check: TypeAlias = Callable[[Value], bool]

PATTERN_MAX_BYTES = 4 * 1024 * 1024

ORDER_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

_DECIMAL = re.compile(r"[+-]?[0-9]{1,18}(\.[0-9]{1,18})?")
_LONGEST_ADDRESS = 100
_packed = msgspec.msgpack.Encoder(order="deterministic").encode
_VALUE_TYPES = frozenset({str, bool, int, float, bytes, list, dict})


def is_present(value: Value) -> bool:
    """Whether a value is there at all: None, NaN and types that OTLP does not have are missing."""
    return type(value) in _VALUE_TYPES and (type(value) is not float or value == value)  # noqa: PLR0124 (NaN)


def is_true(value: Value) -> bool:
    """Whether a bare name in where holds: neither false, nor 0, nor an empty text."""
    if type(value) is str:
        return bool(value) and value.lower() != "false"
    return bool(value) if isinstance(value, bool | int | float) else True


def is_false(value: Value) -> bool:
    """Whether the value is `false`, the boolean or the text in any case."""
    return value is False or (type(value) is str and value.lower() == "false")


def equals(literal: Literal) -> Check:
    """One value that is no array is equal to the literal.

    >>> equals(Number(1))("1.0"), equals(Number(1))(True), equals(Boolean(True))("TRUE"), equals(Text("1"))(1)
    (True, False, True, True)
    """
    match literal:
        case Number(number) | Duration(number):
            return lambda value: _number(value) == number
        case Boolean(truth):
            return lambda value: _truth(value) is truth
        case Text(text) if REPLACEMENT in text:
            return lambda value: (form := _text(value)) is not None and replace_surrogates(form) == text
        case Text(text):
            return lambda value: value == text if type(value) is str else _text(value) == text


def any_element(check: Check) -> Check:
    """The value, or one element of it when it is an array."""
    return lambda value: any(map(check, value)) if type(value) is list else check(value)


def equals_any(literals: Iterable[Literal]) -> Check:
    """One value that is no array is equal to one of the literals."""
    checks = [equals(literal) for literal in literals]
    return checks[0] if len(checks) == 1 else lambda value: any(check(value) for check in checks)


def compares_number(op: str, literal: Number | Duration) -> Check:
    """The value is a number that stands in this order to the literal."""
    compare = ORDER_OPERATORS[op]
    limit = literal.value if isinstance(literal, Number) else literal.value_ns
    return lambda value: (number := _number(value)) is not None and compare(number, limit)


def contains(literals: Sequence[Literal]) -> Check:
    """A text that contains one of the literals' text forms, an array with an equal element, a list with such a key."""
    is_equal = equals_any(literals)
    forms = [literal_text(literal) for literal in literals]

    def check(value: Value) -> bool:
        if type(value) is list:
            return any(map(is_equal, value))
        if type(value) is dict:
            return any(form in value for form in forms)
        if (text := _text(value)) is None:
            return False
        text = replace_surrogates(text)
        return any(form in text for form in forms)

    return check


def has_affix(op: str, texts: Sequence[str]) -> Check:
    """A text that starts or ends with one of the texts."""
    affixes = tuple(texts)
    test = str.startswith if op == "starts_with" else str.endswith
    return any_element(lambda value: (text := _text(value)) is not None and test(replace_surrogates(text), affixes))


def in_networks(networks: Sequence[str]) -> Check:
    """A text that is an IP address in one of the networks; an IPv4 address written as IPv6 counts as what it is."""
    parsed = [ipaddress.ip_network(network) for network in networks]

    def check(value: Value) -> bool:
        if type(value) is not str or len(value) > _LONGEST_ADDRESS:
            return False
        try:
            address = ipaddress.ip_address(value)
        except ValueError:
            return False
        plain = getattr(address, "ipv4_mapped", None) or address
        return any(plain in network or address in network for network in parsed)

    return any_element(check)


def matches_regex(patterns: Sequence[str]) -> Check:
    """A text in which one of the RE2 patterns is found."""
    searches = [pattern_search(pattern) for pattern in patterns]

    def check(value: Value) -> bool:
        text = _text(value)
        return text is not None and any(search(replace_surrogates(text).encode()) for search in searches)

    return any_element(check)


def pattern_search(pattern: str) -> Callable[[bytes], object]:
    """The search of one RE2 pattern; raises `re2.error` when it is none."""
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    options.max_mem = PATTERN_MAX_BYTES
    search: Callable[[bytes], object] = re2.compile(pattern.encode(), options).search
    return search


def equals_value(left: Value, right: Value) -> bool:
    """`left == $right`: by the type of the right value; an array on the left needs one equal element.

    Two arrays are the same when they are equal element by element.
    """
    if type(right) is not list:
        return intersects(left, right)
    return type(left) is list and len(left) == len(right) and all(map(_is_element, left, right))


def intersects(left: Value, right: Value) -> bool:
    """`left in $right`: an element of the right array is equal to the left value, or to one element of it.

    A right value that is no array is like an array of it alone.
    """
    right = [value for value in (right if type(right) is list else [right]) if is_present(value)]
    numbers = {value for value in right if type(value) in {int, float}}
    truths = {value for value in right if type(value) is bool}
    texts = {replace_surrogates(value) for value in right if type(value) is str}
    blobs = {value for value in right if type(value) is bytes}

    def check(value: Value) -> bool:
        number, truth, text = _number(value), _truth(value), _text(value)
        return (
            (number is not None and number in numbers)
            or (truth is not None and truth in truths)
            or (text is not None and replace_surrogates(text) in texts)
            or (type(value) is bytes and value in blobs)
        )

    return any_element(check)(left)


def _is_element(left: Value, right: Value) -> bool:
    """Whether two elements of arrays are equal; of what is nested in them all must be, types too."""
    if type(right) not in {list, dict}:
        return type(left) is not list and intersects(left, right)
    try:
        return type(left) is type(right) and _packed(left) == _packed(right)
    except (RecursionError, OverflowError):  # too deep, or a number beyond 64 bits
        return False


def compare_numbers(op: str, left: Value, right: Value) -> bool:
    """`left op $right`: only between two numbers."""
    if type(left) not in {int, float} or type(right) not in {int, float}:
        return False
    return ORDER_OPERATORS[op](left, right)  # type: ignore[arg-type]  # mypy does not narrow by type()


def literal_text(literal: Literal) -> str:
    """The text form of a literal."""
    match literal:
        case Text(text):
            return text
        case Boolean(truth):
            return "true" if truth else "false"
        case Number(number) | Duration(number):
            return number_text(number)


def _number(value: Value) -> float | None:
    if type(value) is int or type(value) is float:
        return value
    if type(value) is str and (decimal := _DECIMAL.fullmatch(value)) is not None:
        return float(value) if decimal[1] else int(value)
    return None


def _truth(value: Value) -> bool | None:
    if type(value) is bool:
        return value
    if type(value) is str:
        return {"true": True, "false": False}.get(value.lower())
    return None


def _text(value: Value) -> str | None:
    if type(value) is str:
        return value
    if type(value) is bool:
        return "true" if value else "false"
    if type(value) is int:
        try:
            return str(value)
        except ValueError:  # more digits than Python prints
            return None
    return None
