"""Evidence with an audit trail, sealed without Kafka."""

from __future__ import annotations

from pathlib import Path

from streams.evidence.ledger.log import Ledger, Record
from streams.evidence.ledger.storage import Directory
from tests.support.evidence import ORIGIN, START_MS, follow, store_seal
from topics.records import audit
from topics.records.audit import POSITION_HEADER, AuditRecord, SourcePosition

MINUTE_MS = 60_000

# ruff: noqa: E501 - the statement stands as people are given it
ROLES = """
SELECT timestamp, attributes['enduser.id'] AS actor, attributes['audit.target_user'] AS target,
       attributes['audit.old_value'] AS previous_role, attributes['audit.new_value'] AS new_role, attributes['audit.result'] AS outcome
FROM audit_spans
WHERE attributes['audit.action'] = 'role_update' AND timestamp >= NOW() - INTERVAL '90 days'
ORDER BY timestamp DESC;
"""
"""The auditors' question: who gave whom which role."""


def record(number: int, start_ms: int | None = None) -> AuditRecord:
    """A change of a role: u-0 to u-4 change those of others."""
    return AuditRecord(
        schema=audit.SCHEMA,
        trace_id=f"{number:032x}",
        span_id=f"{number:016x}",
        name="PUT /roles",
        service="iam",
        start_ns=(START_MS + number * MINUTE_MS if start_ms is None else start_ms) * 1_000_000,
        attributes={
            "audit.action": "role_update" if number % 2 else "login",
            "enduser.id": f"u-{number % 5}",
            "audit.target_user": f"t-{number}",
            "audit.old_value": "viewer",
            "audit.new_value": ["admin", number],
            "audit.result": "success",
        },
    )


def take(ledger: Ledger, number: int, value: bytes, topic: str = "otlp_spans") -> None:
    """The ledger takes in one audit message."""
    partition = number % 2
    log = ledger.logs["audit", partition]
    at = SourcePosition(topic=topic, partition=0, epoch=1, offset=number, index=0)
    ledger.take(
        ("audit", partition),
        Record(
            offset=log.next_offset,
            time_ms=START_MS + number * MINUTE_MS,
            key=None,
            value=value,
            headers=[(POSITION_HEADER, at.encode())],
        ),
    )


def make(root: Path, seals: int, start_ms: int | None = None, count: int | None = None) -> Directory:
    """A record in every seal but those whose number ends in 3; one of seal 7 is no audit record.

    Where `count` is given, only so many seals of each hour have one.
    """
    store, ledger = Directory(root), Ledger(ORIGIN)
    follow(ledger)
    for number in range(seals):
        if number % 10 != 3 and (count is None or number % 60 < count):
            take(ledger, number, audit.encode(record(number, start_ms)))
        if number == 7:
            take(ledger, number, b"no record", "otlp_logs")
        store_seal(ledger, store, START_MS + number * MINUTE_MS)
    return store
