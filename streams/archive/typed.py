"""Encodes one attribute value as a text that people and SQL read, and one letter for its type.

In: a value as rules see it. Out: its text and its letter, and from those the exact value again:

    s  text            itself
    b  bool            true, false
    i  int             decimal
    d  double          as Python prints it: 1.0, 1e+16, nan, inf
    j  array, list     JSON, where it can represent the whole value
    m  array, list     MessagePack in base64, where it cannot: bytes, NaN or infinity inside
    y  bytes           base64
    n  empty value     None

The letters of all attributes of a span form one text beside the map, in the order of its keys: most spans of a service
share it, so it costs next to nothing.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias, cast

import msgspec

from dsl import Value
from dsl.judge.span import Attributes

EMPTY = "n"

_Triple: TypeAlias = tuple[str, str, str | None]
_origin = msgspec.json.Decoder(tuple[list[_Triple], list[_Triple]])


class Typed(NamedTuple):
    """A value's text, None for an empty value, and its letter."""

    text: str | None
    letter: str


def typed(value: Value) -> Typed:
    """Return the text and the letter of a value.

    >>> typed("a"), typed(7), typed([1, None]), typed(b"a")
    (Typed(text='a', letter='s'), Typed(text='7', letter='i'), Typed(text='[1,null]', letter='j'), \
Typed(text='YQ==', letter='y'))
    """
    kind = type(value)
    if kind is str:
        return Typed(cast("str", value), "s")
    if kind is int:
        return Typed(str(value), "i")
    if kind is bool:
        return Typed("true" if value else "false", "b")
    if kind is float:
        return Typed(repr(value), "d")
    if kind is bytes:
        return Typed(_base64(cast("bytes", value)), "y")
    return Typed(None, EMPTY) if value is None else _nested(value)


def value_of(text: str | None, letter: str) -> Value:
    """Return the value with this text and letter.

    >>> value_of("7", "i"), value_of("[1,null]", "j"), value_of("YQ==", "y"), value_of(None, "n")
    (7, [1, None], b'a', None)
    """
    return None if text is None else _VALUES[letter](text)


def origin_text(resource: Attributes, scope: Attributes) -> str:
    """Return the attributes of a resource and a scope as one text: JSON with the key, letter and text of each."""
    return msgspec.json.encode([_triples(resource), _triples(scope)]).decode()


def origin_of(text: str) -> tuple[Attributes, Attributes]:
    """Return the resource and the scope with this text.

    >>> origin_of(origin_text({"service.name": "shop", "shard": 7}, {}))
    ({'service.name': 'shop', 'shard': 7}, {})
    """
    resource, scope = _origin.decode(text)
    return _attributes(resource), _attributes(scope)


def _triples(attributes: Attributes) -> list[_Triple]:
    entries = []
    for key, value in attributes.items():
        text, letter = typed(value)
        entries.append((key, letter, text))
    return entries


def _attributes(triples: list[_Triple]) -> Attributes:
    return {key: value_of(text, letter) for key, letter, text in triples}


def _nested(value: Value) -> Typed:
    packed = msgspec.msgpack.encode(value)
    text = msgspec.json.encode(value)
    # JSON has no bytes, NaN or infinity; only decoding shows what was lost.
    if msgspec.msgpack.encode(msgspec.json.decode(text)) == packed:
        return Typed(text.decode(), "j")
    return Typed(_base64(packed), "m")


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


_VALUES: Mapping[str, Callable[[str], Value]] = {
    "s": str,
    "b": lambda text: text == "true",
    "i": int,
    "d": float,
    "j": msgspec.json.decode,
    "m": lambda text: msgspec.msgpack.decode(base64.b64decode(text)),
    "y": base64.b64decode,
}
