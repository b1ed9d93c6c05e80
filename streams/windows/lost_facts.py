"""Which source partitions may have lost facts, because messages of the facts log cannot be read.

In: the sources known at such a loss, and the sections that follow. Out: sections that say what is lost, in the same way
as ingest says it of source records. Pure.

A lost message may have had facts of any source, and the first parts of a flush whose last part can be read. So what is
lost of a source reaches from what was applied before to the end of its first section with records after the loss. The
watermarks before and after bound its record time.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from streams.windows.clock import Clock, Source
from topics.records.facts import Section


class LostFacts:
    """The sources whose next section with records ends the loss; `out_of_order_ms` bounds how far time runs back."""

    def __init__(self, sources: Iterable[Source], *, out_of_order_ms: int) -> None:
        self.sources = {*sources}
        self._out_of_order_ms = out_of_order_ms

    def note(self, clock: Clock) -> None:
        """Note a loss: it may have been of any source that the clock knows."""
        self.sources.update(clock.progress)

    def marked(self, section: Section, clock: Clock, *, has_open_loss: bool) -> Section:
        """Return the section, with the lost range if it is the first after the loss.

        `has_open_loss`: ingest has not yet said until when earlier records of the source were lost.
        """
        source = (section.topic, section.partition)
        progress = clock.progress.get(source)
        if source not in self.sources or progress is None or clock.is_stale(section):
            return section
        continues = (section.epoch, section.replay) == (progress.epoch, progress.replay)
        start = progress.applied_to if continues else section.from_offset
        if section.to_offset <= start:
            return section
        if section.to_offset > section.from_offset:
            # Without records it may be the middle of a flush in several parts.
            self.sources.discard(source)
        return msgspec.structs.replace(
            section,
            from_offset=min(section.from_offset, start),
            lost=[*section.lost, (start, section.to_offset)],
            lost_until_ms=self._until_ms(section, has_open_loss=has_open_loss),
        )

    def _until_ms(self, section: Section, *, has_open_loss: bool) -> int | None:
        is_unbounded = section.lost_until_ms is None and (has_open_loss or bool(section.lost))
        if is_unbounded or section.watermark_ms is None:
            return section.lost_until_ms
        # The watermark lies out_of_order below the highest record so far, and no lost one is more than that above it.
        return max(section.lost_until_ms or 0, section.watermark_ms + 2 * self._out_of_order_ms)
