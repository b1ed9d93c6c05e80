"""`betrace.rules`: complete rule sets by fingerprint, which of them is active, and every push.

    key = a set's fingerprint   value = JSON of `RuleSetRecord`, written once
    key = "push/…"              value = JSON of `PushRecord`; each push has its own key, so compaction keeps them all
    key = "active"              value = the fingerprint of the active set; headers: who activated it (`by`), the
                                fingerprint that was active before (`previous`), if there was one, and the key of its
                                push (`push`)

The topic is compacted: a push is atomic, and the sets that a rebuild needs stay available. The time of a push is that
of the broker's record; `pushed_ms` is what the pusher's clock showed.
"""

from __future__ import annotations

import secrets
from enum import Enum

import msgspec

ACTIVE_KEY = b"active"
BY_HEADER, PREVIOUS_HEADER, PUSH_HEADER = "by", "previous", "push"

_PUSH_PREFIX = b"push/"


class Origin(Enum):
    """The origin of a push: the start of `betrace run`, `betrace rules push`, or `betrace rules rollback`."""

    RUN = "run"
    PUSH = "push"
    ROLLBACK = "rollback"


class RuleSetRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One rule set: its files by name, who pushed it first, and when (Unix ms).

    `previous` is the fingerprint of the set that was active until then, and `revision` the revision of the files'
    repository as the pusher gave it; each is None when absent or unknown.
    """

    texts: dict[str, str]
    pushed_by: str
    pushed_ms: int
    previous: str | None = None
    revision: str | None = None


class PushRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One push: the set that it activated; the other fields are those of `RuleSetRecord`, for this push."""

    rule_set: str
    pushed_by: str
    pushed_ms: int
    origin: Origin
    previous: str | None = None
    revision: str | None = None


def encode(record: RuleSetRecord | PushRecord) -> bytes:
    """Encode the record's value."""
    return msgspec.json.encode(record, order="sorted")


def decode(value: bytes) -> RuleSetRecord:
    """Decode a rule set; raises `msgspec.DecodeError` if it is malformed."""
    return msgspec.json.decode(value, type=RuleSetRecord)


def decode_push(value: bytes) -> PushRecord:
    """Decode a push; raises `msgspec.DecodeError` if it is malformed."""
    return msgspec.json.decode(value, type=PushRecord)


def push_key(pushed_ms: int) -> bytes:
    """Return a unique key for a push."""
    return _PUSH_PREFIX + f"{pushed_ms}/{secrets.token_hex(8)}".encode()


def is_push(key: bytes) -> bool:
    """Return whether this is the key of a push.

    >>> is_push(push_key(5)), is_push(ACTIVE_KEY)
    (True, False)
    """
    return key.startswith(_PUSH_PREFIX)
