"""`betrace.facts`: what ingest found in the source records, for one facts partition and one flush.

In: nothing. Out: the structs on the topic and their bytes. A message is MessagePack of array-like structs; its first
element is the format version, so that a reader refuses what it cannot know.

Record time is counted in ticks of 100 ms. Records of one trace share an entry only inside one tick, so the bounds of
a window never depend on how records were batched.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import NamedTuple, TypeAlias

import msgspec

from topics.values import Scalar

VERSION = 5
OLDEST = 2
"""Sessions is upgraded before ingest, and facts are kept: what the version before wrote is still read."""

TICK_MS = 100

_TOUCH = struct.Struct(">16sQI")
_TOUCH_TICK = struct.Struct(">16xQ4x")
_TOUCH_TRACE = struct.Struct(">16s8xI")
TOUCH_BYTES = _TOUCH.size

NO_SPAN = 0
"""The span count of a touch that marks its trace: one of its records in this tick was stamped out of bounds."""


class Witness(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What is shown of a span that satisfied an atom: only what rules name and the identity allow-list."""

    name: str
    service: str | None
    duration_ns: int | None
    attributes: dict[str, Scalar]


KeyHashes: TypeAlias = tuple[tuple[bytes, ...] | None, ...]
"""Per key of a pair the hashes of a span's values: none when it has no value, None when they cannot be compared."""


class Fact(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A span satisfied an atom.

    `atom` is the atom's fingerprint, `identity` the span id (8 bytes) or a log record's identity hash, `start_ns` the
    span's start in Unix nanoseconds, None when the span has none. `keys` is for atoms that pairs ask for, else None:
    the key values of each event that satisfied the atom, or of the span; none when only the start matters.
    """

    atom: bytes
    identity: bytes
    start_ns: int | None
    witness: Witness
    keys: tuple[KeyHashes, ...] | None = None


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The records of one trace in one tick, of which at least one span hit an atom.

    `first_offset` and `offset` are those of the first and last record that brought a fact; `tick` is record time in
    units of 100 ms. `is_incomplete`: the trace has hits in a record that was refused, which are not among the facts.
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
    """The records of one trace in one tick when no span hit: it continues the chain of its trace, and begins none.

    One that counts no span, from format 5 on, says that a record of its trace in this tick counts at another time than
    it is stamped, for its stamp was not to be believed: the trace is incomplete.
    """

    trace_id: bytes
    tick: int
    span_count: int


class Section(msgspec.Struct, frozen=True, array_like=True):
    """All that one flush says of one source partition.

    `[from_offset, to_offset)` is contiguous by consumer position with the section before it, or overlaps it.
    `epoch` is the wall time in ms at which reading of this log began: another one means that the topic was made again.
    `replay` is the wall time in ms at which the group's offsets were found reset, 0 when they never were; `start_ms`
    the record time of the first record read since, None before the first. `watermark_ms` is None while nothing is known
    of the partition's time. `lost` holds offset ranges that were gone before they could be read, `dead_letters` those
    whose records could not be decoded, or were refused: all of them in `[from_offset, to_offset)`, whatever was said of
    them before; None in format 2, which does not say. `touches` is packed: see `pack_touches`.

    Three record times, said in every section from when they are known on, and the same to every facts partition; each
    is None where there is nothing such, and in formats before 4. No record before the one that was read first, when
    that was not the first of its log, is later than `missing_until_ms`. No record of the last range in `lost` is later
    than `lost_until_ms`. No record that was projected with another rule set is later than `rules_since_ms`.
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


class Facts(msgspec.Struct, frozen=True, array_like=True):
    """One message of `betrace.facts`; `rules` is the fingerprint of the rule set that projected it.

    `services` are the names of the services that sent the records of all its sections, each of at most 256 bytes, as
    they may travel; `has_more_services` says that there were more. A message in parts has them in its last part. Before
    format 5 there are none.
    """

    version: int
    rules: str
    sections: list[Section]
    services: list[str] = []
    has_more_services: bool = False


class _Version(msgspec.Struct, frozen=True, array_like=True):
    """The first element of a message of whatever version."""

    version: int


pack_touch = _TOUCH.pack
"""One touch as bytes, as `pack_touches` has them: trace id, tick, span count."""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Facts)
_version_decoder = msgspec.msgpack.Decoder(_Version)


def pack_touches(touches: Iterable[Touch]) -> bytes:
    """Touches as bytes, 28 each: 16 bytes trace id, u64 tick, u32 span count, big-endian.

    >>> list(unpack_touches(pack_touches([Touch(b"a trace's id: 16", 7, 2)])))
    [Touch(trace_id=b"a trace's id: 16", tick=7, span_count=2)]
    """
    return b"".join(_TOUCH.pack(*touch) for touch in touches)


def unpack_touches(packed: bytes) -> Iterator[Touch]:
    """The inverse of `pack_touches`; raises `struct.error` when the length is not a multiple of 28."""
    return map(Touch._make, _TOUCH.iter_unpack(packed))


def touch_runs(packed: bytes) -> Iterator[tuple[int, bytes]]:
    """Packed touches cut where their tick changes: tick, and the touches of it that follow one another.

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
    """Trace id and span count of packed touches."""
    return _TOUCH_TRACE.iter_unpack(packed)


def encode(facts: Facts) -> bytes:
    """The bytes of one message."""
    return _encoder.encode(facts)


def decode(value: bytes) -> Facts:
    """The message in `value`; raises `msgspec.DecodeError` when it is of a version not known or malformed."""
    try:
        facts = _decoder.decode(value)
    except UnicodeDecodeError as error:  # msgspec does not make it one of its own
        raise msgspec.DecodeError(f"a text is not UTF-8: {error}") from error
    except msgspec.ValidationError:
        _refuse_unknown_version(_version_decoder.decode(value).version)
        raise
    _refuse_unknown_version(facts.version)
    if any(len(section.touches) % TOUCH_BYTES for section in facts.sections):
        raise msgspec.DecodeError(f"touches are not a multiple of {TOUCH_BYTES} bytes")
    return facts


def is_foreign(value: bytes) -> bool:
    """Whether no version can have written this: it does not begin with the number of one.

    >>> is_foreign(b"garbage"), is_foreign(encode(Facts(VERSION + 1, "set", [])))
    (True, False)
    """
    is_list = len(value) > 1 and 0x90 <= value[0] <= 0x9F  # noqa: PLR2004, MessagePack's short list
    return not is_list or value[1] >= 0x80  # noqa: PLR2004, and its small number


def _refuse_unknown_version(version: int) -> None:
    if version < OLDEST:
        raise msgspec.DecodeError(f"facts format {version}, this program reads {OLDEST} to {VERSION}: it is too old")
    if version > VERSION:
        raise msgspec.DecodeError(
            f"facts format {version}, this program reads {OLDEST} to {VERSION}: upgrade sessions first"
        )
