"""Tests file names: what they encode, and which files are read."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.archive.names import HOUR_MS, ArchiveFile, Hole, listing, parse

NINE_MS = int(datetime(2026, 11, 21, 9, tzinfo=UTC).timestamp() * 1000)


def file(first: int, end: int, number: int = 1, count: int = 1, hour_ms: int = NINE_MS) -> ArchiveFile:
    """A file of partition 3."""
    return ArchiveFile(
        topic="otlp_spans", partition=3, first_offset=first, end_offset=end, hour_ms=hour_ms, number=number, count=count
    )


@given(
    st.builds(
        ArchiveFile,
        topic=st.from_regex(r"[a-zA-Z0-9._-]{1,249}", fullmatch=True),
        partition=st.integers(0, 10_000),
        first_offset=st.integers(0, 1 << 62),
        end_offset=st.integers(1, 1 << 62),
        hour_ms=st.integers(0, 4_000_000_000_000 // HOUR_MS).map(lambda hour: hour * HOUR_MS),
        number=st.integers(1, 9),
        count=st.integers(1, 9),
    )
)
def test_name_round_trip(made: ArchiveFile) -> None:
    """A file's name decodes to the same file, wherever the archive is."""
    assert made == parse(f"bucket/archive/{made.name}")


@pytest.mark.parametrize(
    "path",
    [
        "archive/README.md",
        f"archive/{file(0, 9).name}.part",
        f"archive/{file(0, 9).name}".replace("2026-11-21", "2026-13-21"),
        f"archive/{file(0, 9).name}".replace("partition-3", "partition-x"),
    ],
)
def test_other_files_are_ignored(path: str) -> None:
    """Files with other names are ignored."""
    assert parse(path) is None


def test_cuts_follow_one_another() -> None:
    """Consecutive cuts are read in the order of their offsets, without a hole."""
    found = listing([file(10, 20), file(0, 10)])

    assert ([0, 10], (), ()) == ([each.first_offset for each in found.files], found.holes, found.leftovers)
    assert found.end_offset("otlp_spans", 3) == 20
    assert found.end_offset("otlp_spans", 4) is None


def test_hole() -> None:
    """A cut that begins after the end of the one before leaves a hole."""
    found = listing([file(0, 10), file(15, 20)])

    assert (Hole("otlp_spans", 3, 10, 15),) == found.holes


def test_incomplete_last_cut_is_a_leftover() -> None:
    """A cut whose second file was never named does not count, and may be deleted."""
    begun = file(10, 20, 1, 2)

    found = listing([file(0, 10), begun])

    assert ((file(0, 10),), (begun,)) == (found.files, found.leftovers)
    assert found.end_offset("otlp_spans", 3) == 10


def test_incomplete_older_cut_counts() -> None:
    """Deleting the folder of an hour deletes no record of another."""
    found = listing([file(0, 10, 2, 2, NINE_MS + HOUR_MS), file(10, 20)])

    assert len(found.files) == 2


def test_complete_cut_replaces_an_incomplete_one() -> None:
    """Of two cuts that begin at one offset, the complete one counts."""
    found = listing([file(0, 8, 1, 2), file(0, 10)])

    assert ((file(0, 10),), (file(0, 8, 1, 2),)) == (found.files, found.leftovers)


def test_overlapping_cuts_count_each_record_once() -> None:
    """Of two concurrent archivers, the later cut is read from where the earlier one ends."""
    found = listing([file(0, 10), file(5, 15), file(6, 9)])

    assert [(0, 0), (5, 10)] == [(each.first_offset, each.skip_below) for each in found.files]
    assert [file(6, 9)] == list(found.leftovers)


@pytest.mark.parametrize(
    ("from_ms", "to_ms", "expected"),
    [
        (None, None, True),
        (NINE_MS + HOUR_MS - 1, None, True),
        (NINE_MS + HOUR_MS, None, False),
        (None, NINE_MS, False),
        (None, NINE_MS + 1, True),
    ],
)
def test_hour_overlaps_range(from_ms: int | None, to_ms: int | None, *, expected: bool) -> None:
    """A range ends before its last millisecond, and so does an hour."""
    assert expected is file(0, 9).overlaps(from_ms, to_ms)
