"""Sections after facts that were lost: each says what its source may have lost, once."""

from __future__ import annotations

import msgspec

from streams.windows.clock import Clock
from streams.windows.lost_facts import LostFacts
from topics.records.facts import Section

OUT_OF_ORDER_MS = 500


def section(from_offset: int, to_offset: int, watermark_ms: int | None = 1_000, *, epoch: int = 2) -> Section:
    """Return a section of the only source."""
    return Section(
        topic="spans",
        partition=0,
        epoch=epoch,
        replay=0,
        start_ms=None,
        partition_count=1,
        from_offset=from_offset,
        to_offset=to_offset,
        watermark_ms=watermark_ms,
        lost=[],
        touches=b"",
        entries=[],
    )


def lost_after(*applied: Section) -> tuple[LostFacts, Clock]:
    """Return a loss after these sections."""
    clock, lost = Clock(["spans"]), LostFacts((), out_of_order_ms=OUT_OF_ORDER_MS)
    for each in applied:
        clock.classify(each)
        clock.advance(each)
    lost.note(clock)
    return lost, clock


def test_a_hole_is_lost_with_the_section_after_it() -> None:
    """The section may be the last part of a flush whose other parts are lost, so its own records count too."""
    lost, clock = lost_after(section(0, 10))

    marked = lost.marked(section(15, 20, 3_000), clock, has_open_loss=False)

    assert (10, 20, [(10, 20)], 4_000) == (marked.from_offset, marked.to_offset, marked.lost, marked.lost_until_ms)
    assert set() == lost.sources


def test_a_section_without_a_hole_is_lost() -> None:
    """Parts of a flush do not advance the source: the last one shows no hole."""
    lost, clock = lost_after(section(0, 10))

    assert [(10, 20)] == lost.marked(section(10, 20), clock, has_open_loss=False).lost


def test_sections_without_records_end_no_loss() -> None:
    """What they leave out is lost, but the flush that they may be part of is still to come."""
    lost, clock = lost_after(section(0, 10))

    idle = lost.marked(section(10, 10), clock, has_open_loss=False)
    part = lost.marked(section(15, 15), clock, has_open_loss=False)
    clock.advance(part)

    assert ([], [(10, 15)], 10) == (idle.lost, part.lost, part.from_offset)
    assert [(15, 20)] == lost.marked(section(15, 20), clock, has_open_loss=False).lost


def test_a_repeated_or_stale_section_ends_no_loss() -> None:
    """They tell nothing of what was lost."""
    lost, clock = lost_after(section(0, 10))

    for each in (section(5, 10), section(10, 20, epoch=1)):
        assert each == lost.marked(each, clock, has_open_loss=False)
    assert {("spans", 0)} == lost.sources


def test_a_new_epoch_is_lost_from_where_it_is_seen() -> None:
    """Its offsets have nothing to do with those before."""
    lost, clock = lost_after(section(0, 10))

    assert [(3, 5)] == lost.marked(section(3, 5, epoch=3), clock, has_open_loss=False).lost


def test_an_open_loss_of_ingest_stays_open() -> None:
    """Until ingest says when it ended, the facts cannot tell; an old time of an earlier loss is no bound."""
    lost, clock = lost_after(section(0, 10))
    assert lost.marked(section(10, 20), clock, has_open_loss=True).lost_until_ms is None

    lost, clock = lost_after(section(0, 10))
    earlier = msgspec.structs.replace(section(10, 20, 3_000), lost_until_ms=7)
    assert 4_000 == lost.marked(earlier, clock, has_open_loss=True).lost_until_ms
