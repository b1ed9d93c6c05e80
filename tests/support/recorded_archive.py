"""Archives the recorded day that the package ships, as `betrace archive` would have."""

from __future__ import annotations

from streams.archive.rows import RawRecord
from streams.archive.store import Store
from streams.archive.write import PartitionWriter
from tests.support.paths import CAPTURES
from topics.embedded import capture

START_MS = 1_795_255_200_000


def write(url: str) -> None:
    """Writes the spans and log records, each topic as one partition; a record a millisecond."""
    for kind in ("spans", "logs"):
        topic = f"otlp_{kind}"
        writer = PartitionWriter(store=Store.at(url), topic=topic, partition=0, first_offset=0, topic_id="id")
        frames = list(capture.read(CAPTURES / f"unkeyed_{kind}.bin.gz"))
        for offset, frame in enumerate(frames):
            writer.add(RawRecord(topic, 0, offset, START_MS + offset, frame.key, frame.value))
        writer.cut(len(frames))
