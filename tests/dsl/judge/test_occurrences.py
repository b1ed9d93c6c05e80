"""Occurrences of an atom: the same in any order and grouping."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsl.judge import occurrences
from dsl.judge.occurrences import MAX_OCCURRENCES, MAX_VARIANTS, Occurrence, Occurrences, Variant

_keys = st.lists(
    st.tuples(st.none() | st.lists(st.sampled_from([b"x", b"y"]), max_size=2).map(tuple)), min_size=0, max_size=3
)
_hits = st.lists(
    st.tuples(st.integers(0, 9).map(lambda n: bytes([n])), st.none() | st.integers(1, 5), _keys), max_size=30
)


def remembered(hits: list[tuple[bytes, int | None, list[tuple[tuple[bytes, ...] | None, ...]]]]) -> Occurrences:
    """The occurrences of hits: identity, start and keys."""
    occurrences = Occurrences()
    for identity, start_ns, keys in hits:
        occurrences.add(identity, start_ns, keys)
    return occurrences


@given(_hits, st.randoms(use_true_random=False), st.integers(0, 30), st.integers(2, 8))
def test_order_grouping_and_repetition_do_not_matter(
    hits: list[tuple[bytes, int | None, list[tuple[tuple[bytes, ...] | None, ...]]]], random: Random, at: int, most: int
) -> None:
    """Mixing, splitting and repeating hits does not change the result, beyond the limits too."""
    mixed = [*hits, *hits[:at]]
    random.shuffle(mixed)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(occurrences, "MAX_OCCURRENCES", most)
        patched.setattr(occurrences, "MAX_VARIANTS", 3)
        expected = remembered(hits)

        first, second = remembered(mixed[:at]), remembered(mixed[at:])
        first.merge(second)
        second.merge(first)

    assert expected == first
    assert expected == second


def test_as_many_as_are_kept_may_not_be_all() -> None:
    """Below the limit the list is complete; at the limit it has the smallest identities and counts as incomplete."""
    occurrences = Occurrences()
    for number in reversed(range(MAX_OCCURRENCES - 1)):
        occurrences.add(number.to_bytes(8), 1, [()])
    was_complete = occurrences.is_complete

    occurrences.add(b"\xff" * 8, 1, [()])
    occurrences.add(b"\xfe" * 8, 1, [()])

    assert (True, False) == (was_complete, occurrences.is_complete)
    assert MAX_OCCURRENCES == len(occurrences.kept)
    assert b"\xfe" * 8 == occurrences.kept[-1].identity


def test_copies_with_other_content_are_variants() -> None:
    """A span that is sent twice with different content is one occurrence with two variants."""
    occurrences = Occurrences()
    for start_ns in (2, 1, 2):
        occurrences.add(b"1", start_ns, [((b"x",),)])

    assert [Occurrence(b"1", (Variant(1, ((b"x",),)), Variant(2, ((b"x",),))))] == occurrences.kept


def test_many_variants_may_not_be_all() -> None:
    """A full list of variants counts as incomplete."""
    occurrences = Occurrences()
    for start_ns in range(1, MAX_VARIANTS + 2):
        assert all(each.is_complete for each in occurrences.kept) is (start_ns <= MAX_VARIANTS)
        occurrences.add(b"1", start_ns, [()])

    assert MAX_VARIANTS == len(occurrences.kept[0].variants)


def test_without_keys_only_the_start_matters() -> None:
    """An atom of which pairs need only missing starts keeps no occurrence."""
    occurrences = Occurrences()
    occurrences.add(b"1", 1, [])
    assert Occurrences() == occurrences

    occurrences.add(b"2", None, [])

    assert Occurrences(has_unstarted=True) == occurrences
