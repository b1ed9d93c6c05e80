"""Paths into values, at their limits: whatever the value, reaching into it does not fail."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsl import Value
from dsl.judge.paths import MAX_DEPTH, MAX_TEXT_BYTES, reach
from dsl.syntax.nodes import Elements, Step


def nested(depth: int) -> str:
    """JSON text with a 1 that many levels deep."""
    return "[" * depth + "1" + "]" * depth


@pytest.mark.parametrize(("depth", "expected"), [(MAX_DEPTH, 1), (MAX_DEPTH + 1, 0), (20_000, 0)])
def test_depth_of_a_text(depth: int, expected: int) -> None:
    """Text is read up to sixteen levels; deeper, all of it is missing."""
    assert expected == len(reach(nested(depth), (0,)))


def test_empty_objects_are_levels() -> None:
    """An object without a key is as deep as one with a key."""
    assert [1, 0] == [len(reach("[" * depth + "{}" + "]" * depth, (0,))) for depth in (MAX_DEPTH - 1, MAX_DEPTH)]


@pytest.mark.parametrize(("character", "size_bytes"), [("a", 1), ("é", 2), ("😀", 4)])
def test_size_of_a_text(character: str, size_bytes: int) -> None:
    """The limit is of bytes of UTF-8."""
    room = MAX_TEXT_BYTES - len('{"k":"","p":""}')
    count, rest = divmod(room, size_bytes)
    just, over = (
        json.dumps({"k": character * count, "p": "p" * padding}, ensure_ascii=False, separators=(",", ":"))
        for padding in (rest, rest + 1)
    )

    assert (1, 0) == (len(reach(just, ("k",))), len(reach(over, ("k",))))


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[1", "{} x", "null", "1", '"a"', "[NaN]", "[-Infinity]", "{1: 2}"),
        *("[\x00]", "\ufeff[1]", '["\\ud800"', "[1e999,]"),
    ],
)
def test_text_that_is_no_object_or_array(text: str) -> None:
    """Such a text has no elements and no keys, and is no error."""
    assert [] == [*reach(text, (0,)), *reach(text, ("a",))]


def test_values_in_a_text_are_of_their_types() -> None:
    """Numbers, booleans and texts stay apart, null is missing."""
    text = '{"a": [1, 1.5, true, "1", null, 36893488147419103232]}'

    assert [1, 1.5, True, "1", 2**65] == reach(text, ("a", Elements.ALL))


@pytest.mark.parametrize("other", ['"\\ud800"', '{"\\udfff": 1}', "1e999", "-1e999", "9" * 5_000, "-" + "9" * 5_000])
def test_one_odd_value_does_not_hide_the_others(other: str) -> None:
    """Text that is valid JSON is read, whatever is in it that has no exact value."""
    assert ["evil"] == reach(f'{{"to": "evil", "note": {other}}}', ("to",))


def test_lone_surrogates_in_a_text() -> None:
    """Written as escapes, they become U+FFFD as everywhere else, in keys too."""
    assert ["\ufffd"] == reach('{"\\ud800": ["\\udc00"]}', ("\ufffd", 0))


_steps: st.SearchStrategy[Step] = st.sampled_from(["a", "0", "", 0, 1, Elements.ALL])
_plain: st.SearchStrategy[Value] = st.sampled_from(
    [None, True, 1, 10**400, float("inf"), float("nan"), "a", "\ud800", '{"a": "\ud800"}', "[[]]", b"[1]"]
)
_values = st.recursive(
    _plain | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "0", ""]), inner, max_size=3),
)


@given(_values, st.lists(_steps, max_size=4).map(tuple))
def test_no_value_is_an_error(value: Value, path: tuple[Step, ...]) -> None:
    """Whatever the value and the path, there are values or none."""
    found = reach(value, path)

    assert len(found) <= 1 or Elements.ALL in path


def test_value_that_is_nested_very_deep() -> None:
    """A value that no text holds may be deeper: OTLP limits it itself."""
    value: Value = 7
    for _ in range(1_000):
        value = [value]

    assert [7] == reach(value, (0,) * 1_000)
