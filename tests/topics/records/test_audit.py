"""The source position of an audit record, as a header."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topics.records.audit import SourcePosition, decode_position

numbers = st.integers(0, 10**10 - 1)


@given(
    st.builds(
        SourcePosition,
        topic=st.from_regex(r"[a-z._-]{1,20}", fullmatch=True),
        partition=numbers,
        epoch=numbers,
        offset=numbers,
        index=numbers,
    )
)
def test_position_round_trip(position: SourcePosition) -> None:
    """Decoding returns the position that was encoded."""
    assert position == decode_position(position.encode())


@pytest.mark.parametrize("value", [b"", b"a/1/2/3", b"a/1/2/3/4/5", b"a b/1/2/3/4", b"a/-1/2/3/4", b"\xff/1/2/3/4"])
def test_invalid_position(value: bytes) -> None:
    """Invalid text decodes to None."""
    assert decode_position(value) is None
