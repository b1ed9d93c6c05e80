"""The clock of a facts partition: what advances it, what holds it, what ends it."""

from __future__ import annotations

import pytest

from streams.errors import StateError
from streams.windows.clock import Clock, SectionOrigin, SourceProgress
from tests.support.builders import section


def clock_of(*watermarks_ms: int | None, topics: tuple[str, ...] = ("otlp_spans",)) -> Clock:
    """Create a clock whose topic has a partition for each watermark."""
    clock = Clock(topics)
    for partition, watermark_ms in enumerate(watermarks_ms):
        clock.advance(section(0, 5, watermark_ms, partition=partition, partition_count=len(watermarks_ms)))
    clock.tick()
    return clock


def test_clock_is_the_lowest_watermark() -> None:
    """The clock is the minimum over all source partitions."""
    clock = clock_of(300, 200, 400)

    assert 200 == clock.now_ms
    assert ("otlp_spans", 1) == clock.held_by()


def test_missing_partition_holds() -> None:
    """A partition that has sent no section holds the clock."""
    clock = Clock(["otlp_spans"])

    clock.advance(section(0, 5, 300, partition=0, partition_count=2))

    assert clock.tick() is None
    assert ("otlp_spans", 1) == clock.held_by()


def test_partition_without_watermark_holds() -> None:
    """A partition without a watermark holds the clock."""
    clock = clock_of(300, None)

    assert clock.now_ms is None
    assert ("otlp_spans", 1) == clock.held_by()


def test_missing_topic_holds() -> None:
    """A configured topic that has sent no section holds the clock."""
    clock = clock_of(300, topics=("otlp_spans", "otlp_logs"))

    assert clock.now_ms is None
    assert ("otlp_logs", 0) == clock.held_by()


def test_topic_not_configured_is_ignored() -> None:
    """A topic that is not configured neither holds nor advances the clock."""
    clock = clock_of(300)

    clock.advance(section(0, 5, 100, topic="other", partition_count=9))

    assert 300 == clock.tick()


def test_no_topic() -> None:
    """A clock without topics is held by nobody and never starts."""
    clock = Clock([])

    assert clock.held_by() is None
    assert clock.tick() is None


def test_new_partition_holds_where_the_clock_is() -> None:
    """When a topic grows, the new partition holds the clock, which does not go back."""
    clock = clock_of(300)

    clock.advance(section(5, 9, 400, partition_count=2))
    unheard_ms = clock.tick()
    clock.advance(section(0, 1, 100, partition=1, partition_count=2))

    assert (300, 300) == (unheard_ms, clock.tick())
    assert ("otlp_spans", 1) == clock.held_by()


def test_old_partition_count_does_not_shrink_the_topic() -> None:
    """A section made before the topic grew removes no partition."""
    clock = clock_of(300, 200)

    clock.advance(section(5, 9, None, partition=1, partition_count=1))

    assert 200 == clock.tick()


def test_watermark_never_goes_back() -> None:
    """A section with a lower watermark, or none, leaves the watermark of its partition unchanged."""
    clock = clock_of(300)

    clock.advance(section(5, 6, 200))
    clock.advance(section(6, 7, None))

    assert 300 == clock.tick()


def test_restored_clock_does_not_go_back() -> None:
    """A clock made from stored progress does not go back below the stored time."""
    clock = Clock(
        ["otlp_spans"],
        {("otlp_spans", 0): SourceProgress(epoch=1, applied_to=5, watermark_ms=100, partition_count=2)},
        now_ms=250,
    )

    assert 250 == clock.tick()


def test_first_section_is_new_from_its_beginning() -> None:
    """All entries of a source partition's first section are new."""
    clock = Clock(["otlp_spans"])

    new_from = clock.advance(section(40, 50))

    assert 40 == new_from


def test_overlapping_section_is_new_above_the_applied_offset() -> None:
    """Of a section that overlaps applied offsets only the rest is new; the progress does not go back."""
    clock = clock_of(300)

    new_from = clock.advance(section(2, 4))

    assert 5 == new_from
    assert 5 == clock.progress[("otlp_spans", 0)].applied_to


def test_section_that_adjoins() -> None:
    """A section that begins exactly where the last one ended leaves no gap."""
    clock = clock_of(300)

    new_from = clock.advance(section(5, 8))

    assert 5 == new_from


def test_hole_one_record_wide() -> None:
    """A section that begins one record later ends sessions with an action."""
    clock = clock_of(300)

    with pytest.raises(
        StateError, match=r"otlp_spans\[0\] continue at offset 6, but facts from offset 5 on are missing\. Action: "
    ):
        clock.advance(section(6, 8))


