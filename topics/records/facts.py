"""`betrace.facts`: what ingest extracted from the source records, for one facts partition and one flush.

In: nothing. Out: the structs on the topic and their bytes. A message is MessagePack of array-like structs; its first
element is the format version, so that a reader can refuse versions that it does not know.

Record time is counted in ticks of 100 ms. Records of one trace share an entry only within one tick, so the bounds of
a window never depend on how records were batched.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import NamedTuple, TypeAlias

import msgspec

from topics.values import Scalar

VERSION = 6
OLDEST = 2
"""The oldest format that is still read: operators upgrade sessions before ingest, and facts are retained."""

TICK_MS = 100

_TOUCH = struct.Struct(">16sQI")
_TOUCH_TICK = struct.Struct(">16xQ4x")
_TOUCH_TRACE = struct.Struct(">16s8xI")
TOUCH_BYTES = _TOUCH.size

NO_SPAN = 0
"""The span count of a touch that marks its trace as incomplete, because a record's timestamp was not accepted."""


class Witness(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a signal shows of a span that satisfied an atom: only attributes in rules or on the identity allow-list."""

    name: str
    service: str | None
    duration_ns: int | None
    attributes: dict[str, Scalar]


KeyHashes: TypeAlias = tuple[tuple[bytes, ...] | None, ...]
"""The hashes of a span's values, for each key of a pair or aggregate: empty without a value, None if not comparable."""


# Positional: one is made for each span that hits, and by keyword that takes 0.6 instead of 0.1 µs.
class Fact(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The fact that a span, one of its events or a log record satisfied an atom.

    `atom` is the atom's fingerprint, `identity` the span id (8 bytes) or a log record's identity hash, and `start_ns`
    the span's start in Unix nanoseconds (for `trace.duration` also its end, as a fact of another atom), None when the
    span has none. From format 6 on, an event that satisfied the atom has a fact of its own, with its time; its identity
    is that of its span and 17 bytes more. `witness` is None for events that no signal shows. `keys` is None unless a
    pair or an aggregate uses the atom: then it has the key values of the span or, before format 6, of each event that
    satisfied the atom; it is empty when only the start matters.
    """

    atom: bytes
    identity: bytes
    start_ns: int | None
    witness: Witness | None
    keys: tuple[KeyHashes, ...] | None = None


# Positional: one is made for each trace of a record; see `Fact`.
class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The records of one trace in one tick, at least one of which has a span that hit an atom.

    `first_offset` and `offset` are those of the first and last record with a fact; `tick` is record time in units of
    100 ms. `is_incomplete` means that a refused record of the trace has hits that are missing from `facts`.
    """

    trace_id: bytes
    first_offset: int
    offset: int
    tick: int
    span_count: int
    root_seen: bool
    facts: list[Fact]
    is_incomplete: bool = False


class Touch(NamedTuple):
    """The records of one trace in one tick without a hit: a touch continues the chain of its trace but starts none.

    A touch with a span count of 0, from format 5 on, means that a record of its trace had a timestamp that was not
    accepted and is counted at another time, in this tick: the trace is incomplete.
    """

    trace_id: bytes
    tick: int
    span_count: int


class Section(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """The facts of one flush from one source partition.

    `[from_offset, to_offset)` continues the section before it by consumer position, or overlaps it. `epoch` is the wall
    time in ms at which ingest started to read this log; another epoch means that the topic was recreated. `replay` is
    the wall time in ms at which ingest found the group's offsets reset, 0 if they never were; `start_ms` is the record
    time of the first record read since then, None before that record. `watermark_ms` is None until the partition has a
    watermark. `lost` holds the offset ranges that Kafka deleted before they could be read; `dead_letters` holds those
    of records that could not be decoded or were refused: all within `[from_offset, to_offset)`, even if an earlier
    section reported them; None in format 2, which lacks them. `touches` is packed: see `pack_touches`.

    Three record times appear in every section once they are known, and are equal for every facts partition; each is
    None if it does not apply, and in formats before 4. If the first record read was not the first of its log, no record
    before it is later than `missing_until_ms`. No record of the last range in `lost` is later than `lost_until_ms`. No
    record that was projected with another rule set is later than `rules_since_ms`.
    """

    topic: str
    partition: int
    epoch: int
    replay: int
    start_ms: int | None
    partition_count: int
    from_offset: int
    to_offset: int
    watermark_ms: int | None
    lost: list[tuple[int, int]]
    touches: bytes
    entries: list[Entry]
    dead_letters: list[tuple[int, int]] | None = None
    missing_until_ms: int | None = None
    lost_until_ms: int | None = None
    rules_since_ms: int | None = None


class Facts(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """One message of `betrace.facts`; `rules` is the fingerprint of the rule set that projected it.

    `services` are the redacted names of the services that sent the records of all its sections, each at most 256 bytes
    long; `has_more_services` means that there were more. A message that is split into parts has them in its last part.
    Formats before 5 have none.
    """

    version: int
    rules: str
    sections: list[Section]
    services: list[str] = []
    has_more_services: bool = False


class _Version(msgspec.Struct, frozen=True, array_like=True):
    """The first element of a message of any version."""

    version: int


pack_touch = _TOUCH.pack
"""Packs one touch as `pack_touches` does; the arguments are trace id, tick and span count."""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Facts)
_version_decoder = msgspec.msgpack.Decoder(_Version)


def pack_touches(touches: Iterable[Touch]) -> bytes:
    """Pack touches into 28 bytes each: 16 bytes trace id, u64 tick, u32 span count, big-endian.

    >>> list(unpack_touches(pack_touches([Touch(b"a trace's id: 16", 7, 2)])))
    [Touch(trace_id=b"a trace's id: 16", tick=7, span_count=2)]
    """
    return b"".join(_TOUCH.pack(*touch) for touch in touches)


def unpack_touches(packed: bytes) -> Iterator[Touch]:
    """Unpack what `pack_touches` returned; raises `struct.error` when the length is not a multiple of 28."""
    return map(Touch._make, _TOUCH.iter_unpack(packed))


def touch_runs(packed: bytes) -> Iterator[tuple[int, bytes]]:
    """Split packed touches where their tick changes; yield each tick with its run of consecutive touches.

    >>> packed = pack_touches([Touch(bytes(16), 7, 1), Touch(bytes(16), 7, 1), Touch(bytes(16), 8, 1)])
    >>> [(tick, len(run) // TOUCH_BYTES) for tick, run in touch_runs(packed)]
    [(7, 2), (8, 1)]
    """
    ticks = [tick for (tick,) in _TOUCH_TICK.iter_unpack(packed)]
    start = 0
    for tick, run in groupby(ticks):
        end = start + sum(1 for _ in run) * TOUCH_BYTES
        yield tick, packed[start:end]
        start = end


def unpack_span_counts(packed: bytes | bytearray) -> Iterator[tuple[bytes, int]]:
    """Return the trace id and span count of each packed touch."""
    return _TOUCH_TRACE.iter_unpack(packed)


def encode(facts: Facts) -> bytes:
    """Encode one message."""
    return _encoder.encode(facts)


def decode(value: bytes) -> Facts:
    """Decode a message; raises `msgspec.DecodeError` if its version is not supported or it is malformed."""
    try:
        facts = _decoder.decode(value)
    except UnicodeDecodeError as error:  # msgspec does not convert it
        raise msgspec.DecodeError(f"a text is not UTF-8: {error}") from error
    except msgspec.ValidationError:
        _refuse_unknown_version(_version_decoder.decode(value).version)
        raise
    _refuse_unknown_version(facts.version)
    if any(len(section.touches) % TOUCH_BYTES for section in facts.sections):
        raise msgspec.DecodeError(f"touches are not a multiple of {TOUCH_BYTES} bytes")
    return facts


def is_foreign(value: bytes) -> bool:
    """Return whether no version of BeTrace can have written this value: it does not start with a format version.

    >>> is_foreign(b"garbage"), is_foreign(encode(Facts(version=VERSION + 1, rules="set", sections=[])))
    (True, False)
    """
    is_list = len(value) > 1 and 0x90 <= value[0] <= 0x9F  # noqa: PLR2004, MessagePack's short list
    return not is_list or value[1] >= 0x80  # noqa: PLR2004, and its small number


def _refuse_unknown_version(version: int) -> None:
    if version < OLDEST:
        raise msgspec.DecodeError(f"facts format {version} is too old, this program reads {OLDEST} to {VERSION}")
    if version > VERSION:
        raise msgspec.DecodeError(
            f"facts format {version}, this program reads {OLDEST} to {VERSION}: upgrade sessions first"
        )
