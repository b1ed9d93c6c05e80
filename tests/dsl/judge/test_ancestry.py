"""Ancestors of spans: circles, lost parents, copies and limits."""

from __future__ import annotations

import pytest

from dsl.judge import ancestry
from dsl.judge.ancestry import MAX_ANCESTORS, OF_SPANS, Ancestors, Ancestry
from dsl.judge.keys import KeyHashes
from dsl.judge.occurrences import Occurrences


def keys(span: str, parent: str = "", *, is_edge: bool = False) -> KeyHashes:
    """The links of a span."""
    return (b"edge",) if is_edge else (), (parent.encode(),) if parent else (), (span.encode(),)


def ancestry_of(*spans: KeyHashes, limit: int | None = None) -> Ancestry:
    """The ancestry of spans; the id of a span is its identity."""
    remembered = Occurrences()
    for links in spans:
        remembered.add((links[OF_SPANS.span] or (b"",))[0], None, [links], limit)
    return Ancestry(remembered)


def found(*ids: str, is_known: bool = True) -> Ancestors:
    """Ancestors with these ids."""
    return Ancestors(frozenset(each.encode() for each in ids), is_known)


def test_ancestors_are_the_parents_up_to_the_root() -> None:
    """Neither children nor siblings are among them."""
    spans = ancestry_of(keys("a"), keys("b", "a"), keys("c", "b"), keys("d", "b"))

    assert found("b", "a") == spans.of(keys("c", "b"), OF_SPANS)
    assert found() == spans.of(keys("a"), OF_SPANS)


def test_a_lost_parent_is_unknown_but_at_the_edge() -> None:
    """A parent that was not seen is itself an ancestor, but what is above it is unknown, except of a server span."""
    spans = ancestry_of(keys("b", "x"), keys("c", "b"), keys("e", "y", is_edge=True), keys("f", "e"))

    assert found("b", "x", is_known=False) == spans.of(keys("c", "b"), OF_SPANS)
    assert found("e", "y") == spans.of(keys("f", "e"), OF_SPANS)
    assert found("z", is_known=False) == spans.of(keys("g", "z"), OF_SPANS)
    assert found("z") == spans.of(keys("g", "z", is_edge=True), OF_SPANS)


def test_a_circle_ends_and_is_unknown() -> None:
    """No span is its own ancestor, also when it takes part in the circle."""
    spans = ancestry_of(keys("a", "b"), keys("b", "c"), keys("c", "b"), keys("d", "e"), keys("e", "d"))

    assert found("b", "c", is_known=False) == spans.of(keys("a", "b"), OF_SPANS)
    assert found("e", is_known=False) == spans.of(keys("d", "e"), OF_SPANS)


def test_copies_with_other_parents_have_the_ancestors_of_both() -> None:
    """Two ways to one ancestor are no circle."""
    spans = ancestry_of(keys("a"), keys("b", "a"), keys("c", "a"), keys("d", "b"), keys("d", "c"))

    assert found("a", "b", "c", "d") == spans.of(keys("e", "d"), OF_SPANS)


def test_beyond_the_limit_of_ancestors_nothing_is_known() -> None:
    """A chain that is too long takes no more time."""
    chain = [keys(f"{number}", f"{number - 1}" if number else "") for number in range(MAX_ANCESTORS + 1)]

    ancestors = ancestry_of(*chain)

    assert ancestors.of(keys("x", f"{MAX_ANCESTORS - 1}"), OF_SPANS).is_known
    assert not ancestors.of(keys("x", f"{MAX_ANCESTORS}"), OF_SPANS).is_known


def test_beyond_the_limit_of_spans_lost_parents_are_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A parent that was not kept is not taken for the edge of the trace."""
    monkeypatch.setattr(ancestry, "MAX_SPANS", 2)

    spans = ancestry_of(keys("a"), keys("b", "a", is_edge=True), keys("c", "b", is_edge=True), limit=2)

    assert found("a") == spans.of(keys("b", "a", is_edge=True), OF_SPANS)
    assert found("c", is_known=False) == spans.of(keys("d", "c", is_edge=True), OF_SPANS)
