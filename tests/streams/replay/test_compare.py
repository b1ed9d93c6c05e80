"""Replayed beside published signals."""

from __future__ import annotations

from streams.replay.compare import Change, Finding, changes


def finding(rule: str, verdict: str, time_ms: int = 0, revision: int = 1) -> Finding:
    """A finding about one trace."""
    return Finding(rule, "0f", verdict, time_ms, revision)


def test_only_the_last_revision_counts() -> None:
    """A published finding that was resolved is none: a replay that says it is broken adds it."""
    published = [finding("a", "held", 9, 2), finding("a", "broken", 5)]

    found = changes([finding("a", "broken", 5)], published)

    assert [Change("add", "a", "0f", "held", "broken")] == found


def test_undetermined_is_kept_as_what_it_is() -> None:
    """Both say something of the trace, if not the same."""
    found = changes([finding("a", "broken")], [finding("a", "undetermined")])

    assert [Change("keep", "a", "0f", "undetermined", "broken")] == found


def test_resolved_in_both_is_nothing() -> None:
    """There is no signal in either."""
    assert [] == changes([finding("a", "held", 9, 2)], [finding("a", "not_applicable", 9, 2)])


def test_dropped() -> None:
    """Published, and nothing in the replay."""
    assert [Change("drop", "a", "0f", "broken", None)] == changes([], [finding("a", "broken")])
