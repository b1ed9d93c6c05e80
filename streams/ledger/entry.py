"""Entries: a record of a Kafka topic as one line of JSON, the leaf of its partition's Merkle log.

In: what a consumer delivers. Out: a line without its newline, and the record again. Bytes that are UTF-8 stand as text,
so that a person can read them; others in base64, in the field of the same name with `_base64`.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from topics.bulk import decode_each


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A record: its offset, its timestamp, and its bytes; `value` and `value_base64` are both None for a tombstone."""

    offset: int
    time_ms: int
    key: str | None = None
    key_base64: bytes | None = None
    headers: list[tuple[str, str | None]] = []
    headers_base64: list[tuple[str, bytes | None]] = []
    value: str | None = None
    value_base64: bytes | None = None

    def value_bytes(self) -> bytes:
        """The record's value; empty for a tombstone."""
        return self.value.encode() if self.value is not None else self.value_base64 or b""


class ValueText(msgspec.Struct, frozen=True, gc=False):
    """Of an entry what most readers want, in a third of the time; `value` is None when it is no text."""

    offset: int
    value: str | None = None


Headers = Sequence[tuple[str, bytes | None]]

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Entry)
_value_decoder = msgspec.json.Decoder(ValueText)


def line(*, offset: int, time_ms: int, key: bytes | None, value: bytes | None, headers: Headers = ()) -> bytes:
    """The entry of one record.

    >>> line(offset=7, time_ms=5, key=b"k", value=b"v")
    b'{"offset":7,"time_ms":5,"key":"k","value":"v"}'
    """
    key_text, value_text = _text(key), _text(value)
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
            value=value_text,
            value_base64=value if value_text is None else None,
        )
    )


def decode(text: bytes) -> Entry:
    """The entry in a line; raises `msgspec.DecodeError`."""
    try:
        return _decoder.decode(text)
    except (UnicodeDecodeError, RecursionError) as error:  # msgspec makes neither one of its own
        raise msgspec.DecodeError(f"no JSON that can be read: {error}") from error


def decode_values(texts: Sequence[bytes]) -> list[ValueText | None]:
    """The offset and the value in each line, None for a line that is no entry."""
    return decode_each(_value_decoder, texts)


def _text(content: bytes | None) -> str | None:
    if content is None:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None
