"""The clock of a facts partition: record time, never the machine's.

In: what sections say of their source partitions. Out: the time up to which every source partition is complete. The
clock is the minimum over all partitions of all configured source topics; one that has not been heard of holds it, and
no time-out ever leaves one out: catching up must not close anything early.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from streams.errors import StateError
from topics.facts import Section


class Mark(msgspec.Struct, frozen=True, array_like=True):
    """How far one source partition is applied: `[…, applied_to)`, its epoch, and its watermark (None: unknown)."""

    epoch: int
    applied_to: int
    watermark_ms: int | None
    partition_count: int


Source = tuple[str, int]
"""A source partition: topic, partition."""

Marks = Mapping[Source, Mark]


class Clock:
    """Marks of all source partitions, and the time they agree on.

    `now_ms` never goes back, not even when a partition appears whose time is behind; it is None until every partition
    of every topic in `topics` has a watermark.
    """

    def __init__(self, topics: Iterable[str], marks: Marks | None = None, now_ms: int | None = None) -> None:
        self.topics = frozenset(topics)
        self.marks: dict[Source, Mark] = dict(marks or {})
        self.now_ms = now_ms
        self._tick()

    def advance(self, section: Section) -> int:
        """Takes in a section; returns the offset from which its entries are new.

        Raises:
            StateError: a hole before the section, or the source began again; sessions stops.
        """
        source = (section.topic, section.partition)
        mark = self.marks.get(source)
        applied_to = section.from_offset if mark is None else mark.applied_to
        if mark is not None and section.epoch != mark.epoch:
            raise _new_epoch(section, mark)
        if section.from_offset > applied_to:
            raise _hole(section, applied_to)
        watermark_ms = _latest(section.watermark_ms, None if mark is None else mark.watermark_ms)
        to_offset = max(section.to_offset, applied_to)
        self.marks[source] = Mark(section.epoch, to_offset, watermark_ms, section.partition_count)
        return applied_to

    def tick(self) -> int | None:
        """The clock after the sections taken in so far, in ms."""
        self._tick()
        return self.now_ms

    def held_by(self) -> Source | None:
        """The source partition with the lowest watermark, or one without any; None when nothing is configured."""
        return min(self._expected(), key=self._watermark_order, default=None)

    def _tick(self) -> None:
        watermarks = [self._watermark(source) for source in self._expected()]
        known = [watermark for watermark in watermarks if watermark is not None]
        if known and len(known) == len(watermarks):
            self.now_ms = _latest(min(known), self.now_ms)

    def _expected(self) -> list[Source]:
        counts = dict.fromkeys(self.topics, 1)
        for (topic, _), mark in self.marks.items():
            if topic in counts:
                counts[topic] = max(counts[topic], mark.partition_count)
        return [(topic, partition) for topic in sorted(counts) for partition in range(counts[topic])]

    def _watermark(self, source: Source) -> int | None:
        mark = self.marks.get(source)
        return None if mark is None else mark.watermark_ms

    def _watermark_order(self, source: Source) -> tuple[bool, int]:
        watermark_ms = self._watermark(source)
        return (watermark_ms is not None, watermark_ms or 0)


def _latest(one_ms: int | None, other_ms: int | None) -> int | None:
    if one_ms is None or other_ms is None:
        return other_ms if one_ms is None else one_ms
    return max(one_ms, other_ms)


def _hole(section: Section, applied_to: int) -> StateError:
    return StateError(
        f"facts of {section.topic}[{section.partition}] go on at {section.from_offset}, applied is up to {applied_to}",
        action="let only one application write the facts; to start over, reset the ingest group and delete the state",
    )


def _new_epoch(section: Section, mark: Mark) -> StateError:
    return StateError(
        f"source {section.topic}[{section.partition}] began again (epoch {section.epoch}, applied is {mark.epoch})",
        action="stop all workers, delete the betrace.* topics and the state directory, and start again",
    )
