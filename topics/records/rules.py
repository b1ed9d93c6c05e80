"""`betrace.rules`: whole rule sets by fingerprint, and which of them is active.

    key = a set's fingerprint   value = JSON of `RuleSetRecord`
    key = "active"              value = the fingerprint of the active set; headers: who made it active (`by`), and the
                                fingerprint that was active before (`previous`), where there was one

Compacted, so that a push is atomic and sets that a rebuild needs are still there.
"""

from __future__ import annotations

import msgspec

ACTIVE_KEY = b"active"
BY_HEADER, PREVIOUS_HEADER = "by", "previous"


class RuleSetRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One rule set: its files by name, who pushed it, and when (Unix ms).

    `previous` is the fingerprint of the set that was active until then, `revision` the state of the files' repository
    as whoever pushed it named it; None is none, or not known.
    """

    texts: dict[str, str]
    pushed_by: str
    pushed_ms: int
    previous: str | None = None
    revision: str | None = None


def encode(record: RuleSetRecord) -> bytes:
    """The record's value on the topic."""
    return msgspec.json.encode(record, order="sorted")


def decode(value: bytes) -> RuleSetRecord:
    """The record in `value`; raises `msgspec.DecodeError` when it is malformed."""
    return msgspec.json.decode(value, type=RuleSetRecord)
