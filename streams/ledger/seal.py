"""Seals: what the ledger adds once a minute, as a file of lines of JSON.

    line 1      the seal: where each partition's log stands after it, and what input it covers
    then        the entries it adds, by log in the order of the seal's `logs`, in each by offset

In: bytes from storage. Out: the seal and its entries. Line 1 is the leaf of the log of seals, whose head is signed;
every other line is a leaf of its partition's log, whose peaks line 1 names. So no byte is outside a hash.
"""

from __future__ import annotations

import io
from collections.abc import Iterable

import msgspec

from streams.ledger.cover import Cover
from topics.audit import SourcePosition

SCHEMA = 1


class LogState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The log of one topic partition after a seal.

    `size` counts its entries, of which the seal brought `added`; `peaks` are those of its tree, 32 bytes each
    (`streams.ledger.merkle.Frontier`). Entries are of offsets below `next_offset`. In this seal `doubles` records were
    left out because their source position was there, and `lost` offset ranges were gone before the ledger read them.
    `sources` are the highest source positions so far, of the audit trail only.
    """

    topic: str
    partition: int
    topic_id: str
    size: int
    added: int
    next_offset: int
    peaks: bytes
    doubles: int = 0
    lost: list[tuple[int, int]] = []
    sources: list[SourcePosition] = []


class Seal(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Line 1.

    `number` counts from 0; `time_ms` is the ledger's wall clock. `previous` is the SHA-256 of the checkpoint before
    it, in hex, None for the first; `peaks` are those of the log of all seals before it.
    """

    schema: int = SCHEMA
    origin: str
    number: int
    time_ms: int
    previous: str | None
    peaks: bytes
    logs: list[LogState]
    cover: Cover


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Seal)


def line(seal: Seal) -> bytes:
    """Line 1, without its newline."""
    return _encoder.encode(seal)


def body(seal_line: bytes, entries: Iterable[bytes]) -> bytes:
    """The file.

    >>> body(b"{}", [b"a", b"b"]).splitlines()
    [b'{}', b'a', b'b']
    """
    return b"".join(text + b"\n" for text in (seal_line, *entries))


def split(content: bytes) -> tuple[bytes, list[bytes]]:
    """The seal's line and its entries; raises `msgspec.DecodeError` when the last line has no end."""
    # `bytes.split` looks for the ends of lines byte by byte, a file in memory does not.
    lines = io.BytesIO(content).readlines()
    if not content.endswith(b"\n"):
        raise msgspec.DecodeError("the last line is cut")
    first, *entries = [text[:-1] for text in lines]
    return first, entries


def decode(seal_line: bytes) -> Seal:
    """The seal in a line; raises `msgspec.DecodeError` when it is of another schema or malformed."""
    try:
        seal = _decoder.decode(seal_line)
    except (UnicodeDecodeError, RecursionError) as error:  # msgspec makes neither one of its own
        raise msgspec.DecodeError(f"no JSON that can be read: {error}") from error
    if seal.schema != SCHEMA:
        raise msgspec.DecodeError(f"seal schema {seal.schema}, this program reads {SCHEMA}: upgrade it first")
    return seal
