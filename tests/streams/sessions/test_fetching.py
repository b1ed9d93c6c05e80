"""Batches as Faust's client fetches them: what cannot be read is passed over, and nothing else."""

from __future__ import annotations

import struct

import pytest
from aiokafka.codec import cramjam
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition

from streams.sessions.fetching import PassingRecords, TooLargeError, inflate

ZSTD = 4
COUNT = 3


def batch(first_offset: int, *, codec: int = 0) -> bytearray:
    """Return an encoded batch of three records."""
    builder = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, 0, 1 << 20)
    for at in range(COUNT):
        builder.append(at, timestamp=0, key=None, value=b"x" * 100, headers=[])
    encoded = bytearray(builder.build())
    # The checksum does not cover the offset, which brokers set.
    struct.pack_into(">q", encoded, 0, first_offset)
    return encoded


def damaged(encoded: bytearray, at: int = -1) -> bytearray:
    """Return the batch with one other byte."""
    encoded[at] ^= 0xFF
    return encoded


def read(*batches: bytearray) -> tuple[list[int], int]:
    """Return the offsets of the records that are delivered, and the next offset to fetch."""
    fetched = MemoryRecords(bytes(b"".join(batches)))
    records = PassingRecords(TopicPartition("facts", 0), fetched, [], 0, None, None, True, 0)  # noqa: FBT003, aiokafka's
    return [record.offset for record in records], records.next_fetch_offset


@pytest.mark.parametrize("codec", [0, ZSTD])
def test_batch_with_a_wrong_checksum_is_skipped(codec: int) -> None:
    """The records before and after it are delivered."""
    assert ([0, 1, 2, 6, 7, 8], 9) == read(batch(0), damaged(batch(3, codec=codec)), batch(6))


def test_unreadable_last_batch_is_skipped() -> None:
    """The next fetch begins after it."""
    assert ([0, 1, 2], 6) == read(batch(0), damaged(batch(3)))


def test_batch_of_a_wrong_length_does_not_stop_the_reader() -> None:
    """Where the next one begins is not known: reading continues after the records that were delivered."""
    delivered, next_offset = read(batch(0), damaged(batch(3), at=16), batch(6))

    assert [0, 1, 2] == delivered[:COUNT]
    assert next_offset > COUNT


@pytest.mark.parametrize("codec", ["zstd", "lz4", "gzip"])
def test_inflating_is_bounded(codec: str) -> None:
    """Content of exactly the limit is whole; one byte more is refused."""
    module, limit_bytes = getattr(cramjam, codec), 3 << 20
    content = bytes(range(256)) * (limit_bytes // 256)

    assert content == inflate(module.decompress_into, bytes(module.compress(content)), limit_bytes)
    with pytest.raises(TooLargeError):
        inflate(module.decompress_into, bytes(module.compress(content + b"x")), limit_bytes)
