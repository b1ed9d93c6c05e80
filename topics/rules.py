"""`betrace.rules`: whole rule sets by fingerprint, and which of them is active.

    key = a set's fingerprint   value = JSON of `RuleSetRecord`
    key = "active"              value = the fingerprint of the active set

Compacted, so that a push is atomic and sets that a rebuild needs are still there.
"""

from __future__ import annotations

import msgspec

ACTIVE_KEY = b"active"


class RuleSetRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One rule set: its files by name, who pushed it, and when (Unix ms)."""

    texts: dict[str, str]
    pushed_by: str
    pushed_ms: int


def encode(record: RuleSetRecord) -> bytes:
    """The record's value on the topic."""
    return msgspec.json.encode(record, order="sorted")


def decode(value: bytes) -> RuleSetRecord:
    """The record in `value`; raises `msgspec.DecodeError` when it is malformed."""
    return msgspec.json.decode(value, type=RuleSetRecord)
