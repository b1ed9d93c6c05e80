"""Decoding by both paths, which must agree: what tests of decoding call."""

from __future__ import annotations

from collections.abc import Callable

from dsl import Interest
from streams.decode.backend import Backend, compiled
from streams.decode.decoder import Decoded, Decoder, Format
from streams.errors import RecordError
from topics.otlp.requests import RecordKind


def decode(
    value: bytes | None,
    interest: Interest,
    *,
    format: Format = Format.AUTO,  # noqa: A002 - named as in `streams.decode.decoder`
    kind: RecordKind = RecordKind.SPANS,
) -> Decoded:
    """What both paths decode a record to; where the scanner is not compiled, what Python alone does."""
    pure = Decoder(interest, format, Backend.PURE)
    if compiled() is not None:
        scanned = Decoder(interest, format, Backend.CYTHON)
        assert _outcome(lambda: pure.decode(value, kind)) == _outcome(lambda: scanned.decode(value, kind))
    return pure.decode(value, kind)


def _outcome(decoded: Callable[[], Decoded]) -> Decoded | str:
    try:
        return decoded()
    except RecordError as error:
        return str(error)
