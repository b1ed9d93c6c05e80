"""`betrace.positions`: up to where each facts partition is published, and from where it can be built again.

One record per facts partition, in the partition of the same number, written in the transaction of the signals it speaks
of. What the state machine needs to begin there is its own business and comes as bytes.
"""

from __future__ import annotations

import msgspec

from topics.records.verdicts import Counted

VERSION = 3


class Holder(msgspec.Struct, frozen=True, array_like=True):
    """The source partition that holds a clock, and its watermark; None when it has none yet."""

    topic: str
    partition: int
    watermark_ms: int | None


class Standing(msgspec.Struct, frozen=True, array_like=True):
    """How a facts partition stood when its checkpoint was made, for who looks: nothing goes on from it.

    `clock_ms` is None before every source partition has a watermark, `rules` the rule set of the last facts message.
    """

    clock_ms: int | None
    held_by: Holder | None
    open_windows: int
    rules: str | None


class Said(msgspec.Struct, frozen=True, array_like=True):
    """How many new signals of each rule, by id, were published in an hour of record time, counted from 1970."""

    hour: int
    signals: dict[str, int]


class Checkpoint(msgspec.Struct, frozen=True, array_like=True):
    """Where one facts partition stands.

    Everything that follows from facts messages below `published_to` is on the topics. With the log from `start_offset`
    on and `start`, the state machine's own beginning there, the same windows are built again. `topic_id` is the facts
    topic's: a checkpoint of another log says nothing. `covered`, its own business too, says where the partition's
    coverage records end; `start_offset` is never above. `counted` is the chain of its counts records, which goes on
    over another log too: there the generations of reading are numbered from `first_generation`, the present one is
    `generation`.
    """

    version: int
    topic_id: str
    published_to: int
    start_offset: int
    start: bytes
    covered: bytes
    standing: Standing | None = None
    said: Said | None = None
    counted: Counted = Counted()
    first_generation: int = 0
    generation: int = 0


def key(partition: int) -> bytes:
    """The record's key.

    >>> key(3)
    b'3'
    """
    return str(partition).encode()


def encode(checkpoint: Checkpoint) -> bytes:
    """The record's value."""
    return msgspec.msgpack.encode(checkpoint)


def decode(value: bytes) -> Checkpoint:
    """The checkpoint in `value`; raises `msgspec.DecodeError` when it is of another version or malformed."""
    checkpoint = msgspec.msgpack.decode(value, type=Checkpoint)
    if checkpoint.version != VERSION:
        raise msgspec.DecodeError(f"checkpoint format {checkpoint.version}, this program reads {VERSION}")
    return checkpoint
