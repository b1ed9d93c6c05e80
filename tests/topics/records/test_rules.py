"""The bytes of `betrace.rules`."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from topics.records.rules import RuleSetRecord, decode, encode

records = st.builds(
    RuleSetRecord,
    texts=st.dictionaries(st.text(), st.text()),
    pushed_by=st.text(),
    pushed_ms=st.integers(0, (1 << 63) - 1),
)


@given(records)
def test_record_comes_back(record: RuleSetRecord) -> None:
    """A rule set that was written is read the same."""
    assert record == decode(encode(record))


def test_value_is_json_in_a_fixed_order() -> None:
    """The value is JSON that a person can read, the same for the same set."""
    record = RuleSetRecord(texts={"b.rules": "2", "a.rules": "1"}, pushed_by="ann", pushed_ms=5)

    value = encode(record)

    assert b'{"pushed_by":"ann","pushed_ms":5,"texts":{"a.rules":"1","b.rules":"2"}}' == value


@pytest.mark.parametrize("value", [b"", b"[]", b"{}", b'{"texts":{},"pushed_by":"ann"}', b"\xff"])
def test_no_record(value: bytes) -> None:
    """Bytes that are no rule set are refused."""
    with pytest.raises(msgspec.DecodeError):
        decode(value)
