"""The clock of a facts partition: record time, never the machine's.

In: what sections say of their source partitions. Out: the time up to which every source partition is complete. The
clock is the minimum over all partitions of all configured source topics; one that has not been heard of holds it, and
no time-out ever leaves one out: catching up must not close anything early.

A source partition can begin again in two ways. Its topic was made again: its offsets start anew, its time goes on. Or
the offsets of the whole ingest group were reset, to read the past once more: that is a new generation, with a clock of
its own, of which every source partition must become part before that clock moves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum

import msgspec

from streams.errors import StateError
from topics.records.facts import Section


class Mark(msgspec.Struct, frozen=True, array_like=True):
    """How far one source partition is applied.

    `[…, applied_to)` of the log with this `epoch` is, in this `replay` (see `topics.records.facts.Section`);
    `watermark_ms` is None when unknown. `generation` numbers the replays that this facts partition took part in.
    `missing_until_ms` is the section's.
    """

    epoch: int
    applied_to: int
    watermark_ms: int | None
    partition_count: int
    replay: int = 0
    generation: int = 0
    missing_until_ms: int | None = None


Source = tuple[str, int]
"""A source partition: topic, partition."""

Marks = Mapping[Source, Mark]


class Joined(Enum):
    """What a section is to the clock: of its generation, the first of a new one, or sent by an ingest long replaced."""

    CURRENT = "current"
    NEW_GENERATION = "new_generation"
    STALE = "stale"


class Clock:
    """Marks of all source partitions, and the time they agree on.

    `now_ms` never goes back inside a generation, not even when a partition appears whose time is behind; it is None
    until every partition of every topic in `topics` has a watermark.
    """

    def __init__(
        self, topics: Iterable[str], marks: Marks | None = None, now_ms: int | None = None, generation: int = 0
    ) -> None:
        self.topics = frozenset(topics)
        self.marks: dict[Source, Mark] = dict(marks or {})
        self.now_ms = now_ms
        self.generation = generation
        # By replay; to ask all marks for each section takes the longer the more sources there are.
        self._generations: dict[int, int] = {}
        for mark in self.marks.values():
            self._note_generation(mark)
        self._tick()

    def join(self, section: Section) -> Joined:
        """What the section is to this clock; to be asked before `advance`.

        With the first record of a new generation the clock of the old one is given up.

        Raises:
            StateError: the source goes on where it was while others began again.
        """
        source = (section.topic, section.partition)
        mark = self.marks.get(source)
        if self._is_stale(section, mark):
            return Joined.STALE
        generation = self._generation_of(section)
        if generation < self.generation:
            raise _mixture(section)
        if mark is None or generation != mark.generation or section.replay != mark.replay:
            self.marks[source] = Mark(
                section.epoch, section.from_offset, None, section.partition_count, section.replay, generation
            )
            self._note_generation(self.marks[source])
        if generation == self.generation or section.start_ms is None:
            return Joined.CURRENT
        self.generation = generation
        self.now_ms = None
        return Joined.NEW_GENERATION

    def advance(self, section: Section) -> int:
        """Takes in a section that is not stale; returns the offset from which its entries are new.

        Raises:
            StateError: a hole before the section; sessions stops.
        """
        source = (section.topic, section.partition)
        mark = self.marks.get(source)
        if mark is None or mark.epoch != section.epoch:
            # The log of a topic that was made again has its own offsets; time goes on.
            before_ms = None if mark is None else mark.watermark_ms
            generation = self.generation if mark is None else mark.generation
            mark = Mark(
                section.epoch, section.from_offset, before_ms, section.partition_count, section.replay, generation
            )
        if section.from_offset > mark.applied_to:
            raise _hole(section, mark.applied_to)
        self.marks[source] = Mark(
            section.epoch,
            max(section.to_offset, mark.applied_to),
            _latest(section.watermark_ms, mark.watermark_ms),
            section.partition_count,
            section.replay,
            mark.generation,
            _latest(section.missing_until_ms, mark.missing_until_ms),
        )
        self._note_generation(self.marks[source])
        return mark.applied_to

    @property
    def replay(self) -> int:
        """The replay that the present generation reads, 0 before the first: the same in every facts partition."""
        return max((one for one, generation in self._generations.items() if generation == self.generation), default=0)

    def missing_until_ms(self) -> int | None:
        """Up to when records are missing before those that were read first in this generation; None: none are."""
        marks = (mark for mark in self.marks.values() if mark.generation == self.generation)
        return max((mark.missing_until_ms for mark in marks if mark.missing_until_ms is not None), default=None)

    def tick(self) -> int | None:
        """The clock after the sections taken in so far, in ms."""
        self._tick()
        return self.now_ms

    def held_by(self) -> Source | None:
        """The source partition with the lowest watermark, or one without any; None when nothing is configured."""
        return min(self._expected(), key=self._watermark_order, default=None)

    def _is_stale(self, section: Section, mark: Mark | None) -> bool:
        if mark is not None:
            return (section.replay, section.epoch) < (mark.replay, mark.epoch)
        return any(section.replay < replay for replay in self._generations)

    def _generation_of(self, section: Section) -> int:
        """The generation a section belongs to: that of its replay, or one that nobody is part of yet."""
        generation = self._generations.get(section.replay)
        if generation is None:
            return 1 + max(self.generation, *self._generations.values()) if self.marks else self.generation
        return generation

    def _note_generation(self, mark: Mark) -> None:
        self._generations[mark.replay] = max(mark.generation, self._generations.get(mark.replay, 0))

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
        return None if mark is None or mark.generation < self.generation else mark.watermark_ms

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


def _mixture(section: Section) -> StateError:
    return StateError(
        f"{section.topic}[{section.partition}] goes on at offset {section.from_offset} while other source partitions "
        "were reset",
        action="stop all workers, reset the offsets of the whole ingest group (--all-topics), and start again",
    )
