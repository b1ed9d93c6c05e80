"""Defines which file has which record: the file names say it all, there is no manifest.

    topic=otlp_spans/date=2026-11-21/hour=09/partition-3-offsets-1200-to-1599-file-1-of-2.parquet

A *cut* is a range of offsets of one partition that was written at once. Its records are in one file per hour of their
Kafka timestamps (UTC): nearly always one, but a late record has a file in the hour it belongs to. A cut exists once all
its files do: the count reveals an incomplete one, which a killed archiver left behind as the last of its partition.

Cuts of a partition follow one another; if the next one begins further on, the records between are lost. Two archivers
at once may write cuts that overlap: a record then counts in the first of them.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby

HOUR_MS = 3_600_000
LAST_HOUR_MS = 253_402_297_200_000
"""The last hour of the year 9999: the calendar has no later one, but a record may claim it."""

_NAME = re.compile(
    r"topic=(?P<topic>[^/]+)/date=(?P<date>\d{4}-\d\d-\d\d)/hour=(?P<hour>\d\d)/"
    r"partition-(?P<partition>\d+)-offsets-(?P<first>\d+)-to-(?P<last>\d+)-file-(?P<number>\d+)-of-(?P<count>\d+)\.parquet"
)


@dataclass(frozen=True, slots=True, order=True, kw_only=True)
class ArchiveFile:
    """One file: the records of a partition with offsets `[first_offset, end_offset)` and a timestamp in its hour.

    It is file `number` of `count` of its cut. Records below `skip_below` count in another cut.
    """

    topic: str
    partition: int
    first_offset: int
    end_offset: int
    hour_ms: int
    number: int
    count: int
    skip_below: int = 0

    @property
    def name(self) -> str:
        """The path below the archive's root."""
        return (
            f"{folder(self.topic, self.hour_ms)}/partition-{self.partition}-offsets-{self.first_offset}-to-"
            f"{self.end_offset - 1}-file-{self.number}-of-{self.count}.parquet"
        )

    @property
    def cut(self) -> Cut:
        """The cut that contains the file."""
        return Cut(
            topic=self.topic,
            partition=self.partition,
            first_offset=self.first_offset,
            end_offset=self.end_offset,
            count=self.count,
        )

    def overlaps(self, from_ms: int | None, to_ms: int | None) -> bool:
        """Return whether it may have a record with a timestamp in `[from_ms, to_ms)`; None means no bound."""
        is_late_enough = from_ms is None or self.hour_ms + HOUR_MS > from_ms or self.hour_ms == LAST_HOUR_MS
        return is_late_enough and (to_ms is None or self.hour_ms < to_ms or self.hour_ms == 0)


@dataclass(frozen=True, slots=True, order=True, kw_only=True)
class Cut:
    """Offsets `[first_offset, end_offset)` of a partition, in `count` files."""

    topic: str
    partition: int
    first_offset: int
    end_offset: int
    count: int


@dataclass(frozen=True, slots=True)
class Hole:
    """Offsets `[from_offset, to_offset)` of a partition that are in no file, between two cuts."""

    topic: str
    partition: int
    from_offset: int
    to_offset: int


@dataclass(frozen=True, slots=True)
class ArchiveListing:
    """The content of an archive: its files in the order of topic, partition and offset, the holes, and leftovers.

    `leftovers` are the files of incomplete cuts: nobody reads them, and the archiver deletes them.
    """

    files: tuple[ArchiveFile, ...]
    holes: tuple[Hole, ...]
    leftovers: tuple[ArchiveFile, ...]

    def end_offset(self, topic: str, partition: int) -> int | None:
        """Return where the archive of a partition ends, None if there is none."""
        ends = (file.end_offset for file in self.files if (file.topic, file.partition) == (topic, partition))
        return max(ends, default=None)


def hour_of(timestamp_ms: int) -> int:
    """Return the start of the hour whose file has a record with this timestamp, clamped to the years 1970 to 9999.

    >>> hour_of(1795255199999), hour_of(-1), hour_of(1 << 62)
    (1795251600000, 0, 253402297200000)
    """
    return min(max(timestamp_ms // HOUR_MS * HOUR_MS, 0), LAST_HOUR_MS)


def folder(topic: str, hour_ms: int) -> str:
    """Return the folder of the files of an hour.

    >>> folder("otlp_spans", 1795251600000)
    'topic=otlp_spans/date=2026-11-21/hour=09'
    """
    return f"topic={topic}/date={datetime.fromtimestamp(hour_ms // 1000, UTC):%Y-%m-%d/hour=%H}"


def parse(path: str) -> ArchiveFile | None:
    """Return the file at a path that ends as the names of an archive do, None for any other.

    >>> offsets = {"first_offset": 1200, "end_offset": 1600}
    >>> file = ArchiveFile(topic="otlp_spans", partition=3, hour_ms=1795251600000, number=1, count=2, **offsets)
    >>> parse("/archive/" + file.name) == file, parse("/archive/notes.txt")
    (True, None)
    """
    match = _NAME.search(path)
    if match is None or match.end() != len(path):
        return None
    try:
        hour = datetime.fromisoformat(f"{match['date']}T{match['hour']}:00:00+00:00")
    except ValueError:
        return None
    numbers = [int(match[name]) for name in ("partition", "first", "last", "number", "count")]
    partition, first, last, number, count = numbers
    return ArchiveFile(
        topic=match["topic"],
        partition=partition,
        first_offset=first,
        end_offset=last + 1,
        hour_ms=int(hour.timestamp()) * 1000,
        number=number,
        count=count,
    )


def listing(files: Iterable[ArchiveFile]) -> ArchiveListing:
    """Return the content of an archive with these files, in any order."""
    kept: list[ArchiveFile] = []
    holes: list[Hole] = []
    leftovers: list[ArchiveFile] = []
    for _, of_partition in groupby(sorted(files), key=lambda file: (file.topic, file.partition)):
        _follow(list(of_partition), kept, holes, leftovers)
    return ArchiveListing(tuple(kept), tuple(holes), tuple(leftovers))


def _follow(files: list[ArchiveFile], kept: list[ArchiveFile], holes: list[Hole], leftovers: list[ArchiveFile]) -> None:
    """Add one partition, from cut to cut."""
    cuts: defaultdict[Cut, list[ArchiveFile]] = defaultdict(list)
    for file in files:
        cuts[file.cut].append(file)
    whole_to = max((cut.end_offset for cut, of_cut in cuts.items() if len(of_cut) == cut.count), default=0)
    position: int | None = None
    for cut, of_cut in sorted(cuts.items(), key=_in_order):
        # An older cut that lacks files was complete once: somebody deleted the folder of an hour.
        is_left_over = len(of_cut) < cut.count and cut.end_offset > whole_to
        if is_left_over or (position is not None and cut.end_offset <= position):
            leftovers += of_cut
            continue
        if position is not None and cut.first_offset > position:
            holes.append(Hole(cut.topic, cut.partition, position, cut.first_offset))
        kept += [_from(file, position) for file in of_cut]
        position = cut.end_offset


def _in_order(item: tuple[Cut, list[ArchiveFile]]) -> tuple[int, bool, int]:
    cut, of_cut = item
    return cut.first_offset, len(of_cut) < cut.count, -cut.end_offset


def _from(file: ArchiveFile, position: int | None) -> ArchiveFile:
    if position is None or file.first_offset >= position:
        return file
    return replace(file, skip_below=position)
