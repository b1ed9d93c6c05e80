"""Tests that a record is encoded as a line completely, whatever its bytes."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.evidence.ledger import entry
from streams.evidence.ledger.entry import DEPTH_LIMIT, DecodedEntry, Reader

contents = st.none() | st.binary(max_size=20) | st.text(max_size=20).map(str.encode)
numbers = st.sampled_from([b"0", b"-0", b"1e5", b"1e400", b"-1E-400", b"12345678901234567890123", b"01", b"NaN", b"-"])
strings = st.sampled_from(
    [
        b'""',
        b'"a"',
        b'"\\u0041"',
        b'"\\ud800"',
        b'"\\ud83d\\ude00"',
        b'"\\u0000"',
        b'"\xe2\x80\xa8"',
        b'"\xff"',
        b'"\x00"',
    ]
)
spaces = st.sampled_from([b"", b"", b" ", b"\n", b"\t", b"\r\n"])


def listed(inner: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Lists and objects, some with duplicate keys, with spaces in some places."""
    pairs = st.lists(st.tuples(strings, spaces, inner).map(lambda each: each[0] + b":" + each[1] + each[2]), max_size=3)
    lists = st.lists(inner, max_size=3).map(lambda each: b"[" + b",".join(each) + b"]")
    return lists | st.tuples(spaces, pairs).map(lambda each: each[0] + b"{" + b", ".join(each[1]) + b"}" + each[0])


texts_like_json = st.recursive(numbers | strings | st.sampled_from([b"true", b"null"]), listed, max_leaves=8)


class Point(msgspec.Struct, frozen=True):
    """A decoded value."""

    x: int


reader = Reader(msgspec.json.Decoder(DecodedEntry[Point]), msgspec.json.Decoder(Point))


def line_of(value: bytes | None) -> bytes:
    """The entry of a record with this value."""
    return entry.encode_line(offset=7, time_ms=5, key=None, value=value)


@given(contents, contents | texts_like_json, st.lists(st.tuples(st.text(max_size=5), contents), max_size=3))
def test_record_round_trip(key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]]) -> None:
    """Key, value and headers are in the line as they were, and the line has no newline in it."""
    line = entry.encode_line(offset=7, time_ms=5, key=key, value=value, headers=headers)

    back = entry.decode(line)

    texts = [(name, None if text is None else text.encode()) for name, text in back.headers]
    assert (7, 5) == (back.offset, back.time_ms)
    assert key == (back.key_base64 if back.key is None else back.key.encode())
    assert (value or b"") == back.value_bytes()
    assert (value is None) == (back.value is None and back.value_base64 is None and not bytes(back.json))
    assert headers == (texts or back.headers_base64)
    assert b"\n" not in line


@given(texts_like_json)
def test_line_is_json_for_other_tools(value: bytes) -> None:
    """A line is JSON for other tools too, whatever the value; an embedded object keeps its meaning."""
    line = line_of(value)

    said = json.loads(line)

    if "json" in said:
        assert json.loads(value) == said["json"]


@pytest.mark.parametrize(
    "value",
    [
        b"{}",
        b'{ "a" : [1, 2.50, {"b": null}] }',
        b'{"a":1,"a":2}',
        b'{"a":"\\u0041\\ud83d\\ude00\\u0000"}',
        '{"a":"\u2028é"}'.encode(),
        b'{"a":' + b"[" * (DEPTH_LIMIT - 1) + b"]" * (DEPTH_LIMIT - 1) + b"}",
        b'{"a":[' + b"[]," * 500 + b"[]]}",
    ],
)
def test_object_is_embedded_unchanged(value: bytes) -> None:
    """An object is embedded byte for byte, with spaces and escapes."""
    line = line_of(value)

    assert b'{"offset":7,"time_ms":5,"json":' + value + b"}" == line


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"[1]",
        b"1",
        b'"a"',
        b"{",
        b'{"a":1}}',
        b'{"a":1},{"b":2}',
        b'{"a":1} ',
        b' {"a":1}',
        b'{"a":1}\n',
        b'{"a":\n1}',
        b'{"a":\t1}',
        b'{"a":\r1}',
        b'{"a":"\x00"}',
        b'{"a":1e400}',
        b'{"a":"\\ud800"}',
        b'{"a":NaN}',
        b'{"a":01}',
        b'\xef\xbb\xbf{"a":1}',
        b'{"a":' + b"[" * DEPTH_LIMIT + b"]" * DEPTH_LIMIT + b"}",
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    ],
)
def test_other_text_is_stored_as_text(value: bytes) -> None:
    """A value that is not an object, not JSON for every tool, or not on one line is stored as a string."""
    back = entry.decode(line_of(value))

    assert (value, b"") == ((back.value or "").encode(), bytes(back.json))


def test_other_bytes_are_stored_in_base64() -> None:
    """UTF-8 is readable by people; everything else is in base64."""
    line = entry.encode_line(offset=1, time_ms=2, key=b"k", value=b'{"a":"\xff"}', headers=[("h", b"x")])

    assert line == b'{"offset":1,"time_ms":2,"key":"k","headers":[["h","x"]],"value_base64":"eyJhIjoi/yJ9"}'


@pytest.mark.parametrize("line", [b"", b"{}", b'{"offset":"1","time_ms":2}', b'{"offset":1,"time_ms":2,"key":"\xff"}'])
def test_invalid_entry(line: bytes) -> None:
    """Lines that are not entries are refused."""
    with pytest.raises(msgspec.DecodeError):
        entry.decode(line)


@pytest.mark.parametrize(
    "value", [b'{"x":3}', b'{"x":\n3}', b' {"x":3}', b'{"x":3,"y":' + b"[" * 200 + b"]" * 200 + b"}"]
)
def test_value_decodes_alike_from_json_and_text(value: bytes) -> None:
    """A value decodes to the same whether it is stored as JSON or as text."""
    assert [DecodedEntry(7, Point(3))] == reader.read([line_of(value)])


@pytest.mark.parametrize("value", [b'{"y":3}', b'{"x":"3"}', b"[]", b"", b"\xff", b"{", None, b'{"a":1e400}'])
def test_value_of_another_type_is_not_decoded(value: bytes | None) -> None:
    """The value is not decoded, and the other entries are read."""
    good = line_of(b'{"x":1}')

    assert [DecodedEntry(7, Point(1)), DecodedEntry(7), DecodedEntry(7, Point(1))] == reader.read(
        [good, line_of(value), good]
    )


@pytest.mark.parametrize("line", [b"", b"{}", b'{"offset":1,"time_ms":2,"value":"\xff"}', b'{"a":' + b"[" * 100_000])
def test_line_that_is_not_an_entry_is_none(line: bytes) -> None:
    """A line without an offset, or that cannot be read, is None, and the other entries are read."""
    good = line_of(b'{"x":1}')

    assert [DecodedEntry(7, Point(1)), None, DecodedEntry(7, Point(1))] == reader.read([good, line, good])
