"""Tests records to files and back: byte for byte, each once, whenever the writer is killed."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from streams.archive.names import HOUR_MS
from streams.archive.read import by_partition, records
from streams.archive.rows import RawRecord, Rows
from streams.archive.store import Store
from streams.archive.write import PartitionWriter
from tests.support import paths
from topics.embedded import capture

CORPUS = paths.CORPUS
TEN_MS = 1_795_255_200_000


@pytest.fixture(params=["directory", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A directory, and a file system that is not of this machine."""
    return str(tmp_path) if request.param == "directory" else f"memory://{tmp_path.name}"


def corpus_records(topic: str = "otlp_spans", partition: int = 0, count: int = 60) -> list[RawRecord]:
    """Records around ten o'clock, some of them late, one unreadable, one a tombstone."""
    frames = list(capture.read(CORPUS / "partitioned_proto.bin.gz"))[:count]
    chance = random.Random(7)
    made = [
        RawRecord(topic, partition, 2 * at, TEN_MS - 3000 + at * 100 - chance.randrange(500), frame.key, frame.value)
        for at, frame in enumerate(frames)
    ]
    made[5] = made[5]._replace(value=b"hello", headers=(("reason", b"test"), ("none", None)))
    made[6] = made[6]._replace(value=None)
    made[40] = made[40]._replace(timestamp_ms=TEN_MS - 2 * HOUR_MS)
    return made


def writer(url: str, first_offset: int = 0, topic: str = "otlp_spans", partition: int = 0) -> PartitionWriter:
    """A writer of a partition."""
    return PartitionWriter(
        store=Store.at(url), topic=topic, partition=partition, first_offset=first_offset, topic_id="id"
    )


def test_records_round_trip(url: str) -> None:
    """Archived records are read back by topic, partition and offset, however they were cut."""
    sent = [
        *corpus_records("otlp_logs"),
        *corpus_records("otlp_spans", 0),
        *corpus_records("otlp_spans", 11),
    ]
    for topic, partition in (("otlp_spans", 11), ("otlp_logs", 0), ("otlp_spans", 0)):
        writing = writer(url, 0, topic, partition)
        for at, record in enumerate(each for each in sent if (each.topic, each.partition) == (topic, partition)):
            writing.add(record)
            if at == 30:
                writing.cut(record.offset + 1)
        writing.cut(sent[-1].offset + 1)

    assert sent == list(records(url))
    assert [("otlp_logs", 0), ("otlp_spans", 0), ("otlp_spans", 11)] == list(by_partition(url))
    assert sent[:60] == list(records(url, topics=("otlp_logs",)))


def test_range_of_time(url: str) -> None:
    """Only records with a timestamp in the range are returned, and only files of its hours are opened."""
    writing = writer(url)
    sent = corpus_records()
    for record in sent:
        writing.add(record)
    writing.cut(1000)

    expected = [each for each in sent if TEN_MS - 1000 <= each.timestamp_ms < TEN_MS + 500]

    assert expected == list(records(url, TEN_MS - 1000, TEN_MS + 500))


def test_times_beyond_the_calendar(url: str) -> None:
    """A record may claim any time: before 1970, after 9999, or none."""
    writing = writer(url)
    [one] = corpus_records(count=41)[40:]
    sent = [one._replace(offset=at, timestamp_ms=each) for at, each in enumerate((-1, 0, -(1 << 63), (1 << 63) - 1))]
    for record in sent:
        writing.add(record)
    writing.cut(4)

    assert sent == list(records(url))
    assert sent[3:] == list(records(url, from_ms=1 << 62))
    assert [sent[0], sent[2]] == list(records(url, to_ms=0))


def test_one_file_per_hour(tmp_path: Path) -> None:
    """A cut has a file for each hour of its timestamps, sorted by time; it is not visible before it is complete."""
    writing = writer(str(tmp_path))
    for record in corpus_records():
        writing.add(record)
    before = Store.at(str(tmp_path)).listing().files

    files = [written.file for written in writing.cut(1000)]

    assert before == ()
    assert [TEN_MS - 2 * HOUR_MS, TEN_MS - HOUR_MS, TEN_MS] == [file.hour_ms for file in files]
    assert [(0, 1000, 3)] * 3 == [(file.first_offset, file.end_offset, file.count) for file in files]
    for file in files:
        times_ms = pq.read_table(tmp_path / file.name, columns=["timestamp_ms"])["timestamp_ms"].to_pylist()
        assert sorted(times_ms) == times_ms
    assert not list(tmp_path.rglob("*.part"))


