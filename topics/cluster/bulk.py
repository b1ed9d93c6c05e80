"""`decode_many(decoder, texts)`: many small JSON texts of one type at once.

In: texts from outside. Out: for each what it says, None for one that is malformed or of another type. Evidence holds
millions of them, and a call with a `try` for each is a good part of what decoding costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import msgspec

T = TypeVar("T")

DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What a decoder raises on text from outside; msgspec makes neither of the last two one of its own."""


def decode_many(decoder: msgspec.json.Decoder[T], texts: Sequence[bytes | str]) -> list[T | None]:
    """What each text says, in order.

    >>> decode_many(msgspec.json.Decoder(int), [b"1", "2", b"", b"[]"])
    [1, 2, None, None]
    """
    try:
        return [decoder.decode(text) for text in texts]
    except DECODE_ERRORS:
        return [_decoded(decoder, text) for text in texts]


def _decoded(decoder: msgspec.json.Decoder[T], text: bytes | str) -> T | None:
    try:
        return decoder.decode(text)
    except DECODE_ERRORS:
        return None
