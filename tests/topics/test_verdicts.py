"""The bytes of `betrace.verdicts`."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from topics.verdicts import VerdictCounts, decode, encode

deltas = st.integers(-(1 << 31), 1 << 31)
counts = st.builds(
    VerdictCounts,
    rule=st.text(),
    rule_fingerprint=st.text(),
    partition=st.integers(0, 99),
    clock_ms=st.integers(0, 1 << 45),
    held=deltas,
    broken=deltas,
    undetermined=deltas,
    excepted=deltas,
)


@given(counts)
def test_counts_come_back(record: VerdictCounts) -> None:
    """Counts that were written are read the same, those that take back included."""
    assert record == decode(encode(record))


def test_value_is_json_with_a_schema() -> None:
    """The value is JSON and says which form it has."""
    record = VerdictCounts(rule="r", rule_fingerprint="f", partition=3, clock_ms=5, held=2, broken=-1)

    value = msgspec.json.decode(encode(record))

    assert {
        "schema": 1,
        "rule": "r",
        "rule_fingerprint": "f",
        "partition": 3,
        "clock_ms": 5,
        "held": 2,
        "broken": -1,
        "undetermined": 0,
        "excepted": 0,
    } == value


@pytest.mark.parametrize("value", [b"", b"[]", b"{}", b'{"rule":5}', b"\xff"])
def test_no_counts(value: bytes) -> None:
    """Bytes that are no counts are refused."""
    with pytest.raises(msgspec.DecodeError):
        decode(value)
