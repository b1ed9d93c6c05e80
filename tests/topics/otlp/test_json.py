"""Unusual and damaged OTLP/JSON documents."""

from __future__ import annotations

import math

import msgspec
import pytest

from topics.otlp import json as otlp_json
from topics.otlp.requests import NESTING_LIMIT, OtlpError, Value


def any_value(text: bytes) -> Value:
    """Return the value of a JSON `AnyValue`."""
    return otlp_json.value(msgspec.Raw(text))


def names(document: bytes) -> list[str]:
    """Return the names of the spans in a document."""
    request = otlp_json.read(document)
    return [span.name for sender in request.resource_spans for scope in sender.scope_spans for span in scope.spans]


def named(name: bytes) -> bytes:
    """Build a document with one span of this name, given in JSON."""
    return b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"%s"}]}]}]}' % name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'{"stringValue":""}', ""),
        (b'{"stringValue":"\\u0061"}', "a"),
        (b'{"boolValue":false}', False),
        (b'{"intValue":"-9223372036854775808"}', -(1 << 63)),
        (b'{"intValue":9223372036854775807}', (1 << 63) - 1),
        (b'{"intValue":"9223372036854775808"}', None),
        (b'{"intValue":%s}' % (b"9" * 5000), None),
        (b'{"intValue":"%s"}' % (b"9" * 5000), None),
        (b'{"intValue":true}', None),
        (b'{"doubleValue":5}', 5.0),
        (b'{"doubleValue":"-1.5e3"}', -1500.0),
        (b'{"doubleValue":"Infinity"}', math.inf),
        (b'{"doubleValue":"-Infinity"}', -math.inf),
        (b'{"doubleValue":1e999}', math.inf),
        (b'{"doubleValue":"1_0"}', None),
        (b'{"doubleValue":"nan"}', None),
        (b'{"doubleValue":{}}', None),
        (b'{"bytesValue":"-_8="}', b"\xfb\xff"),
        (b'{"bytesValue":"+/8"}', b"\xfb\xff"),
        (b'{"bytesValue":""}', b""),
        (b'{"bytesValue":"%%"}', None),
        (b'{"bytesValue":"a"}', None),
        ('{"bytesValue":"é"}'.encode(), None),
        (b'{"arrayValue":{}}', []),
        (b'{"arrayValue":{"values":[{"intValue":1},{},{"stringValue":7}]}}', [1, None, None]),
        (b'{"arrayValue":[]}', None),
        (b'{"kvlistValue":{"values":[{"key":"a","value":{"intValue":1}},{"key":"a"}]}}', {"a": 1}),
        (b'{"kvlistValue":7}', None),
        (b"{}", None),
        (b"null", None),
        (b"[]", None),
        (b'{"stringValue":7}', None),
        (b'{"futureValue":7}', None),
    ],
)
def test_value(text: bytes, expected: Value) -> None:
    """Every form of a value that OTLP/JSON allows is converted; anything else is None."""
    assert expected == any_value(text)


def test_value_that_is_not_a_number() -> None:
    """NaN is written as text and stays NaN."""
    actual = any_value(b'{"doubleValue":"NaN"}')

    assert isinstance(actual, float)
    assert math.isnan(actual)


def test_nesting_limit() -> None:
    """A value nested beyond the limit is None, and the values around it are unchanged."""
    depth = NESTING_LIMIT + 1
    actual = any_value(b'{"arrayValue":{"values":[' * depth + b"]}}" * depth)

    for _ in range(NESTING_LIMIT):
        assert isinstance(actual, list)
        actual = actual[0]
    assert actual is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (rb"\ud800", "\ufffd"),
        (rb"\udc00x", "\ufffdx"),
        (rb"\ud83dA", "\ufffdA"),
        (rb"\ud83d\u0041", "\ufffdA"),
        (rb"\ud83d\ud83d\ude00", "\ufffd😀"),
        (rb"\\ud800 \ud800", "\\ud800 \ufffd"),
        (b"a\xffb", "a\ufffdb"),
        (b"\xed\xa0\x80", "\ufffd\ufffd\ufffd"),
        (rb"\ud83d\ude00", "😀"),
        (b"\\u0000", "\x00"),
    ],
)
def test_damaged_text(name: bytes, expected: str) -> None:
    """Half a surrogate pair and invalid UTF-8 become U+FFFD, and the rest of the document is unchanged."""
    assert names(named(name)) == [expected]


def test_null_is_absent() -> None:
    """A null member counts as absent."""
    document = b'{"resourceSpans":[{"resource":null,"scopeSpans":[{"scope":null,"spans":[%s]}]}]}'

    assert names(document % b'{"name":"pay","attributes":null,"status":null,"traceId":null}') == ["pay"]


@pytest.mark.parametrize("document", [b'{"resourceSpans":null}', b'{"resourceMetrics":[]}', b'{"ResourceSpans":[]}'])
def test_no_records(document: bytes) -> None:
    """A document without a list of spans or log records is refused."""
    with pytest.raises(OtlpError, match=r"^no resource spans or resource logs$"):
        otlp_json.read(document)


@pytest.mark.parametrize("document", [b'{"resourceSpans":[]} x', b'{"resourceSpans":[],}', b"\xff", b"{'a':1}", b""])
def test_not_json(document: bytes) -> None:
    """The reason for input that is not JSON says so."""
    with pytest.raises(OtlpError, match=r"^not json: "):
        otlp_json.read(document)


def test_nested_too_deep() -> None:
    """A document nested deeper than the reader's stack is refused, even in a field that is not read."""
    with pytest.raises(OtlpError, match=r"^json is nested too deep$"):
        otlp_json.read(b'{"resourceSpans":[],"x":%s1%s}' % (b"[" * 100_000, b"]" * 100_000))
