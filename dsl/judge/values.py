"""Compares attribute values: one function per literal, built once when a rule is compiled.

In: the literals of a rule. Out: `Check`s, which return whether a value satisfies the comparison. A check never raises,
whatever the type, size or depth of the value, and returns false for types that the literal does not compare with. It
takes time linear in the size of the value.
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


def is_decimal(text: str) -> bool:
    """Return whether a text is a plain decimal, which compares as a number."""
    return _DECIMAL.fullmatch(text) is not None


def is_present(value: Value) -> bool:
    """Return whether there is a value: None, NaN and types that OTLP does not have count as missing."""
    return type(value) in _VALUE_TYPES and (type(value) is not float or value == value)  # noqa: PLR0124 (NaN)


def is_true(value: Value) -> bool:
    """Return whether a bare name in a where is true: the value is neither false, nor 0, nor an empty text."""
    if type(value) is str:
        return bool(value) and value.lower() != "false"
    return bool(value) if isinstance(value, bool | int | float) else True


def is_false(value: Value) -> bool:
    """Return whether the value is `false`, as a boolean or as text in any case."""
    return value is False or (type(value) is str and value.lower() == "false")


def equals(literal: Literal) -> Check:
    """Check that a value equals the literal; an array never does.

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
    """Check the value or, for an array, that one of its elements passes."""
    return lambda value: any(map(check, value)) if type(value) is list else check(value)


def equals_any(literals: Iterable[Literal]) -> Check:
    """Check that a value equals one of the literals; an array never does."""
    checks = [equals(literal) for literal in literals]
    return checks[0] if len(checks) == 1 else lambda value: any(check(value) for check in checks)


def compares_number(op: str, literal: Number | Duration) -> Check:
    """Check that the value is a number that satisfies the order operator."""
    compare = ORDER_OPERATORS[op]
    limit = literal.value if isinstance(literal, Number) else literal.value_ns
    return lambda value: (number := _number(value)) is not None and compare(number, limit)


def contains(literals: Sequence[Literal]) -> Check:
    """Check that a text contains a literal's text, an array has an equal element, or a mapping has it as a key."""
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
    """Check that a text starts or ends with one of the texts."""
    affixes = tuple(texts)
    test = str.startswith if op == "starts_with" else str.endswith
    return any_element(lambda value: (text := _text(value)) is not None and test(replace_surrogates(text), affixes))


def in_networks(networks: Sequence[str]) -> Check:
    """Check that a text is an IP address in one of the networks; an IPv4-mapped IPv6 address counts as both."""
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
    """Check that one of the RE2 patterns matches somewhere in a text."""
    searches = [pattern_search(pattern) for pattern in patterns]

    def check(value: Value) -> bool:
        text = _text(value)
        return text is not None and any(search(replace_surrogates(text).encode()) for search in searches)

    return any_element(check)


def pattern_search(pattern: str) -> Callable[[bytes], object]:
    """Compile an RE2 pattern into its search function; raises `re2.error` when the pattern is invalid."""
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    options.max_mem = PATTERN_MAX_BYTES
    search: Callable[[bytes], object] = re2.compile(pattern.encode(), options).search
    return search


def equals_value(left: Value, right: Value) -> bool:
    """Evaluate `left == $right` by the type of `right`; an array on the left needs one equal element.

    Two arrays are equal when they are equal element by element.
    """
    if type(right) is not list:
        return intersects(left, right)
    return type(left) is list and len(left) == len(right) and all(map(_is_element, left, right))


def intersects(left: Value, right: Value) -> bool:
    """Evaluate `left in $right`: the left value, or one element of it, equals an element of the right array.

    A right value that is not an array counts as an array of one element.
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
    """Return whether two array elements are equal; nested values must be equal in type as well."""
    if type(right) not in {list, dict}:
        return type(left) is not list and intersects(left, right)
    try:
        return type(left) is type(right) and _packed_nested(left) == _packed_nested(right)
    except (RecursionError, OverflowError):  # too deep, or a number beyond 64 bits
        return False


def _packed_nested(value: Value) -> bytes:
    try:
        return _packed(value)
    except UnicodeEncodeError:
        return _packed(without_surrogates(value))


def without_surrogates(value: Value) -> Value:
    r"""Replace lone surrogates by U+FFFD in all texts of a value; raises RecursionError when it is nested too deep.

    >>> without_surrogates([{"\ud800": "a\udfff"}, 1])
    [{'\ufffd': 'a\ufffd'}, 1]
    """
    match value:
        case str():
            return replace_surrogates(value)
        case list():
            return [without_surrogates(each) for each in value]
        case dict():
            return {replace_surrogates(key): without_surrogates(each) for key, each in value.items()}
        case _:
            return value


def compare_numbers(op: str, left: Value, right: Value) -> bool:
    """Evaluate `left op $right`, which is false unless both are numbers."""
    if type(left) not in {int, float} or type(right) not in {int, float}:
        return False
    return ORDER_OPERATORS[op](left, right)  # type: ignore[arg-type]  # mypy does not narrow by type()


def literal_text(literal: Literal) -> str:
    """Return the text form of a literal."""
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
