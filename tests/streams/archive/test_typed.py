"""Tests attribute values as text and a letter."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsl import Value
from streams.archive.typed import origin_of, origin_text, typed, value_of

scalars: st.SearchStrategy[Value] = (
    st.none()
    | st.text(max_size=5)
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 63) - 1)
    | st.floats(allow_nan=False)
    | st.just(math.nan)
    | st.binary(max_size=5)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


def packed(value: object) -> bytes:
    """Bytes that distinguish 1 from 1.0 and from true, and in which NaN equals itself."""
    return msgspec.msgpack.encode(value)


@given(values)
def test_value_round_trip(value: Value) -> None:
    """Text and letter give back the value with its type, whatever it is."""
    text, letter = typed(value)

    assert packed(value) == packed(value_of(text, letter))


@given(st.dictionaries(st.text(max_size=3), values, max_size=3), st.dictionaries(st.text(max_size=3), values))
def test_origin_round_trip(resource: dict[str, Value], scope: dict[str, Value]) -> None:
    """One text gives back a resource and a scope."""
    actual = origin_of(origin_text(resource, scope))

    assert packed([resource, scope]) == packed(list(actual))


@pytest.mark.parametrize(
    ("value", "text", "letter"),
    [
        ("false", "false", "s"),
        (False, "false", "b"),
        (1.0, "1.0", "d"),
        (math.nan, "nan", "d"),
        (["a", 1, {"b": None}], '["a",1,{"b":null}]', "j"),
        ([math.inf], "kct/8AAAAAAAAA==", "m"),
        ([b"a"], "kcQBYQ==", "m"),
        (b"a", "YQ==", "y"),
        (None, None, "n"),
    ],
)
def test_texts(value: Value, text: str | None, letter: str) -> None:
    """The text is readable; what JSON cannot encode is MessagePack."""
    assert (text, letter) == tuple(typed(value))
