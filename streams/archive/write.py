"""Writes records of one partition to files, one cut at a time.

In: records in the order of their offsets. Out: files of the archive. A cut is in the archive completely or not at all,
whenever the program is killed; what is not written yet takes a bounded amount of memory, because `spill` moves the
largest part of it to its file.

In a file, row groups are in the order of offsets; the rows of a row group are sorted by record time. If Kafka sets the
timestamps (LogAppendTime) the two orders are the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import pyarrow as pa
import pyarrow.parquet as pq

from streams.archive import names, schema
from streams.archive.names import ArchiveFile
from streams.archive.rows import RawRecord, Rows
from streams.archive.schema import FORMAT_KEY, RUN_BACK_KEY, TOPIC_ID_KEY
from streams.archive.store import Part, Store
from streams.decode.whole import WholeDecoder

BATCH_ROWS = 4096
BATCH_BYTES = 4 << 20
ROW_FACTOR = 10
"""How many times its own size a record takes while its rows are Python objects."""

GROUP_ROWS = 122_880
"""Rows of a row group, as many as DuckDB's own."""


@dataclass(frozen=True, slots=True)
class Written:
    """A file that is now in the archive, and its content; `unreadable_count` of its records are not OTLP."""

    file: ArchiveFile
    record_count: int
    span_count: int
    unreadable_count: int


@dataclass(slots=True, kw_only=True)
class HourFile:
    """The file of one hour of a cut, being written."""

    part: Part
    decoder: WholeDecoder
    rows: Rows = field(init=False)
    tables: list[pa.Table] = field(default_factory=list)
    packed_bytes: int = 0
    record_count: int = 0
    span_count: int = 0
    unreadable_count: int = 0
    _writer: pq.ParquetWriter | None = None

    def __post_init__(self) -> None:
        self.rows = Rows(self.decoder)

    @property
    def waiting_bytes(self) -> int:
        """The approximate memory of records not yet written."""
        return self.packed_bytes + ROW_FACTOR * self.rows.size_bytes

    def add(self, record: RawRecord) -> None:
        """Add a record."""
        self.rows.add(record)
        if len(self.rows) >= BATCH_ROWS or self.rows.size_bytes >= BATCH_BYTES:
            self._pack()
        if sum(table.num_rows for table in self.tables) >= GROUP_ROWS:
            self.spill()

    def spill(self) -> None:
        """Write everything that waits as one row group."""
        if len(self.rows):
            self._pack()
        if not self.tables:
            return
        group = pa.concat_tables(self.tables)
        if self._writer is None:
            self._writer = pq.ParquetWriter(self.part.to, schema.SCHEMA, compression="zstd")
        self._writer.write_table(_sorted(group), row_group_size=max(1, group.num_rows))
        self.tables, self.packed_bytes = [], 0

    def close(self, metadata: dict[str, str]) -> None:
        """Write what waits, and the footer."""
        self.spill()
        if self._writer is not None:
            self._writer.add_key_value_metadata(metadata)
            self._writer.close()
        self.part.close()

    def _pack(self) -> None:
        table = self.rows.table()
        self.record_count += self.rows.record_count
        self.span_count += self.rows.span_count
        self.unreadable_count += self.rows.unreadable_count
        self.rows = Rows(self.decoder)
        self.tables.append(table)
        self.packed_bytes += table.nbytes


@dataclass(slots=True, kw_only=True)
class PartitionWriter:
    """Writes one partition; `first_offset` is where the next cut begins."""

    store: Store
    topic: str
    partition: int
    first_offset: int
    topic_id: str
    decoder: WholeDecoder = field(default_factory=WholeDecoder)
    hours: dict[int, HourFile] = field(default_factory=dict)
    highest_ms: int | None = None
    _run_back_ms: int = 0

    @property
    def waiting_bytes(self) -> int:
        """The approximate memory of records not yet written."""
        return sum(hour.waiting_bytes for hour in self.hours.values())

    def add(self, record: RawRecord) -> None:
        """Add the next record."""
        hour_ms = names.hour_of(record.timestamp_ms)
        hour = self.hours.get(hour_ms)
        if hour is None:
            hour = self.hours[hour_ms] = self._start_hour(hour_ms)
        hour.add(record)
        self.highest_ms = max(record.timestamp_ms, self.highest_ms or 0)
        self._run_back_ms = max(self._run_back_ms, self.highest_ms - record.timestamp_ms)

    def spill(self) -> None:
        """Write the largest part of what waits."""
        max(self.hours.values(), key=lambda hour: hour.waiting_bytes).spill()

    def cut(self, end_offset: int) -> list[Written]:
        """End the cut before `end_offset` and return its files, which are then in the archive; none without records."""
        written = []
        metadata = {
            FORMAT_KEY: schema.FORMAT,
            TOPIC_ID_KEY: self.topic_id,
            RUN_BACK_KEY: str(self._run_back_ms),
        }
        for hour in self.hours.values():
            hour.close(metadata)
        for number, (hour_ms, hour) in enumerate(sorted(self.hours.items()), start=1):
            count = len(self.hours)
            file = ArchiveFile(
                topic=self.topic,
                partition=self.partition,
                first_offset=self.first_offset,
                end_offset=end_offset,
                hour_ms=hour_ms,
                number=number,
                count=count,
            )
            hour.part.finish(file)
            written.append(Written(file, hour.record_count, hour.span_count, hour.unreadable_count))
        if written:
            self.hours, self.first_offset, self._run_back_ms = {}, end_offset, 0
        return written

    def _start_hour(self, hour_ms: int) -> HourFile:
        folder = names.folder(self.topic, hour_ms)
        part = self.store.create(folder, f"partition-{self.partition}-offsets-{self.first_offset}")
        return HourFile(part=part, decoder=self.decoder)


def _sorted(group: pa.Table) -> pa.Table:
    times = group.column("timestamp_ms").to_pylist()
    if all(one <= other for one, other in pairwise(times)):
        return group
    return group.take(pa.array(sorted(range(len(times)), key=times.__getitem__)))
