"""Encodes seals: what the ledger adds once a minute, as a file of JSON lines, followed by the tree head.

    line 1      the seal: the state of each partition's log after it, and what input it covers
    then        the entries it adds, by log in the order of the seal's `logs`, in each by offset
    empty line  a line of JSON is never empty
    then        the signed note of the tree head after it (`streams.evidence.ledger.tree_head`), to the end of the file

In: bytes from storage. Out: the seal, its entries and its note. Line 1 is the leaf of the log of seals, whose head the
note signs; every other line of JSON is a leaf of its partition's log, whose peaks line 1 names; the note is named by
its hash in the next seal, and until then its signatures are verified. So no byte is outside a hash or a signature.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from streams.evidence.ledger.seal_summary import SealSummary
from topics.records.audit import SourcePosition

SCHEMA = 3
AUDIT = "audit"
"""The name of the audit trail's logs."""
_JOINT = b"\n\n"


class LogState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The log of one topic partition after a seal.

    `size` counts its entries, of which the seal brought `added`; `peaks` are those of its tree, 32 bytes each
    (`streams.evidence.ledger.merkle.Frontier`). Entries have offsets below `next_offset`. This seal skipped `doubles`
    records that repeat the one with their source position, and it could not read the `lost` offset
    ranges, deleted before or damaged. `sources` are the highest source positions so far, only for the audit trail.
    """

    topic: str
    partition: int
    topic_id: str
    size: int = 0
    added: int = 0
    next_offset: int = 0
    peaks: bytes = b""
    doubles: int = 0
    lost: list[tuple[int, int]] = []
    sources: list[SourcePosition] = []


class Seal(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Line 1.

    `number` counts from 0; `time_ms` is the ledger's wall clock. `previous` is the SHA-256 of the tree head before it,
    in hex, None for the first; `peaks` are those of the log of all seals before it.
    """

    schema: int = SCHEMA
    origin: str
    number: int
    time_ms: int
    previous: str | None
    peaks: bytes
    logs: list[LogState]
    cover: SealSummary


@dataclass(frozen=True, slots=True)
class Parts:
    """A file's parts, not decoded: line 1 and the entries without their newlines, and the note."""

    line: bytes
    entries: list[bytes]
    note: bytes


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Seal)


def line(seal: Seal) -> bytes:
    """Return line 1, without its newline."""
    return _encoder.encode(seal)


def join(seal_line: bytes, entries: Iterable[bytes], note: bytes) -> bytes:
    """Return the file.

    >>> join(b"{}", [b"a", b"b"], b"note").splitlines()
    [b'{}', b'a', b'b', b'', b'note']
    """
    return b"\n".join((seal_line, *entries, b"", note))


def split(content: bytes) -> Parts:
    """Return the file's parts; raises `msgspec.DecodeError` if there is no empty line before a note."""
    joint = _joint(content)
    if joint < 0:
        raise msgspec.DecodeError("it is truncated: it has no tree head")
    # `bytes.split` searches byte by byte, a file in memory does not.
    first, *entries = [text[:-1] for text in io.BytesIO(content[: joint + 1]).readlines()]
    return Parts(first, entries, content[joint + len(_JOINT) :])


def note_in(content: bytes) -> bytes:
    r"""Return the note in a seal's file; anything else, such as a note alone, is returned unchanged.

    >>> note_in(b"{}\n\ntext\n\nsignatures\n"), note_in(b"text\n\nsignatures\n")
    (b'text\n\nsignatures\n', b'text\n\nsignatures\n')
    """
    joint = _joint(content)
    return content if joint < 0 else content[joint + len(_JOINT) :]


def _joint(content: bytes) -> int:
    """Return where the empty line before the note begins, -1 if there is none.

    It searches from the end, which is near: a tree head has one empty line, and the one before it ends the entries. In
    a file with more of them, one counts as an entry, and verification finds it there.
    """
    return content.rfind(_JOINT, 0, max(content.rfind(_JOINT), 0))


def decode(seal_line: bytes) -> Seal:
    """Return the seal in a line; raises `msgspec.DecodeError` if it has another schema or is malformed."""
    try:
        seal = _decoder.decode(seal_line)
    except (UnicodeDecodeError, RecursionError) as error:  # msgspec does not convert these to its own error
        raise msgspec.DecodeError(f"not valid JSON: {error}") from error
    if seal.schema != SCHEMA:
        advice = "upgrade it first" if seal.schema > SCHEMA else "it was never released, start new evidence elsewhere"
        raise msgspec.DecodeError(f"seal schema {seal.schema}, this program reads {SCHEMA}: {advice}")
    return seal
