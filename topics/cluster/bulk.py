"""`decode_many(decoder, texts)`: decodes many small JSON texts of one type.

In: untrusted texts. Out: the decoded value of each, None for a text that is malformed or of another type. Evidence has
millions of such texts, and a call with a `try` for each would be a large part of the cost of decoding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import msgspec

T = TypeVar("T")

DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""The errors that a decoder raises on untrusted text; msgspec does not convert the last two to its own."""


def decode_many(decoder: msgspec.json.Decoder[T], texts: Sequence[bytes | str]) -> list[T | None]:
    """Decode each text, in order; None where a text cannot be decoded.

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
