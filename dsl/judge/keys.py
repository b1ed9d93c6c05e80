"""Values that occurrences are matched by: what `with same` compares.

In: attribute values. Out: canonical texts and their hashes. Ids stay ids: integers and booleans are their text, a
decimal that is an integer is that integer (7, 7.0 and "7" are one value, "007" is another), other decimals are their
shortest text, text is itself, and of an array each element counts. What is none of these is no value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import TypeAlias

from dsl.judge.span import Value
from dsl.judge.values import is_present
from dsl.syntax.source import replace_surrogates

MAX_ELEMENTS = 64
"""An array of more is not compared: whether two have an element in common is unknown."""

HASH_BYTES = 8

KeyTexts: TypeAlias = tuple[tuple[str, ...] | None, ...]
"""Per key of an atom its values on one occurrence: none when it is missing, None when they are too many to compare."""

KeyHashes: TypeAlias = tuple[tuple[bytes, ...] | None, ...]
"""The same, each value as its hash."""

HashFunction: TypeAlias = Callable[[str], bytes]


def key_hash(text: str) -> bytes:
    """The hash of a value that may be shown."""
    return blake2b(text.encode(), digest_size=HASH_BYTES).digest()


def hash_variants(variants: Iterable[KeyTexts], hashes: Iterable[HashFunction | None]) -> tuple[KeyHashes, ...]:
    """The variants with each value as its hash; a key without a hash cannot be compared."""
    of_key = tuple(hashes)
    return tuple(
        tuple(
            None if texts is None or hash_of is None else tuple(sorted({hash_of(text) for text in texts}))
            for texts, hash_of in zip(variant, of_key, strict=True)
        )
        for variant in variants
    )


def canonical_texts(value: Value) -> tuple[str, ...] | None:
    """What the value is compared by; empty when it is no value, None when it has too many elements.

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