def test_files_report_their_counts(url: str) -> None:
    """Each file reports its numbers of records, spans and unreadable records."""
    writing = writer(url)
    sent = corpus_records()
    for record in sent:
        writing.add(record)
        writing.spill()

    written = writing.cut(1000)

    assert (1, 0) == (written[0].record_count, written[0].unreadable_count)
    assert (len(sent), 2) == (
        sum(each.record_count for each in written),
        sum(each.unreadable_count for each in written),
    )
    readable = [frame for at, frame in enumerate(capture.read(CORPUS / "partitioned_proto.bin.gz")) if at < len(sent)]
    del readable[5:7]
    assert sum(each.span_count for each in written) == sum(
        len(scope.spans)
        for frame in readable
        for spans in ExportTraceServiceRequest.FromString(frame.value).resource_spans
        for scope in spans.scope_spans
    )


def test_spilling_loses_nothing(url: str) -> None:
    """Spilling moves what waits to the files, row group by row group, and loses nothing."""
    writing = writer(url)
    sent = corpus_records()
    for record in sent:
        writing.add(record)
        if record.offset % 10 == 0:
            before_bytes = writing.waiting_bytes
            writing.spill()
            assert writing.waiting_bytes < before_bytes
    [*_, last] = writing.cut(1000)

    assert sent == list(records(url))
    with Store.at(url).open(last.file) as opened:
        assert pq.ParquetFile(opened).num_row_groups > 1


def test_cut_without_records() -> None:
    """Without records no file is written, and the next cut begins where this one did."""
    writing = writer("memory://nothing", first_offset=7)

    assert writing.cut(20) == []
    assert writing.first_offset == 7


@pytest.mark.parametrize("named", [0, 1, 2, 3])
def test_killed_while_files_are_renamed(tmp_path: Path, named: int) -> None:
    """A cut counts when its last file has its name; before that it does not exist."""
    first, second = corpus_records()[:20], corpus_records()[20:]
    writing = writer(str(tmp_path))
    for record in first:
        writing.add(record)
    writing.cut(second[0].offset)
    for record in second:
        writing.add(record)
    files = [written.file for written in writing.cut(1000)]
    for file in files[named:]:
        (tmp_path / file.name).rename(tmp_path / f"{file.name}.part")

    found = Store.at(str(tmp_path)).listing()

    is_whole = named == len(files)
    assert (first + second if is_whole else first) == list(records(str(tmp_path)))
    assert ([] if is_whole else files[:named]) == list(found.leftovers)
    assert (1000 if is_whole else second[0].offset) == found.end_offset("otlp_spans", 0)


def test_overlapping_cuts(url: str) -> None:
    """Two concurrent archivers do not duplicate a record."""
    sent = corpus_records()
    for chosen in (sent[:40], sent[20:]):
        writing = writer(url, chosen[0].offset)
        for record in chosen:
            writing.add(record)
        writing.cut(chosen[-1].offset + 1)

    assert sent == list(records(url))


def test_incomplete_files_are_removed(tmp_path: Path) -> None:
    """Incomplete files of a partition are removed, and nothing of another partition."""
    for partition in (1, 11):
        writer(str(tmp_path), partition=partition).add(corpus_records()[0])

    Store.at(str(tmp_path)).remove_parts("otlp_spans", 1)

    assert ["partition-11-offsets-0.part"] == [path.name for path in tmp_path.rglob("*.part")]


def test_missing_directory_is_an_empty_archive(tmp_path: Path) -> None:
    """A directory that does not exist is an empty archive."""
    assert list(records(str(tmp_path / "none"))) == []


def test_rows_are_sorted_by_time_and_keep_their_record_together(tmp_path: Path) -> None:
    """Rows of one record are together, those of an earlier time first."""
    writing = writer(str(tmp_path))
    late, early = (corpus_records()[at]._replace(timestamp_ms=TEN_MS + 9 - at) for at in (0, 1))
    rows = Rows()
    for record in (early, late):
        writing.add(record._replace(offset=9 if record is early else 4))
        rows.add(record)
    [written] = writing.cut(10)

    actual = pq.read_table(tmp_path / written.file.name, columns=["offset"])["offset"].to_pylist()

    assert [9] * actual.count(9) + [4] * actual.count(4) == actual
    assert len(rows) == len(actual)
