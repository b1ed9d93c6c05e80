"""The bytes of `betrace.facts`: round trips and refusals."""

from __future__ import annotations

import struct

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from topics.records.facts import (
    TOUCH_BYTES,
    VERSION,
    Entry,
    Fact,
    Facts,
    Section,
    Touch,
    Witness,
    decode,
    encode,
    pack_touches,
    unpack_touches,
)

OTHER = VERSION + 1

u64 = st.integers(0, (1 << 64) - 1)
trace_ids = st.binary(min_size=16, max_size=16)
scalars = st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 63) - 1) | st.floats(allow_nan=False) | st.text()
witnesses = st.builds(Witness, st.text(), st.none() | st.text(), st.none() | u64, st.dictionaries(st.text(), scalars))
entries = st.builds(
    Entry,
    trace_ids,
    u64,
    u64,
    u64,
    u64,
    st.booleans(),
    st.lists(st.builds(Fact, st.binary(), st.binary(), st.none() | u64, st.none() | witnesses), max_size=3),
    st.booleans(),
)
touches = st.lists(st.builds(Touch, trace_ids, u64, st.integers(0, (1 << 32) - 1)))
sections = st.builds(
    Section,
    topic=st.text(),
    partition=u64,
    epoch=u64,
    replay=u64,
    start_ms=st.none() | u64,
    partition_count=u64,
    from_offset=u64,
    to_offset=u64,
    watermark_ms=st.none() | u64,
    lost=st.lists(st.tuples(u64, u64)),
    touches=touches.map(pack_touches),
    entries=st.lists(entries, max_size=3),
    dead_letters=st.none() | st.lists(st.tuples(u64, u64)),
)
messages = st.builds(
    Facts,
    version=st.just(VERSION),
    rules=st.text(),
    sections=st.lists(sections, max_size=3),
    services=st.lists(st.text(), max_size=3),
    has_more_services=st.booleans(),
)


@given(messages)
def test_message_round_trip(message: Facts) -> None:
    """Decoding returns the message that was encoded."""
    assert message == decode(encode(message))


@given(touches)
def test_touches_round_trip(touched: list[Touch]) -> None:
    """Unpacking returns the touches that were packed, in 28 bytes each."""
    packed = pack_touches(touched)

    assert 28 * len(touched) == len(packed)
    assert touched == list(unpack_touches(packed))


@given(st.binary())
def test_invalid_bytes(value: bytes) -> None:
    """Bytes that are not a message are refused, with no other error."""
    with pytest.raises(msgspec.DecodeError):
        decode(value)


@given(messages, st.data())
def test_truncated_message(message: Facts, data: st.DataObject) -> None:
    """A truncated message is refused."""
    value = encode(message)
    length = data.draw(st.integers(0, len(value) - 1))

    with pytest.raises(msgspec.DecodeError):
        decode(value[:length])


def test_message_of_an_earlier_version() -> None:
    """Messages of an ingest that is not upgraded yet are read; they lack dead letters."""
    section = ["t", 0, 1, 0, None, 1, 0, 1, None, [], b"", []]

    facts = decode(msgspec.msgpack.encode([2, "rules", [section]]))

    assert ([], False) == (facts.services, facts.has_more_services)
    [read] = facts.sections
    assert (
        Section(
            topic="t",
            partition=0,
            epoch=1,
            replay=0,
            start_ms=None,
            partition_count=1,
            from_offset=0,
            to_offset=1,
            watermark_ms=None,
            lost=[],
            touches=b"",
            entries=[],
            dead_letters=None,
        )
        == read
    )


def test_message_that_is_too_old() -> None:
    """A message of a version that is no longer supported is refused, without advice to upgrade."""
    with pytest.raises(msgspec.DecodeError, match=f"facts format 1 is too old, this program reads 2 to {VERSION}"):
        decode(msgspec.msgpack.encode([1, "rules", []]))


@pytest.mark.parametrize("value", [[OTHER, "rules", []], [OTHER], [OTHER, {"new": "shape"}, 5, 6]])
def test_message_of_a_later_version(value: list[object]) -> None:
    """A message of a later version is refused as such, whatever its shape."""
    with pytest.raises(msgspec.DecodeError, match=f"facts format {OTHER}, this program reads 2 to {VERSION}: upgrade"):
        decode(msgspec.msgpack.encode(value))


def test_message_of_this_version_with_another_shape() -> None:
    """A malformed message of this version is refused, and the error has the path of the mistake."""
    with pytest.raises(msgspec.DecodeError, match=r"Expected `array`, got `int` - at `\$\[2\]`"):
        decode(msgspec.msgpack.encode([VERSION, "rules", 5]))


def test_touches_of_another_length() -> None:
    """Decoding refuses touches whose length is not a multiple of their size."""
    section = Section(
        topic="t",
        partition=0,
        epoch=1,
        replay=0,
        start_ms=None,
        partition_count=1,
        from_offset=0,
        to_offset=1,
        watermark_ms=None,
        lost=[],
        touches=bytes(TOUCH_BYTES + 1),
        entries=[],
    )

    with pytest.raises(msgspec.DecodeError, match="touches are not a multiple of 28 bytes"):
        decode(encode(Facts(version=VERSION, rules="rules", sections=[section])))


def test_unpacking_another_length() -> None:
    """Unpacking refuses bytes that are not touches."""
    with pytest.raises(struct.error):
        unpack_touches(bytes(TOUCH_BYTES - 1))
