"""`betrace.rules`: whole rule sets by fingerprint, which of them is active, and every push.

    key = a set's fingerprint   value = JSON of `RuleSetRecord`, written once
    key = "push/…"              value = JSON of `PushRecord`; a key for each push, so compaction keeps them all
    key = "active"              value = the fingerprint of the active set; headers: who made it active (`by`), the
                                fingerprint that was active before (`previous`), where there was one, and the key of
                                its push (`push`)

Compacted, so that a push is atomic and sets that a rebuild needs are still there. The broker's time of a record counts;
`pushed_ms` is what the pusher's clock showed.
"""

from __future__ import annotations

import secrets
from enum import Enum

import msgspec

ACTIVE_KEY = b"active"
BY_HEADER, PREVIOUS_HEADER, PUSH_HEADER = "by", "previous", "push"

_PUSH_PREFIX = b"push/"


class Origin(Enum):
    """What pushed: the start of a single process, `betrace rules push`, or `betrace rules rollback`."""

    RUN = "run"
    PUSH = "push"
    ROLLBACK = "rollback"


class RuleSetRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One rule set: its files by name, who pushed it first, and when (Unix ms).

    `previous` is the fingerprint of the set that was active until then, `revision` the state of the files' repository
    as whoever pushed it named it; None is none, or not known.
    """

    texts: dict[str, str]
    pushed_by: str
    pushed_ms: int
    previous: str | None = None
    revision: str | None = None


class PushRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One push: the set that it made active, and of `RuleSetRecord` what is said of the push."""

    rule_set: str
    pushed_by: str
    pushed_ms: int
    origin: Origin
    previous: str | None = None
    revision: str | None = None


def encode(record: RuleSetRecord | PushRecord) -> bytes:
    """The record's value on the topic."""
    return msgspec.json.encode(record, order="sorted")


def decode(value: bytes) -> RuleSetRecord:
    """The rule set in `value`; raises `msgspec.DecodeError` when it is malformed."""
    return msgspec.json.decode(value, type=RuleSetRecord)


def decode_push(value: bytes) -> PushRecord:
    """The push in `value`; raises `msgspec.DecodeError` when it is malformed."""
    return msgspec.json.decode(value, type=PushRecord)


def push_key(pushed_ms: int) -> bytes:
    """A key that no other push has."""
    return _PUSH_PREFIX + f"{pushed_ms}/{secrets.token_hex(8)}".encode()


def is_push(key: bytes) -> bool:
    """Whether this is the key of a push.

    >>> is_push(push_key(5)), is_push(ACTIVE_KEY)
    (True, False)
    """
    return key.startswith(_PUSH_PREFIX)
