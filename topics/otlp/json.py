"""Reads OTLP/JSON requests.

In: the bytes of one JSON document. Out: a `topics.otlp.requests.Request`.

Guarantee: damage that leaves the document's structure readable affects only the damaged text. Invalid UTF-8 and lone
surrogates become U+FFFD, a null member counts as absent, and a value that is not an OTLP value becomes None. Any other
input raises `OtlpError`, never another exception.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Iterator, Sequence

import msgspec

from topics.errors import RefusalReason
from topics.otlp.requests import (
    NESTING_LIMIT,
    KeyValue,
    OtlpError,
    Request,
    ResourceLogs,
    ResourceSpans,
    Value,
    integer,
)

_ABSENT = msgspec.Raw()
_INT64_LIMIT = 1 << 63
_NUMBER = re.compile(rb"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_NON_FINITE = {b"NaN": math.nan, b"Infinity": math.inf, b"-Infinity": -math.inf}
_URL_SAFE = str.maketrans("-_", "+/")
_JSON_ESCAPE = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<lone>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)
_GROUPS = (("resourceSpans", "scopeSpans", "spans"), ("resourceLogs", "scopeLogs", "logRecords"))
_SPELLINGS = frozenset(
    {
        *(name.lower() for group in _GROUPS for name in group),
        "instrumentationlibraryspans",
        "instrumentationlibrarylogs",
    }
)
"""The member names of other versions and encodings, in lower case and without underscores."""


class _Document(msgspec.Struct, rename="camel"):
    resource_spans: Sequence[ResourceSpans] | msgspec.UnsetType = msgspec.UNSET
    resource_logs: Sequence[ResourceLogs] | msgspec.UnsetType = msgspec.UNSET


class _AnyValue(msgspec.Struct, rename="camel", kw_only=True):
    string_value: str | None = None
    bool_value: bool | None = None
    int_value: msgspec.Raw = _ABSENT
    double_value: msgspec.Raw = _ABSENT
    array_value: msgspec.Raw = _ABSENT
    kvlist_value: msgspec.Raw = _ABSENT
    bytes_value: str | None = None


class _ArrayValue(msgspec.Struct):
    values: Sequence[msgspec.Raw] = ()


class _KeyValueList(msgspec.Struct):
    values: Sequence[KeyValue] = ()


_document = msgspec.json.Decoder(_Document)
_any_value = msgspec.json.Decoder(_AnyValue)
_array_value = msgspec.json.Decoder(_ArrayValue)
_key_value_list = msgspec.json.Decoder(_KeyValueList)


def read(document: bytes) -> Request:
    """Read the request in a JSON document.

    Raises:
        OtlpError: the document is not JSON, has another shape, is nested too deep to be read, or has no records but
            members that no request has.
    """
    text = document.decode("utf-8-sig", "replace")
    try:
        read_document = _read_document(text)
        unknown = None if _has_records(read_document) else next(_unknown_members(text), None)
    except RecursionError:
        raise OtlpError(RefusalReason.TOO_DEEP) from None
    except msgspec.ValidationError as error:
        raise OtlpError(RefusalReason.NOT_OTLP_JSON, reason(error)) from error
    except msgspec.DecodeError as error:
        raise OtlpError(RefusalReason.NOT_JSON, reason(error)) from error
    if read_document.resource_spans is msgspec.UNSET and read_document.resource_logs is msgspec.UNSET:
        raise OtlpError(RefusalReason.NO_RECORDS)
    if unknown is not None:
        # The reason shows only these names: any other name may hold personal data, and nothing has redacted it.
        is_spelling = unknown.replace("_", "").lower() in _SPELLINGS
        raise OtlpError(RefusalReason.ONLY_UNKNOWN, unknown if is_spelling else None)
    return Request(read_document.resource_spans or (), read_document.resource_logs or (), value)


def value(raw: msgspec.Raw) -> Value:
    """Convert an `AnyValue` in JSON to a Python value; None when it is empty or not an `AnyValue`.

    >>> value(msgspec.Raw(b'{"arrayValue":{"values":[{"intValue":"1"},{"doubleValue":"NaN"}]}}'))
    [1, nan]
    """
    return _value(raw, NESTING_LIMIT)


def replace_escaped_surrogates(text: str) -> str:
    r"""Replace each escaped lone surrogate in JSON text by U+FFFD.

    >>> replace_escaped_surrogates(r'"\ud800 \ud83d\ude00 \\ud800"')
    '"\\ufffd \\ud83d\\ude00 \\\\ud800"'
    """
    return _JSON_ESCAPE.sub(lambda escape: r"\ufffd" if escape["lone"] else escape[0], text)


def reason(error: Exception) -> str:
    """Return why JSON could not be read, as part of a sentence.

    >>> reason(msgspec.DecodeError("JSON is malformed: invalid character (byte 3)"))
    'invalid character (byte 3)'
    """
    text = str(error).removeprefix("JSON is malformed: ")
    return text[:1].lower() + text[1:]


def _read_document(text: str) -> _Document:
    """Decode the text unchanged; only when that fails, repair it."""
    try:
        return _document.decode(text)
    except msgspec.ValidationError:
        if "null" not in text:
            raise
        without_nulls = _without_nulls(msgspec.json.decode(replace_escaped_surrogates(text)))
        return _document.decode(msgspec.json.encode(without_nulls))
    except msgspec.DecodeError:
        repaired = replace_escaped_surrogates(text)
        if repaired == text:
            raise
        return _read_document(repaired)


def _has_records(document: _Document) -> bool:
    has_spans = any(spans.spans for of in document.resource_spans or () for spans in of.scope_spans)
    return has_spans or any(logs.log_records for of in document.resource_logs or () for logs in of.scope_logs)


def _unknown_members(text: str) -> Iterator[str]:
    """Yield the names of members that no request has, down to the scopes: the records may be in them."""
    document = msgspec.json.decode(replace_escaped_surrogates(text))
    yield from _unknown_names(document, *(group for group, _, _ in _GROUPS))
    for group, scopes, records in _GROUPS:
        for sender in document.get(group) or ():
            yield from _unknown_names(sender, "resource", scopes, "schemaUrl")
            for scope in sender.get(scopes) or ():
                yield from _unknown_names(scope, "scope", records, "schemaUrl")


def _unknown_names(members: dict[str, object], *known: str) -> Iterator[str]:
    return (name for name in members if name not in known)


def _without_nulls(item: object) -> object:
    if isinstance(item, dict):
        return {key: _without_nulls(member) for key, member in item.items() if member is not None}
    if isinstance(item, list):
        return [_without_nulls(member) for member in item]
    return item


def _value(raw: msgspec.Raw, depth_left: int) -> Value:
    try:
        return _convert(_any_value.decode(raw), depth_left)
    except (msgspec.DecodeError, RecursionError):
        return None


def _convert(any_value: _AnyValue, depth_left: int) -> Value:
    if any_value.string_value is not None:
        return any_value.string_value
    if any_value.bool_value is not None:
        return any_value.bool_value
    if any_value.int_value is not _ABSENT:
        return _int64(bytes(any_value.int_value))
    if any_value.double_value is not _ABSENT:
        return _double(bytes(any_value.double_value))
    if any_value.bytes_value is not None:
        return _bytes(any_value.bytes_value)
    return _nested(any_value, depth_left - 1) if depth_left else None


def _nested(any_value: _AnyValue, depth_left: int) -> Value:
    if any_value.array_value is not _ABSENT:
        return [_value(item, depth_left) for item in _array_value.decode(any_value.array_value).values]
    if any_value.kvlist_value is not _ABSENT:
        pairs = _key_value_list.decode(any_value.kvlist_value).values
        return {pair.key: _value(pair.value, depth_left) for pair in reversed(pairs)}
    return None


def _int64(raw: bytes) -> int | None:
    number = integer(raw)
    return number if number is not None and -_INT64_LIMIT <= number < _INT64_LIMIT else None


def _double(raw: bytes) -> float | None:
    word = raw.strip(b'"')
    if word in _NON_FINITE:
        return _NON_FINITE[word]
    return float(word) if _NUMBER.fullmatch(word) else None


def _bytes(text: str) -> bytes | None:
    padded = text.translate(_URL_SAFE).rstrip("=")
    try:
        return base64.b64decode(padded + "=" * (-len(padded) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
