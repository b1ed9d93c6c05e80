"""Join keys: the values that `with same` compares."""

from __future__ import annotations

import pytest

from dsl.judge.keys import MAX_ELEMENTS, canonical_texts, hash_variants, key_hash
from dsl.judge.span import Value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a", ("a",)),
        ("", ("",)),
        ("007", ("007",)),
        (7, ("7",)),
        (7.0, ("7",)),
        (-0.0, ("0",)),
        (1e22, ("10000000000000000000000",)),
        (0.1, ("0.1",)),
        (float("inf"), ("inf",)),
        (float("nan"), ()),
        (True, ("true",)),
        (None, ()),
        (b"7", ()),
        ({"a": 1}, ()),
        ([7, "7", 7.0, None, [7], "x"], ("7", "x")),
        ([], ()),
        ("\ud800", ("\N{REPLACEMENT CHARACTER}",)),
    ],
)
def test_ids_stay_ids(value: Value, expected: tuple[str, ...]) -> None:
    """Each value that can be an id has one text that it is compared by; other values have none."""
    assert expected == canonical_texts(value)


def test_an_integer_of_any_length_is_compared() -> None:
    """Integers with more digits than Python prints are compared, and stay distinct."""
    assert canonical_texts(10**5000) == canonical_texts(10**5000) != canonical_texts(10**5000 + 1)


def test_an_array_is_compared_up_to_a_limit() -> None:
    """An array with one element more than the limit has unknown values."""
    assert len(canonical_texts(list(range(MAX_ELEMENTS))) or ()) == MAX_ELEMENTS
    assert canonical_texts(list(range(MAX_ELEMENTS + 1))) is None


def test_values_are_hashed_each_by_its_key() -> None:
    """A key without a hash function, or with too many values, cannot be compared; a missing one stays missing."""
    variants = [(("a",), ("b", "a"), None, ())]

    actual = hash_variants(variants, [None, key_hash, key_hash, key_hash])

    assert ((None, tuple(sorted([key_hash("a"), key_hash("b")])), None, ()),) == actual
