"""A record as a line: whole, whatever its bytes."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.ledger import entry

contents = st.none() | st.binary(max_size=20) | st.text(max_size=20).map(str.encode)


@given(contents, contents, st.lists(st.tuples(st.text(max_size=5), contents), max_size=3))
def test_a_record_comes_back(key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]]) -> None:
    """Key, value and headers are in the line as they were, and the line has no newline in it."""
    line = entry.line(offset=7, time_ms=5, key=key, value=value, headers=headers)

    back = entry.decode(line)

    texts = [(name, None if text is None else text.encode()) for name, text in back.headers]
    assert (7, 5) == (back.offset, back.time_ms)
    assert key == (back.key_base64 if back.key is None else back.key.encode())
    assert (value or b"") == back.value_bytes()
    assert (value is None) == (back.value is None and back.value_base64 is None)
    assert headers == (texts or back.headers_base64)
    assert b"\n" not in line


def test_text_stands_as_text() -> None:
    """What is UTF-8 can be read by a person; what is not is in base64."""
    line = entry.line(offset=1, time_ms=2, key=b"k", value=b"\xff", headers=[("h", b"x")])

    assert line == b'{"offset":1,"time_ms":2,"key":"k","headers":[["h","x"]],"value_base64":"/w=="}'


@pytest.mark.parametrize("line", [b"", b"{}", b'{"offset":"1","time_ms":2}', b'{"offset":1,"time_ms":2,"key":"\xff"}'])
def test_no_entry(line: bytes) -> None:
    """Lines that are no entry are refused."""
    with pytest.raises(msgspec.DecodeError):
        entry.decode(line)


@pytest.mark.parametrize("line", [b"", b"{}", b'{"offset":1,"value":"\xff"}', b'{"a":' + b"[" * 100_000])
def test_no_value(line: bytes) -> None:
    """A line without an offset, or that nothing can read, is none, and those around it are read."""
    good = b'{"offset":1,"value":"v"}'

    assert [entry.ValueText(1, "v"), None, entry.ValueText(1, "v")] == entry.decode_values([good, line, good])
