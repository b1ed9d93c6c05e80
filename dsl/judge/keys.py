"""Derives the join keys by which pairs compare occurrences.

In: attribute values, and the ids of a span and its parent. Out: canonical texts and their hashes. Ids stay distinct:
integers and booleans become their text, an integral float becomes that integer (7, 7.0 and "7" are equal, "007"
differs), other floats become their shortest text, and text stays as it is. Each element of an array counts. Any other
value counts as missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from hashlib import blake2b
from typing import NamedTuple, TypeAlias

from dsl.judge.span import Span, Value
from dsl.judge.values import is_present
from dsl.syntax.source import replace_surrogates

MAX_ELEMENTS = 64
"""Longer arrays are not compared: whether they share an element is unknown."""

HASH_BYTES = 8


class AtomKey(NamedTuple):
    """A name that a pair compares, and the name with which it is compared: the same, but for `K == L` and `K != L`.

    Values of both names need hashes of one kind, so that they can be compared if only one of the names is redacted.
    """

    name: str
    compared_with: str


class Link(Enum):
    """A position in the trace, by which pairs compare like by a join key.

    EDGE tells whether a span is a server's or consumer's, at which the traced part of a system may begin.
    """

    EDGE = "edge"
    PARENT = "parent"
    SPAN = "span"


_EDGE_KINDS = frozenset({"server", "consumer"})

KeyTexts: TypeAlias = tuple[tuple[str, ...] | None, ...]
"""For each key, its values on one occurrence: empty when it is missing, None when they are too many to compare."""

KeyHashes: TypeAlias = tuple[tuple[bytes, ...] | None, ...]
"""The same with hashes of the values."""

HashFunction: TypeAlias = Callable[[str], bytes]


def key_hash(text: str) -> bytes:
    """Return the hash of a value that needs no redaction."""
    return blake2b(text.encode(), digest_size=HASH_BYTES).digest()


def hash_variants(variants: Iterable[KeyTexts], hashes: Iterable[HashFunction | None]) -> tuple[KeyHashes, ...]:
    """Hash the values of the variants; a key without a hash function cannot be compared."""
    of_key = tuple(hashes)
    return tuple(
        tuple(
            None if texts is None or hash_of is None else tuple(sorted({hash_of(text) for text in texts}))
            for texts, hash_of in zip(variant, of_key, strict=True)
        )
        for variant in variants
    )


def link_texts(link: Link, span: Span, *, is_event: bool = False) -> tuple[str, ...]:
    """Return the id of a span or of its parent; an event or log record is a child of its span, and parent of nothing.

    >>> link_texts(Link.PARENT, Span("", b"1", b"2")), link_texts(Link.PARENT, Span("", b"1", b"1"))
    (('32',), ())
    """
    is_child = is_event or span.is_log
    if link is Link.EDGE:
        return (link.value,) if span.kind in _EDGE_KINDS and not is_child else ()
    if is_child:
        linked = span.span_id if link is Link.PARENT else b""
    elif link is Link.PARENT:
        linked = b"" if span.parent_id == span.span_id else span.parent_id
    else:
        linked = span.span_id
    return (linked.hex(),) if linked else ()


def canonical_texts(value: Value) -> tuple[str, ...] | None:
    """Return the texts that a value is compared by; None when it has too many elements.

    >>> canonical_texts(7.0), canonical_texts("007"), canonical_texts([True, 0.5]), canonical_texts(None)
    (('7',), ('007',), ('true', '0.5'), ())
    """
    if type(value) is not list:
        text = _text(value)
        return () if text is None else (text,)
    if len(value) > MAX_ELEMENTS:
        return None
    return tuple(dict.fromkeys(text for item in value if (text := _text(item)) is not None))


def _text(value: Value) -> str | None:
    if not is_present(value):
        return None
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return replace_surrogates(value)
        case int():
            return _integer_text(value)
        case float():
            return _integer_text(int(value)) if value.is_integer() else repr(value)
        case _:
            return None


def _integer_text(value: int) -> str:
    try:
        return str(value)
    except ValueError:  # more digits than Python prints
        return hex(value)
