"""Tests archives that cannot be read: each reports that, with advice."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from streams.archive import schema
from streams.archive.read import records
from streams.archive.rows import RawRecord
from streams.archive.store import Store
from streams.archive.write import PartitionWriter
from streams.errors import StateError

START_MS = 1_795_255_200_000


def write(url: str) -> Path:
    """Archives a few records, and returns the path of their file."""
    writer = PartitionWriter(store=Store.at(url), topic="otlp_spans", partition=0, first_offset=0, topic_id="id")
    for offset in range(100):
        writer.add(RawRecord("otlp_spans", 0, offset, START_MS + offset, None, b"no request"))
    [written] = writer.cut(100)
    return Path(url) / written.file.name


def test_local_file(tmp_path: Path) -> None:
    """Arrow opens it itself: its threads hold no Python object that would abort a process that ends."""
    write(str(tmp_path))
    store = Store.at(str(tmp_path))
    [file] = store.listing().files

    with store.open(file) as opened:
        assert isinstance(opened, pa.OSFile)


def test_newer_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of an unknown version are refused."""
    with monkeypatch.context() as patched:
        patched.setattr(schema, "FORMAT", "4")
        write(str(tmp_path))

    with pytest.raises(StateError, match=r"format 4, this version reads format 3\. Action: use the version of betrace"):
        list(records(str(tmp_path)))


def test_foreign_parquet_file(tmp_path: Path) -> None:
    """A Parquet file with a valid name that betrace did not write is refused."""
    path = write(str(tmp_path))
    pq.write_table(pa.table({"a": [1]}), path)

    with pytest.raises(StateError, match="format none"):
        list(records(str(tmp_path)))


@pytest.mark.parametrize("kept_bytes", [0, 7, 200, -1])
def test_damaged_file(tmp_path: Path, kept_bytes: int) -> None:
    """A truncated file is named."""
    path = write(str(tmp_path))
    path.write_bytes(path.read_bytes()[:kept_bytes])

    with pytest.raises(StateError, match=r"offsets-0-to-99-file-1-of-1\.parquet cannot be read"):
        list(records(str(tmp_path)))


def test_damaged_page(tmp_path: Path) -> None:
    """Bytes that changed on the disk are detected while reading, and the file is named."""
    path = write(str(tmp_path))
    content = bytearray(path.read_bytes())
    content[4:2000] = bytes(len(content[4:2000]))
    path.write_bytes(content)

    with pytest.raises(StateError, match="cannot be read"):
        list(records(str(tmp_path)))
