"""Reads an archive back as records: what Kafka had, in the same order.

In: an archive and a range of record time. Out: its records by topic, partition and offset, byte for byte and once each.
Reading takes the memory of one row group per file of a cut.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, groupby
from operator import attrgetter

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from streams.archive.names import ArchiveFile, ArchiveListing, Hole
from streams.archive.rows import RawRecord
from streams.archive.schema import FORMAT, FORMAT_KEY, OLDER, SCHEMA
from streams.archive.store import Store
from streams.errors import StateError
from streams.windows.clock import Source
from streams.windows.sessions import LostTime

_COLUMNS = ["partition", "offset", "timestamp_ms", "key", "headers", "value", "unreadable"]
_TIME_INDEX = SCHEMA.get_field_index("timestamp_ms")


def records(
    url: str, from_ms: int | None = None, to_ms: int | None = None, topics: tuple[str, ...] | None = None
) -> Iterator[RawRecord]:
    """Yield the records with a timestamp in `[from_ms, to_ms)`; None means no bound, no topics means all topics.

    Raises:
        ConfigError: the URL cannot be used.
        StateError: the archive cannot be read.
    """
    yield from chain.from_iterable(by_partition(url, from_ms, to_ms, topics).values())


def by_partition(
    url: str, from_ms: int | None = None, to_ms: int | None = None, topics: tuple[str, ...] | None = None
) -> dict[Source, Iterator[RawRecord]]:
    """Return the same by source partition, to read them side by side.

    Raises:
        ConfigError: the URL cannot be used.
        StateError: the archive cannot be read.
    """
    store = Store.at(url)
    files = chosen(store.listing(), from_ms, to_ms, topics)
    partitions = groupby(files, key=lambda file: (file.topic, file.partition))
    return {source: _partition(store, list(of_source), from_ms, to_ms) for source, of_source in partitions}


def _partition(store: Store, files: list[ArchiveFile], from_ms: int | None, to_ms: int | None) -> Iterator[RawRecord]:
    for _, of_cut in groupby(files, key=attrgetter("first_offset")):
        of_files = [_records(store, file, from_ms, to_ms) for file in of_cut]
        yield from heapq.merge(*of_files, key=attrgetter("offset"))


def chosen(
    listing: ArchiveListing, from_ms: int | None, to_ms: int | None, topics: tuple[str, ...] | None
) -> list[ArchiveFile]:
    """Return the files that may have such records."""
    return [
        file for file in listing.files if file.overlaps(from_ms, to_ms) and (topics is None or file.topic in topics)
    ]


def lost(store: Store, listing: ArchiveListing, out_of_order_ms: int) -> list[LostTime]:
    """Return the times in which records are missing: from the last one before a hole to the first one after it."""
    return [_lost(store, listing, hole, out_of_order_ms) for hole in listing.holes]


def _lost(store: Store, listing: ArchiveListing, hole: Hole, out_of_order_ms: int) -> LostTime:
    of_partition = [file for file in listing.files if (file.topic, file.partition) == (hole.topic, hole.partition)]
    before = [times(store, file)[1] for file in of_partition if file.end_offset == hole.from_offset]
    after = [times(store, file)[0] for file in of_partition if file.first_offset == hole.to_offset]
    # A record may be stamped out_of_order before an earlier one, on either side of the hole.
    return LostTime(hole.topic, hole.partition, max(before) - out_of_order_ms, max(after) + out_of_order_ms)


@contextmanager
def opened(store: Store, file: ArchiveFile) -> Iterator[pq.ParquetFile]:
    """Open a file of the archive for reading within this context.

    Raises:
        StateError: it is damaged, unreachable, or of another format.
    """
    try:
        with store.open(file) as content:
            parquet = pq.ParquetFile(content)
            check_formats([(parquet.metadata.metadata or {}).get(FORMAT_KEY.encode(), b"").decode()])
            yield parquet
    except (OSError, pa.ArrowException) as error:
        raise StateError(
            f"{store.path(file)} cannot be read: {error}",
            action="check that the archive is reachable and restore the file from a backup, or delete it: its records "
            "then count as lost",
        ) from error


def check_formats(formats: Iterable[str]) -> None:
    """Check that files of these formats can be read.

    Raises:
        StateError: one of them is not supported.
    """
    if others := set(formats) - OLDER - {FORMAT}:
        named = ", ".join(sorted(each or "none" for each in others))
        raise StateError(
            f"the archive has files of format {named}, this version reads format {FORMAT}",
            action="use the version of betrace that wrote them, or a newer one",
        )


def times(store: Store, file: ArchiveFile) -> tuple[int, int]:
    """Return the lowest and the highest timestamp in a file."""
    with opened(store, file) as parquet:
        ranges = [_range(parquet.metadata, number) for number in range(parquet.num_row_groups)]
    return min(low for low, _ in ranges), max(high for _, high in ranges)


def _range(metadata: pq.FileMetaData, number: int) -> tuple[int, int]:
    statistics = metadata.row_group(number).column(_TIME_INDEX).statistics
    return statistics.min, statistics.max


def _records(store: Store, file: ArchiveFile, from_ms: int | None, to_ms: int | None) -> Iterator[RawRecord]:
    """Yield the records of one file by offset: row groups are in that order, and within one rows are sorted by time."""
    with opened(store, file) as parquet:
        for number in range(parquet.num_row_groups):
            low_ms, high_ms = _range(parquet.metadata, number)
            if (to_ms is not None and low_ms >= to_ms) or (from_ms is not None and high_ms < from_ms):
                continue
            yield from _of_group(
                parquet.read_row_group(number, columns=_COLUMNS, use_threads=False), file, from_ms, to_ms
            )


def _of_group(group: pa.Table, file: ArchiveFile, from_ms: int | None, to_ms: int | None) -> Iterator[RawRecord]:
    is_first = pc.or_(pc.is_valid(group["value"]), pc.is_valid(group["unreadable"]))
    rows = group.filter(is_first).sort_by("offset").drop_columns("unreadable")
    for partition, offset, time_ms, key, headers, value in zip(*rows.to_pydict().values(), strict=True):
        if offset < file.skip_below or (from_ms is not None and time_ms < from_ms):
            continue
        if to_ms is None or time_ms < to_ms:
            pairs = tuple((header["key"], header["value"]) for header in headers or ())
            yield RawRecord(file.topic, partition, offset, time_ms, key, value, pairs)
