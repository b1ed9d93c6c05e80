"""What the engine says of an archive: every record is decoded, projected, and sorted into windows."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from operator import attrgetter

from streams.archive.query import ArchiveRequest
from streams.archive.read import by_partition
from streams.archive.rows import RawRecord
from streams.decode.decoder import Decoder
from streams.errors import RecordError
from streams.projection.budget import Budget, project
from streams.projection.project import Projector
from streams.windows.close import Close
from streams.windows.reorder import Arrival
from streams.windows.sessions import Sessions, counted_atoms
from topics.otlp.requests import RecordKind
from topics.records.facts import TICK_MS, Entry, Touch, pack_touches


def closes(url: str, request: ArchiveRequest) -> Iterator[Close]:
    """The closed windows of all traces; each must be judged before the next one is requested."""
    projector = request.projector
    decoder = Decoder(projector.interest)
    atoms = projector.rules.atoms.values()
    sessions = Sessions(request.bounds, counted_atoms((atom.fingerprint, atom.counted) for atom in atoms))
    partitions = by_partition(url, request.from_ms, request.to_ms, request.topics).values()
    clock_ms = 0
    for record in heapq.merge(*partitions, key=attrgetter("timestamp_ms")):
        if record.timestamp_ms // TICK_MS > clock_ms // TICK_MS:
            clock_ms = record.timestamp_ms
            yield from sessions.advance(clock_ms)
        _take_in(sessions, record, projector, decoder)
    yield from sessions.advance(max(clock_ms, request.clock_ms or 0))
    yield from sessions.end()


def _take_in(sessions: Sessions, record: RawRecord, projector: Projector, decoder: Decoder) -> None:
    try:
        decoded = decoder.decode(record.value, RecordKind.LOGS if "log" in record.topic else RecordKind.SPANS)
    except RecordError:
        return
    tick = record.timestamp_ms // TICK_MS
    room_bytes = Budget().facts_bytes(len(record.value or b""))
    for trace_id, span_count, root_seen, facts, is_incomplete in project(decoded, projector, room_bytes).traces:
        if facts or is_incomplete:
            entry = Entry(trace_id, record.offset, record.offset, tick, span_count, root_seen, facts, is_incomplete)
            sessions.buffer.add(tick, Arrival(record.topic, record.partition, entry), 0)
        else:
            sessions.buffer.add_touches(tick, pack_touches([Touch(trace_id, tick, span_count)]), 0)
