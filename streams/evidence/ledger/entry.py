"""Encodes entries: a record of a Kafka topic as one line of JSON, the leaf of its partition's Merkle log.

In: what a consumer delivers. Out: a line without its newline, and the record again. A value that is a JSON object is
embedded unchanged, byte for byte (`json`), so people and tools can read it, and it is decoded with the line. Other
UTF-8 bytes are stored as text, all others in base64, in the field of the same name with `_base64`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Generic, TypeVar

import msgspec

from topics.cluster.bulk import DECODE_ERRORS, decode_many

DEPTH_LIMIT = 100
"""The deepest nesting of objects and lists that is embedded: readers of a line must not exhaust their stack."""

T = TypeVar("T")

_CONTROL = re.compile(rb"[\x00-\x1f]")
_NONE = msgspec.Raw(b"")


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A record: its offset, its timestamp, and its bytes; a tombstone has none of `json`, `value`, `value_base64`."""

    offset: int
    time_ms: int
    key: str | None = None
    key_base64: bytes | None = None
    headers: list[tuple[str, str | None]] = []
    headers_base64: list[tuple[str, bytes | None]] = []
    json: msgspec.Raw = _NONE
    value: str | None = None
    value_base64: bytes | None = None

    def value_bytes(self) -> bytes:
        """Return the record's value; empty for a tombstone."""
        return bytes(self.json) or (self.value.encode() if self.value is not None else self.value_base64 or b"")

    def header_pairs(self) -> Sequence[tuple[str, str | bytes | None]]:
        """Return the record's headers, from whichever field has them."""
        return self.headers or self.headers_base64


class EntryOffset(msgspec.Struct, frozen=True, gc=False):
    """Only the offset of an entry."""

    offset: int


class DecodedEntry(EntryOffset, Generic[T], frozen=True, gc=False):
    """What most readers need of an entry: its offset and its decoded value, None if they do not know the value."""

    json: T | None = None


class Reader(Generic[T]):
    """Decodes many values, all of one type; `lines` and `values` decode that type, in an entry and alone."""

    def __init__(self, lines: msgspec.json.Decoder[DecodedEntry[T]], values: msgspec.json.Decoder[T]) -> None:
        self._lines = lines
        self._values = values

    def read(self, lines: Sequence[bytes]) -> list[DecodedEntry[T] | None]:
        """Return each line decoded, None for a line that is not an entry."""
        decoded = decode_many(self._lines, lines)
        for index, entry in enumerate(decoded):
            # Values of another type, and those not embedded as JSON; there are few.
            if entry is None or entry.json is None:
                decoded[index] = self._read(lines[index])
        return decoded

    def _read(self, line: bytes) -> DecodedEntry[T] | None:
        try:
            decoded = decode(line)
        except msgspec.DecodeError:
            return None
        try:
            return DecodedEntry(decoded.offset, self._values.decode(decoded.value_bytes()))
        except DECODE_ERRORS:
            return DecodedEntry(decoded.offset)


Headers = Sequence[tuple[str, bytes | None]]

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Entry)


def encode_line(*, offset: int, time_ms: int, key: bytes | None, value: bytes | None, headers: Headers = ()) -> bytes:
    """Return the entry of one record as a line.

    >>> encode_line(offset=7, time_ms=5, key=b"k", value=b"v")
    b'{"offset":7,"time_ms":5,"key":"k","value":"v"}'
    >>> encode_line(offset=7, time_ms=5, key=None, value=b'{"rule": "pii"}')
    b'{"offset":7,"time_ms":5,"json":{"rule": "pii"}}'
    """
    json = msgspec.Raw(value) if value is not None and _is_object(value) else _NONE
    raw = value if json is _NONE else None
    key_text, value_text = _text(key), _text(raw)
    texts = [(name, _text(content)) for name, content in headers]
    is_text = all(text is not None or content is None for (_, text), (_, content) in zip(texts, headers, strict=True))
    return _encoder.encode(
        Entry(
            offset=offset,
            time_ms=time_ms,
            key=key_text,
            key_base64=key if key_text is None else None,
            headers=texts if is_text else [],
            headers_base64=[] if is_text else [*headers],
            json=json,
            value=value_text,
            value_base64=raw if value_text is None else None,
        )
    )


def json_in(text: bytes) -> bytes | None:
    r"""Return the value of an entry as embedded in the line; None if it is not embedded as JSON.

    >>> json_in(b'{"offset":7,"time_ms":5,"key":"\\"json\\":","json":{"rule": "pii"}}')
    b'{"rule": "pii"}'
    """
    # A quote within a string has a backslash before it; and only the end follows the value.
    _, decoded, value = text.partition(b',"json":')
    return value[:-1] if decoded else None


def decode(text: bytes) -> Entry:
    """Return the entry in a line; raises `msgspec.DecodeError`."""
    try:
        return _decoder.decode(text)
    except (UnicodeDecodeError, RecursionError) as error:  # msgspec does not convert these to its own error
        raise msgspec.DecodeError(f"not valid JSON: {error}") from error


def _is_object(value: bytes) -> bool:
    """Return whether the value can be embedded: a JSON object from its first byte to its last, on one line."""
    if value[:1] != b"{" or value[-1:] != b"}" or _CONTROL.search(value):
        return False
    try:
        decoded: object = msgspec.json.decode(value)
    except DECODE_ERRORS:
        return False
    return value.count(b"{") + value.count(b"[") <= DEPTH_LIMIT or _is_within(decoded, DEPTH_LIMIT)


def _is_within(value: object, depth: int) -> bool:
    if not isinstance(value, dict | list):
        return True
    return depth > 0 and all(
        _is_within(each, depth - 1) for each in (value.values() if isinstance(value, dict) else value)
    )


def _text(content: bytes | None) -> str | None:
    if content is None:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None
