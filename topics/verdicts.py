"""`betrace.verdicts`: how often each rule held, was broken, or could not be judged.

One JSON record per step, facts partition and rule; its counts are *deltas*: an amended verdict takes its old one back.
The key is the rule id.
"""

from __future__ import annotations

import msgspec


class VerdictCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What one step of one facts partition judged by one rule.

    `clock_ms` is the partition's record time after the step. Applicable are held + broken + undetermined.
    """

    schema: int = 1
    rule: str
    rule_fingerprint: str
    partition: int
    clock_ms: int
    held: int = 0
    broken: int = 0
    undetermined: int = 0
    excepted: int = 0


def encode(counts: VerdictCounts) -> bytes:
    """The record's value on the topic."""
    return msgspec.json.encode(counts)


def decode(value: bytes) -> VerdictCounts:
    """The record in `value`; raises `msgspec.DecodeError` when it is malformed."""
    return msgspec.json.decode(value, type=VerdictCounts)