def test_recreated_topic_continues_in_time() -> None:
    """The offsets of a recreated topic start over; its time does not go back."""
    clock = clock_of(300)

    joined = clock.classify(section(0, 3, epoch=2))
    applied_to = clock.advance(section(0, 3, epoch=2))

    assert (SectionOrigin.CURRENT, 0, 300) == (joined, applied_to, clock.tick())


def test_stale_section() -> None:
    """Sections of an ingest worker that has been replaced are ignored."""
    clock = clock_of(300)
    clock.advance(section(0, 3, epoch=2))

    joined = clock.classify(section(0, 9, epoch=1))

    assert SectionOrigin.STALE is joined


def test_reset_offsets_begin_a_new_generation() -> None:
    """The first record after a reset discards the old clock; the new one waits for every source partition."""
    clock = clock_of(300)
    again = section(0, 3, 50, epoch=2, replay=2, start_ms=40)

    idle = clock.classify(section(0, 0, epoch=2, replay=2))
    joined = clock.classify(again)
    clock.advance(again)

    assert (SectionOrigin.CURRENT, SectionOrigin.NEW_GENERATION) == (idle, joined)
    assert (1, 50) == (clock.generation, clock.tick())


def test_source_that_was_not_reset() -> None:
    """A source partition that continues where it was while another was reset ends sessions."""
    clock = Clock(("otlp_spans",))
    clock.advance(section(0, 3, 300, partition_count=2))
    clock.advance(section(0, 3, 300, partition=1, partition_count=2))
    clock.classify(section(0, 3, 50, epoch=2, replay=2, start_ms=40, partition_count=2))

    with pytest.raises(StateError, match=r"otlp_spans\[1\] continues at offset 3 although .* were reset\. Action: "):
        clock.classify(section(3, 4, 400, partition=1, partition_count=2))


def test_source_that_first_reports_after_a_reset() -> None:
    """It joins the generation of those that were reset, whether or not one of them has had a record since."""
    clock = clock_of(300)
    clock.classify(section(0, 0, epoch=2, replay=2, partition_count=2))
    first = section(0, 3, 60, partition=1, epoch=2, replay=2, start_ms=50, partition_count=2)

    joined = clock.classify(first)
    clock.advance(first)
    clock.advance(section(0, 3, 70, epoch=2, replay=2, start_ms=40, partition_count=2))

    assert SectionOrigin.NEW_GENERATION is joined
    assert (1, 60) == (clock.generation, clock.tick())


def test_source_without_records_that_first_reports_after_a_reset() -> None:
    """Its time is not that of the previous generation."""
    clock = clock_of(300)
    clock.classify(section(0, 0, epoch=2, replay=2, partition_count=2))
    silent = section(0, 0, 90, partition=1, epoch=2, replay=2, partition_count=2)
    again = section(0, 3, 50, epoch=2, replay=2, start_ms=40, partition_count=2)

    joined = clock.classify(silent)
    clock.advance(silent)
    clock.classify(again)
    clock.advance(again)

    assert SectionOrigin.CURRENT is joined
    assert (1, 50) == (clock.generation, clock.tick())


def test_stale_section_of_an_unknown_source() -> None:
    """An ingest worker that was suspended during a reset cannot affect the next generation."""
    clock = clock_of(300)
    clock.classify(section(0, 0, epoch=2, replay=2, partition_count=2))

    joined = clock.classify(section(0, 9, 500, partition=1, partition_count=2))

    assert SectionOrigin.STALE is joined


def test_two_resets_without_a_record_between() -> None:
    """Sources join the generation of the last reset one by one, and its clock waits for all of them."""
    clock = Clock(("otlp_spans",))
    for partition in (0, 1):
        clock.advance(section(0, 3, 300, partition=partition, partition_count=2))
    for partition in (0, 1):
        silent = section(3, 3, 400, partition=partition, epoch=2, replay=2, partition_count=2)
        clock.classify(silent)
        clock.advance(silent)
    first, second = (
        section(0, 3, 50 + partition, epoch=3, replay=3, start_ms=40, partition=partition, partition_count=2)
        for partition in (0, 1)
    )

    joined = [clock.classify(first), clock.advance(first), clock.tick(), clock.classify(second), clock.advance(second)]

    assert [SectionOrigin.NEW_GENERATION, 0, None, SectionOrigin.CURRENT, 0] == joined
    assert 50 == clock.tick()
