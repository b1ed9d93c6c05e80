"""Reaches into values: `x[to]`, `x[0]` and `x[*]`.

In: an attribute's value and the path in a rule. Out: the values at the end of the path. Text that is a JSON object or
array is read, within limits; anything else without the step counts as missing. Never raises, in linear time.
"""

from __future__ import annotations

import json
from functools import lru_cache

import msgspec

from dsl.judge.span import Value
from dsl.judge.values import is_present, without_surrogates
from dsl.syntax.nodes import Elements, Step
from dsl.syntax.source import replace_surrogates

MAX_TEXT_BYTES = 64 * 1024
MAX_DEPTH = 16

_CACHED = 16
"""Texts that are kept as read, because several subjects may reach into one."""


def reach(value: Value, path: tuple[Step, ...]) -> list[Value]:
    """Return the values that a path leads to; several only with `[*]`, none when they are missing.

    >>> reach({"to": ["a", "b"]}, ("to", 1)), reach('[{"n": 1}, {"n": 2}, {}]', (Elements.ALL, "n")), reach([1], ("n",))
    (['b'], [1, 2], [])
    """
    values = [value]
    for step in path:
        values = [found for each in values for found in _step(_read(each) if isinstance(each, str) else each, step)]
    return [each for each in values if is_present(each)]


def _step(value: Value, step: Step) -> list[Value]:
    match step:
        case str():
            return [value[step]] if isinstance(value, dict) and step in value else []
        case int():
            return [value[step]] if isinstance(value, list) and step < len(value) else []
        case Elements.ALL:
            return value if isinstance(value, list) else []


@lru_cache(maxsize=_CACHED)
def _read(text: str) -> Value:
    """Return the object or array that a text is in JSON; None when it is neither, too long or too deep."""
    if len(text) > MAX_TEXT_BYTES or not text.lstrip(" \t\r\n").startswith(("{", "[")):
        return None
    encoded = replace_surrogates(text).encode()
    if len(encoded) > MAX_TEXT_BYTES:
        return None
    try:
        value: Value = msgspec.json.decode(encoded)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        value = _read_slowly(text)
    return value if _is_shallow(value) else None


def _read_slowly(text: str) -> Value:
    r"""Return what a text is in JSON, None when it is not JSON.

    It also reads escapes of lone surrogates, which become U+FFFD, and numbers of any size: else whoever can add one to
    an object would hide the rest of it from the rules.

    >>> _read_slowly('{"a": 1e999, "\\ud800": 7}'), _read_slowly("[NaN]")
    ({'a': inf, '\ufffd': 7}, None)
    """
    try:
        return without_surrogates(json.loads(text, parse_int=_integer, parse_constant=_refuse))
    except (ValueError, RecursionError):
        return None


def _integer(digits: str) -> int | float:
    """Return an integer, or an infinity when it has more digits than Python reads."""
    try:
        return int(digits)
    except ValueError:
        return float(digits)


def _refuse(constant: str) -> Value:
    raise ValueError(constant)


def _is_shallow(value: Value) -> bool:
    """Return whether objects and arrays are nested at most as deep as they may be."""
    level: list[Value] = [value]
    for _ in range(MAX_DEPTH):
        level = [item for each in level for item in _items(each)]
    return not any(isinstance(each, list | dict) for each in level)


def _items(value: Value) -> list[Value]:
    if isinstance(value, dict):
        return [*value.values()]
    return value if isinstance(value, list) else []
