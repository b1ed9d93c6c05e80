"""The clock of a facts partition: record time, never the machine's.

In: the progress that sections report of their source partitions. Out: the time up to which every source partition is
complete. The clock is the minimum watermark over all partitions of all configured source topics. A partition that has
not reported yet holds the clock, and no time-out ever excludes one: otherwise catching up after an outage could close
windows early.

Reading of a source partition can start over in two ways. When its topic was recreated, offsets start anew and time
continues. When the offsets of the whole ingest group were reset, the past is read once more: that is a new generation
with its own clock, which does not move before every source partition has joined the generation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum

import msgspec

from streams.errors import StateError
from topics.records.facts import Section


class SourceProgress(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """How far one source partition has been applied.

    Offsets `[…, applied_to)` of the log with this `epoch` have been applied in this `replay` (see
    `topics.records.facts.Section`). `watermark_ms` is None when it is unknown. `generation` counts the replays that
    this facts partition has been through. `missing_until_ms` is the section's.
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
    """Whether a section is of the current generation, starts a new one, or comes from a worker replaced long ago."""

    CURRENT = "current"
    NEW_GENERATION = "new_generation"
    STALE = "stale"


class Clock:
    """The progress of all source partitions, and the time up to which all of them are complete.

    `now_ms` never decreases within a generation, not even when a partition appears whose time is behind. It is None
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
        # By replay. A cache: scanning the progress of all sources for every section would be linear in their number.
        self._generations: dict[int, int] = {}
        for each in self.progress.values():
            self._note_generation(each)
        self._tick()

    def classify(self, section: Section) -> SectionOrigin:
        """Classify a section; call this before `advance`.

        The first record of a new generation discards the clock of the old one.

        Raises:
            StateError: the source continues where it was although others were reset.
        """
        source = (section.topic, section.partition)
        progress = self.progress.get(source)
        if self.is_stale(section):
            return SectionOrigin.STALE
        generation = self._generation_of(section)
        if generation < self.generation:
            raise _partial_reset_error(section)
        if progress is None or generation != progress.generation or section.replay != progress.replay:
            self.progress[source] = SourceProgress(
                epoch=section.epoch,
                applied_to=section.from_offset,
                watermark_ms=None,
                partition_count=section.partition_count,
                replay=section.replay,
                generation=generation,
            )
            self._note_generation(self.progress[source])
        if generation == self.generation or section.start_ms is None:
            return SectionOrigin.CURRENT
        self.generation = generation
        self.now_ms = None
        return SectionOrigin.NEW_GENERATION

    def advance(self, section: Section) -> int:
        """Apply a section that is not stale; return the offset from which its entries are new.

        Raises:
            StateError: sections are missing before this one; sessions stops.
        """
        source = (section.topic, section.partition)
        progress = self.progress.get(source)
        if progress is None or progress.epoch != section.epoch:
            # A recreated topic has new offsets; time continues.
            before_ms = None if progress is None else progress.watermark_ms
            generation = self.generation if progress is None else progress.generation
            progress = SourceProgress(
                epoch=section.epoch,
                applied_to=section.from_offset,
                watermark_ms=before_ms,
                partition_count=section.partition_count,
                replay=section.replay,
                generation=generation,
            )
        if section.from_offset > progress.applied_to:
            raise _gap_error(section, progress.applied_to)
        self.progress[source] = SourceProgress(
            epoch=section.epoch,
            applied_to=max(section.to_offset, progress.applied_to),
            watermark_ms=_latest(section.watermark_ms, progress.watermark_ms),
            partition_count=section.partition_count,
            replay=section.replay,
            generation=progress.generation,
            missing_until_ms=_latest(section.missing_until_ms, progress.missing_until_ms),
        )
        self._note_generation(self.progress[source])
        return progress.applied_to

    @property
    def replay(self) -> int:
        """The replay of the current generation, the same in every facts partition; 0 before the first one."""
        return max((one for one, generation in self._generations.items() if generation == self.generation), default=0)

    def missing_until_ms(self) -> int | None:
        """Return the time up to which records from before this generation's start are missing; None if none are."""
        current = (each for each in self.progress.values() if each.generation == self.generation)
        return max((each.missing_until_ms for each in current if each.missing_until_ms is not None), default=None)

    def tick(self) -> int | None:
        """Update the clock from the sections applied so far; return it in ms."""
        self._tick()
        return self.now_ms

    def held_by(self) -> Source | None:
        """Return the source partition with the lowest watermark, or one without any; None when none is configured."""
        return min(self._expected(), key=self._watermark_order, default=None)

    def is_stale(self, section: Section) -> bool:
        """Return whether the section is of an ingest worker that was replaced long ago."""
        progress = self.progress.get((section.topic, section.partition))
        if progress is not None:
            return (section.replay, section.epoch) < (progress.replay, progress.epoch)
        return any(section.replay < replay for replay in self._generations)

    def _generation_of(self, section: Section) -> int:
        """Return the generation of the section's replay, or the next one if the replay is new."""
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
        f"facts of {section.topic}[{section.partition}] continue at offset {section.from_offset}, but facts from "
        f"offset {applied_to} on are missing",
        action="let only one application write the facts; to start over, reset the ingest group and delete the state",
    )


def _partial_reset_error(section: Section) -> StateError:
    return StateError(
        f"{section.topic}[{section.partition}] continues at offset {section.from_offset} although other source "
        "partitions were reset",
        action="stop all workers, reset the offsets of the whole ingest group (--all-topics), and start again",
    )
