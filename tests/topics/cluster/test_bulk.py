"""Decodes many small untrusted texts at once."""

from __future__ import annotations

import msgspec
import pytest

from topics.cluster.bulk import decode_many


class Point(msgspec.Struct):
    """The type of the texts."""

    x: int
    name: str = ""


@pytest.mark.parametrize("bad", [b"", b"{", b"{}", b'{"x":"1"}', b'{"x":1,"name":"\xff"}', b'{"y":' + b"[" * 100_000])
def test_invalid_text_does_not_affect_others(bad: bytes) -> None:
    """A text that cannot be decoded becomes None, and the texts around it are decoded."""
    read = decode_many(msgspec.json.Decoder(Point), ['{"x":1}', bad, b'{"x":2}'])

    assert [Point(1), None, Point(2)] == read
