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


class SourceProgress(msgspec.Struct, frozen=True, array_like=True):
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

ProgressBySource = Mapping[Source, SourceProgress]


class SectionOrigin(Enum):
    """What a section is to the clock: of its generation, the first of a new one, or sent by an ingest long replaced."""

    CURRENT = "current"
    NEW_GENERATION = "new_generation"
    STALE = "stale"


class Clock:
    """The progress of all source partitions, and the time they agree on.

    `now_ms` never goes back inside a generation, not even when a partition appears whose time is behind; it is None
    until every partition of every topic in `topics` has a watermark.
    """

    def __init__(
        self,
        topics: Iterable[str],
        progress: ProgressBySource | None = None,
        now_ms: int | None = None,
        generation: int = 0,
    ) -> None:
        self.topics = frozenset(topics)
        self.progress: dict[Source, SourceProgress] = dict(progress or {})
        self.now_ms = now_ms
        self.generation = generation
        # By replay; to ask all marks for each section takes the longer the more sources there are.
        self._generations: dict[int, int] = {}
        for each in self.progress.values():
            self._note_generation(each)
        self._tick()

    def classify(self, section: Section) -> SectionOrigin:
        """What the section is to this clock; to be asked before `advance`.

        With the first record of a new generation the clock of the old one is given up.

        Raises:
            StateError: the source goes on where it was while others began again.
        """
        source = (section.topic, section.partition)
        progress = self.progress.get(source)
        if self._is_stale(section, progress):
            return SectionOrigin.STALE
        generation = self._generation_of(section)
        if generation < self.generation:
            raise _partial_reset_error(section)
        if progress is None or generation != progress.generation or section.replay != progress.replay:
            self.progress[source] = SourceProgress(
                section.epoch, section.from_offset, None, section.partition_count, section.replay, generation
            )
            self._note_generation(self.progress[source])
        if generation == self.generation or section.start_ms is None:
            return SectionOrigin.CURRENT
        self.generation = generation
        self.now_ms = None
        return SectionOrigin.NEW_GENERATION

    def advance(self, section: Section) -> int:
        """Takes in a section that is not stale; returns the offset from which its entries are new.

        Raises:
            StateError: a hole before the section; sessions stops.
        """
        source = (section.topic, section.partition)
        progress = self.progress.get(source)
        if progress is None or progress.epoch != section.epoch:
            # The log of a topic that was made again has its own offsets; time goes on.
            before_ms = None if progress is None else progress.watermark_ms
            generation = self.generation if progress is None else progress.generation
            progress = SourceProgress(
                section.epoch, section.from_offset, before_ms, section.partition_count, section.replay, generation
            )
        if section.from_offset > progress.applied_to:
            raise _gap_error(section, progress.applied_to)
        self.progress[source] = SourceProgress(
            section.epoch,
            max(section.to_offset, progress.applied_to),
            _latest(section.watermark_ms, progress.watermark_ms),
            section.partition_count,
            section.replay,
            progress.generation,
            _latest(section.missing_until_ms, progress.missing_until_ms),
        )
        self._note_generation(self.progress[source])
        return progress.applied_to

    @property
    def replay(self) -> int:
        """The replay that the present generation reads, 0 before the first: the same in every facts partition."""
        return max((one for one, generation in self._generations.items() if generation == self.generation), default=0)

    def missing_until_ms(self) -> int | None:
        """Up to when records are missing before those that were read first in this generation; None: none are."""
        current = (each for each in self.progress.values() if each.generation == self.generation)
        return max((each.missing_until_ms for each in current if each.missing_until_ms is not None), default=None)

    def tick(self) -> int | None:
        """The clock after the sections taken in so far, in ms."""
        self._tick()
        return self.now_ms

    def held_by(self) -> Source | None:
        """The source partition with the lowest watermark, or one without any; None when nothing is configured."""
        return min(self._expected(), key=self._watermark_order, default=None)

    def _is_stale(self, section: Section, progress: SourceProgress | None) -> bool:
        if progress is not None:
            return (section.replay, section.epoch) < (progress.replay, progress.epoch)
        return any(section.replay < replay for replay in self._generations)

    def _generation_of(self, section: Section) -> int:
        """The generation a section belongs to: that of its replay, or one that nobody is part of yet."""
        generation = self._generations.get(section.replay)
        if generation is None:
            return 1 + max(self.generation, *self._generations.values()) if self.progress else self.generation
        return generation

    def _note_generation(self, progress: SourceProgress) -> None:
        self._generations[progress.replay] = max(progress.generation, self._generations.get(progress.replay, 0))

    def _tick(self) -> None:
        watermarks = [self._watermark(source) for source in self._expected()]
        known = [watermark for watermark in watermarks if watermark is not None]
        if known and len(known) == len(watermarks):
            self.now_ms = _latest(min(known), self.now_ms)

    def _expected(self) -> list[Source]:
        counts = dict.fromkeys(self.topics, 1)
        for (topic, _), progress in self.progress.items():
            if topic in counts:
                counts[topic] = max(counts[topic], progress.partition_count)
        return [(topic, partition) for topic in sorted(counts) for partition in range(counts[topic])]

    def _watermark(self, source: Source) -> int | None:
        progress = self.progress.get(source)
        return None if progress is None or progress.generation < self.generation else progress.watermark_ms

    def _watermark_order(self, source: Source) -> tuple[bool, int]:
        watermark_ms = self._watermark(source)
        return (watermark_ms is not None, watermark_ms or 0)


def _latest(one_ms: int | None, other_ms: int | None) -> int | None:
    if one_ms is None or other_ms is None:
        return other_ms if one_ms is None else one_ms
    return max(one_ms, other_ms)


def _gap_error(section: Section, applied_to: int) -> StateError:
    return StateError(
        f"facts of {section.topic}[{section.partition}] go on at {section.from_offset}, applied is up to {applied_to}",
        action="let only one application write the facts; to start over, reset the ingest group and delete the state",
    )


def _partial_reset_error(section: Section) -> StateError:
    return StateError(
        f"{section.topic}[{section.partition}] goes on at offset {section.from_offset} while other source partitions "
        "were reset",
        action="stop all workers, reset the offsets of the whole ingest group (--all-topics), and start again",
    )
