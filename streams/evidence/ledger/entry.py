"""Entries: a record of a Kafka topic as one line of JSON, the leaf of its partition's Merkle log.

In: what a consumer delivers. Out: a line without its newline, and the record again. A value that is a JSON object
stands in the line as it is, byte for byte (`json`), so a person and any tool can read it, and what it says is read with
the line. Other bytes that are UTF-8 stand as text, all others in base64, in the field of the same name with `_base64`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Generic, TypeVar

import msgspec

from topics.cluster.bulk import DECODE_ERRORS, decode_many

DEPTH_LIMIT = 100
"""Objects and lists in one another that stand as they are: what reads a line must not go deeper than its stack."""

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
        """The record's value; empty for a tombstone."""
        return bytes(self.json) or (self.value.encode() if self.value is not None else self.value_base64 or b"")

    def header_pairs(self) -> Sequence[tuple[str, str | bytes | None]]:
        """The record's headers, whichever field has them."""
        return self.headers or self.headers_base64


class Place(msgspec.Struct, frozen=True, gc=False):
    """Of an entry its offset alone."""

    offset: int


class Said(Place, Generic[T], frozen=True, gc=False):
    """Of an entry what most readers want: its offset and what its value says, None for what they do not know."""

    json: T | None = None


class Reader(Generic[T]):
    """Reads what many values say, all of one type; `lines` and `values` decode that type, in an entry and alone."""

    def __init__(self, lines: msgspec.json.Decoder[Said[T]], values: msgspec.json.Decoder[T]) -> None:
        self._lines = lines
        self._values = values

    def read(self, lines: Sequence[bytes]) -> list[Said[T] | None]:
        """What each line says, None for a line that is no entry."""
        found = decode_many(self._lines, lines)
        for at, said in enumerate(found):
            # What is of another type, and what does not stand as JSON; there is little of it.
            if said is None or said.json is None:
                found[at] = self._read(lines[at])
        return found

    def _read(self, line: bytes) -> Said[T] | None:
        try:
            found = decode(line)
        except msgspec.DecodeError:
            return None
        try:
            return Said(found.offset, self._values.decode(found.value_bytes()))
        except DECODE_ERRORS:
            return Said(found.offset)


Headers = Sequence[tuple[str, bytes | None]]

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Entry)


def line(*, offset: int, time_ms: int, key: bytes | None, value: bytes | None, headers: Headers = ()) -> bytes:
    """The entry of one record.

    >>> line(offset=7, time_ms=5, key=b"k", value=b"v")
    b'{"offset":7,"time_ms":5,"key":"k","value":"v"}'
    >>> line(offset=7, time_ms=5, key=None, value=b'{"rule": "pii"}')
    b'{"offset":7,"time_ms":5,"json":{"rule": "pii"}}'
    """
    json = msgspec.Raw(value) if value is not None and _is_object(value) else _NONE
    rest = value if json is _NONE else None
    key_text, value_text = _text(key), _text(rest)
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
            value_base64=rest if value_text is None else None,
        )
    )


def json_in(text: bytes) -> bytes | None:
    r"""The value of an entry, as it stands in the line; None where it does not stand as JSON.

    >>> json_in(b'{"offset":7,"time_ms":5,"key":"\\"json\\":","json":{"rule": "pii"}}')
    b'{"rule": "pii"}'
    """
    # In a string a quote has a backslash before it; and nothing comes after the value but the end.
    _, found, value = text.partition(b',"json":')
    return value[:-1] if found else None


def decode(text: bytes) -> Entry:
    """The entry in a line; raises `msgspec.DecodeError`."""
    try:
        return _decoder.decode(text)
    except (UnicodeDecodeError, RecursionError) as error:  # msgspec makes neither one of its own
        raise msgspec.DecodeError(f"no JSON that can be read: {error}") from error


def _is_object(value: bytes) -> bool:
    """Whether the value may stand as it is: a JSON object from its first byte to its last, on one line."""
    if value[:1] != b"{" or value[-1:] != b"}" or _CONTROL.search(value):
        return False
    try:
        said: object = msgspec.json.decode(value)
    except DECODE_ERRORS:
        return False
    return value.count(b"{") + value.count(b"[") <= DEPTH_LIMIT or _is_within(said, DEPTH_LIMIT)


def _is_within(said: object, depth: int) -> bool:
    if not isinstance(said, dict | list):
        return True
    return depth > 0 and all(
        _is_within(each, depth - 1) for each in (said.values() if isinstance(said, dict) else said)
    )


def _text(content: bytes | None) -> str | None:
    if content is None:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None
