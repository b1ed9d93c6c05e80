"""One flush of ingest: everything projected since the last one, as messages for every facts partition.

In: projected records of source partitions. Out: for each facts partition the bytes of its messages, each within the
broker's limit. Every facts partition gets a message, even an empty one, because it carries the watermarks.

Records of one trace share an entry only within one tick. A message beyond the limit is split. All parts but the last
leave the source offset and the watermark unchanged, so a reader that saw only some parts gets the rest again and, facts
being idempotent, reaches the same state.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from streams.decode import touches
from streams.decode.batches import Touches
from streams.errors import ConfigError
from topics.records.facts import NO_SPAN, TOUCH_BYTES, VERSION, Entry, Fact, Facts, Section, encode, pack_touch

PIECE_TOUCHES = 1024
MAX_SERVICES = 1_000
"""The most services that a message names."""
HEADERS_BYTES = 8
"""The most bytes by which a piece lengthens the length fields of a message."""

MORE_WORKERS = "start more ingest workers, so that each has fewer source partitions"


@dataclass(slots=True)
class _Group:
    """The facts of one trace in one tick, with the offsets of the first and last record that contributed any.

    `is_incomplete` is as in `topics.records.facts.Entry`.
    """

    first_offset: int
    offset: int
    facts: list[Fact]
    is_incomplete: bool = False


@dataclass(slots=True, kw_only=True)
class SectionBuilder:
    """Collects the next sections of one source partition; `[from_offset, to_offset)` grows as records are added.

    `touches` has all traces, by tick; `groups` those with facts. `out_of_bounds` has those with a record that counts at
    a time other than its timestamp. `services` sent the records: all of them, or more than a message names.
    """

    topic: str
    partition: int
    epoch: int
    partition_count: int
    from_offset: int
    to_offset: int
    lost: list[tuple[int, int]] = field(default_factory=list)
    dead_letters: list[tuple[int, int]] = field(default_factory=list)
    replay: int = 0
    start_ms: int | None = None
    missing_until_ms: int | None = None
    lost_until_ms: int | None = None
    rules_since_ms: int | None = None
    touches: Touches = field(default_factory=touches.new_touches)
    groups: dict[tuple[bytes, int], _Group] = field(default_factory=dict)
    out_of_bounds: set[tuple[bytes, int]] = field(default_factory=set)
    services: set[str] = field(default_factory=set)

    def add(
        self,
        trace_id: bytes,
        tick: int,
        offset: int,
        span_count: int,
        facts: list[Fact],
        *,
        root_seen: bool,
        is_incomplete: bool = False,
    ) -> None:
        """Add one trace of a record; the builder keeps the list `facts`."""
        self.touches.add(trace_id, tick, span_count, root_seen)
        if facts or is_incomplete:
            self.add_facts(trace_id, tick, offset, facts, is_incomplete=is_incomplete)

    def add_facts(
        self, trace_id: bytes, tick: int, offset: int, facts: list[Fact], *, is_incomplete: bool = False
    ) -> None:
        """Add the facts of one trace of a record, whose touch was added before; the builder keeps the list."""
        group = self.groups.get((trace_id, tick))
        if group is None:
            # Not the offset of a touch: which touches share a group depends on the time of the flush.
            self.groups[trace_id, tick] = _Group(offset, offset, facts, is_incomplete)
            return
        group.offset = offset
        group.facts.extend(facts)
        group.is_incomplete |= is_incomplete

    def add_services(self, names: set[str]) -> None:
        """Add the services that sent a record; more than a message can name are not collected."""
        if len(self.services) <= MAX_SERVICES:
            self.services |= names

    def add_dead_letter(self, offset: int) -> None:
        """Add a record that could not be decoded or was refused; adjacent ones form one range."""
        if self.dead_letters and self.dead_letters[-1][1] == offset:
            self.dead_letters[-1] = (self.dead_letters[-1][0], offset + 1)
        else:
            self.dead_letters.append((offset, offset + 1))

    def sections(self, facts_partitions: int, watermark_ms: int | None) -> list[Section]:
        """Build one section per facts partition; this consumes the touches of traces with facts."""
        entries: list[list[Entry]] = [[] for _ in range(facts_partitions)]
        for (trace_id, tick), group in self.groups.items():
            span_count, root_seen = self.touches.take(trace_id, tick)
            entries[self.touches.partition_of(trace_id, facts_partitions)].append(
                Entry(
                    trace_id,
                    group.first_offset,
                    group.offset,
                    tick,
                    span_count,
                    root_seen,
                    group.facts,
                    group.is_incomplete,
                )
            )
        out_of_bounds = self._out_of_bounds_touches(facts_partitions)
        return [
            self._section(watermark_ms, packed + touches, entered)
            for packed, touches, entered in zip(
                self.touches.pack(facts_partitions), out_of_bounds, entries, strict=True
            )
        ]

    def _out_of_bounds_touches(self, facts_partitions: int) -> list[bytes]:
        """Return, per facts partition, a touch without a span for each trace with a record out of bounds."""
        touches = [b""] * facts_partitions
        for trace_id, tick in sorted(self.out_of_bounds):
            touches[self.touches.partition_of(trace_id, facts_partitions)] += pack_touch(trace_id, tick, NO_SPAN)
        return touches

    def _section(self, watermark_ms: int | None, touches: bytes, entries: list[Entry]) -> Section:
        return Section(
            topic=self.topic,
            partition=self.partition,
            epoch=self.epoch,
            replay=self.replay,
            start_ms=self.start_ms,
            partition_count=self.partition_count,
            from_offset=self.from_offset,
            to_offset=self.to_offset,
            watermark_ms=watermark_ms,
            lost=self.lost,
            touches=touches,
            entries=entries,
            dead_letters=self.dead_letters,
            missing_until_ms=self.missing_until_ms,
            lost_until_ms=self.lost_until_ms,
            rules_since_ms=self.rules_since_ms,
        )


def messages(
    rules: str, sections: list[Section], limit_bytes: int, services: frozenset[str] = frozenset()
) -> list[bytes]:
    """Return the message of one facts partition, in parts no larger than `limit_bytes`.

    Raises:
        ConfigError: the data of the source partitions alone leaves no room for a fact.
    """
    named = sorted(services)[:MAX_SERVICES]
    last = Facts(
        version=VERSION, rules=rules, sections=sections, services=named, has_more_services=len(services) > MAX_SERVICES
    )
    whole = encode(last)
    if len(whole) <= limit_bytes:
        return [whole]
    return list(_parts(last, limit_bytes))


def _parts(whole: Facts, limit_bytes: int) -> Iterator[bytes]:
    rules, sections = whole.rules, whole.sections
    bare = [_bare(section) for section in sections]
    emptied = msgspec.structs.replace(whole, sections=[_emptied(section) for section in sections])
    room_bytes = limit_bytes - len(encode(emptied))
    if room_bytes < 0:
        raise _too_large("the header data of all source partitions", room_bytes, MORE_WORKERS)
    filled_bytes = 0
    part = list(bare)
    for at, piece, piece_bytes in _pieces(sections, room_bytes):
        if filled_bytes and filled_bytes + piece_bytes > room_bytes:
            yield encode(Facts(version=VERSION, rules=rules, sections=part))
            part, filled_bytes = list(bare), 0
        part[at] = _merged(part[at], piece)
        filled_bytes += piece_bytes
    completed = [_merged(_emptied(section), filled) for section, filled in zip(sections, part, strict=True)]
    yield encode(msgspec.structs.replace(whole, sections=completed))


def _pieces(sections: list[Section], room_bytes: int) -> Iterator[tuple[int, Section, int]]:
    for at, section in enumerate(sections):
        for packed in _split_touches(section.touches, room_bytes):
            yield at, msgspec.structs.replace(_bare(section), touches=packed), len(packed) + HEADERS_BYTES
        for entry in section.entries:
            for piece in _split_entry(entry, room_bytes):
                piece_bytes = len(msgspec.msgpack.encode(piece)) + HEADERS_BYTES
                yield at, msgspec.structs.replace(_bare(section), entries=[piece]), piece_bytes


def _split_touches(touches: bytes, room_bytes: int) -> Iterator[bytes]:
    count = min(PIECE_TOUCHES, (room_bytes - HEADERS_BYTES) // TOUCH_BYTES)
    if touches and count < 1:
        raise _too_large("a touch", room_bytes, MORE_WORKERS)
    for start in range(0, len(touches), max(count, 1) * TOUCH_BYTES):
        yield touches[start : start + count * TOUCH_BYTES]


def _split_entry(entry: Entry, room_bytes: int) -> Iterator[Entry]:
    if len(msgspec.msgpack.encode(entry)) + HEADERS_BYTES <= room_bytes:
        yield entry
        return
    half = len(entry.facts) // 2
    if not half:
        # One fact has at most FACT_BYTES (streams.projection.budget), so the source partitions take the room.
        raise _too_large("a fact", room_bytes, MORE_WORKERS)
    yield from _split_entry(msgspec.structs.replace(entry, facts=entry.facts[:half]), room_bytes)
    rest = msgspec.structs.replace(entry, facts=entry.facts[half:], span_count=0)
    yield from _split_entry(rest, room_bytes)


def _too_large(what: str, room_bytes: int, help_text: str) -> ConfigError:
    return ConfigError(f"{what} is larger than the room in a facts message ({room_bytes} bytes): {help_text}")


def _emptied(section: Section) -> Section:
    return msgspec.structs.replace(section, touches=b"", entries=[])


def _bare(section: Section) -> Section:
    """Return the section for a part before the last: without data, and without a new position or watermark."""
    return msgspec.structs.replace(
        section,
        to_offset=section.from_offset,
        watermark_ms=None,
        lost=[],
        dead_letters=[],
        touches=b"",
        entries=[],
    )


def _merged(section: Section, piece: Section) -> Section:
    return msgspec.structs.replace(
        section, touches=section.touches + piece.touches, entries=section.entries + piece.entries
    )
