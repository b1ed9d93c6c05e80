"""The bytes of `betrace.rules`."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from topics.records.rules import Origin, PushRecord, RuleSetRecord, decode, decode_push, encode, is_push, push_key

records = st.builds(
    RuleSetRecord,
    texts=st.dictionaries(st.text(), st.text()),
    pushed_by=st.text(),
    pushed_ms=st.integers(0, (1 << 63) - 1),
)


pushes = st.builds(
    PushRecord,
    rule_set=st.text(),
    pushed_by=st.text(),
    pushed_ms=st.integers(0, (1 << 63) - 1),
    origin=st.sampled_from(Origin),
    previous=st.none() | st.text(),
    revision=st.none() | st.text(),
)


@given(records)
def test_rule_set_round_trip(record: RuleSetRecord) -> None:
    """Decoding returns the rule set that was encoded."""
    assert record == decode(encode(record))


def test_value_is_json_in_a_fixed_order() -> None:
    """The value is readable JSON, and equal for equal sets."""
    record = RuleSetRecord(texts={"b.rules": "2", "a.rules": "1"}, pushed_by="ann", pushed_ms=5)

    value = encode(record)

    assert b'{"pushed_by":"ann","pushed_ms":5,"texts":{"a.rules":"1","b.rules":"2"}}' == value


@pytest.mark.parametrize("value", [b"", b"[]", b"{}", b'{"texts":{},"pushed_by":"ann"}', b"\xff"])
def test_invalid_bytes(value: bytes) -> None:
    """Bytes that are not a rule set are refused."""
    with pytest.raises(msgspec.DecodeError):
        decode(value)


@given(pushes)
def test_push_round_trip(push: PushRecord) -> None:
    """Decoding returns the push that was encoded."""
    assert push == decode_push(encode(push))


def test_each_push_has_its_own_key() -> None:
    """Two pushes in one millisecond have different keys, so compaction keeps both."""
    first, second = push_key(5), push_key(5)

    assert (True, True, True) == (is_push(first), is_push(second), first != second)
