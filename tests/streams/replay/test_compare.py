"""Tests replayed beside published signals."""

from __future__ import annotations

from streams.config.units import iso_ms
from streams.replay.compare import Change, Finding, changes


def finding(rule: str, verdict: str, time_ms: int = 60_000, revision: int = 1) -> Finding:
    """A finding about one trace, which happened a minute before it was judged."""
    return Finding(
        rule=rule, trace_id="0f", verdict=verdict, time_ms=time_ms, revision=revision, happened_ms=time_ms - 60_000
    )


def change(kind: str, published: str | None, replayed: str | None, time_ms: int) -> Change:
    """Returns the finding judged at `time_ms`."""
    return Change(
        change=kind,
        rule="a",
        trace_id="0f",
        published=published,
        replayed=replayed,
        time=iso_ms(time_ms - 60_000),
        judged_at=iso_ms(time_ms),
    )


def test_only_the_last_revision_counts() -> None:
    """A published finding that was resolved does not count: a replay in which it is broken adds it."""
    published = [finding("a", "held", 90_000, 2), finding("a", "broken", 65_000)]

    found = changes([finding("a", "broken", 65_000)], published)

    assert [change("add", "held", "broken", 65_000)] == found


def test_undetermined_and_broken_are_kept() -> None:
    """Both have a signal about the trace, even if not the same one."""
    found = changes([finding("a", "broken")], [finding("a", "undetermined")])

    assert [change("keep", "undetermined", "broken", 60_000)] == found


def test_resolved_in_both_is_omitted() -> None:
    """Neither has a signal."""
    assert [] == changes([finding("a", "held", 9, 2)], [finding("a", "not_applicable", 9, 2)])


def test_dropped() -> None:
    """It is published, and not in the replay: the times are those published."""
    assert [change("drop", "broken", None, 75_000)] == changes([], [finding("a", "broken", 75_000)])
