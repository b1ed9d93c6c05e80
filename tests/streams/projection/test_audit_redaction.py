"""No clear value of a redacted attribute is in the audit trail."""

from __future__ import annotations

from streams.projection.audit_redaction import redacted
from streams.projection.redact import Redaction, Treatment
from topics.records import audit
from topics.records.audit import AuditEvent, AuditRecord

KEY = b"0123456789abcdef"
REDACTION = Redaction(
    {
        "user.id": Treatment.HASH,
        "ssn": Treatment.DROP,
        "client.address": Treatment.MASK,
        "service.name": Treatment.MASK,
    },
    KEY,
)
HIDDEN = {"user.id": "ann-hidden", "ssn": "hidden", "client.address": "hidden", "kept": "open"}
RECORD = AuditRecord(
    schema=audit.SCHEMA,
    name="grant",
    service="hidden",
    body={"in": [dict(HIDDEN)], **HIDDEN},
    attributes={"audit.action": "grant", "nested": {"deep": [dict(HIDDEN)]}, **HIDDEN},
    events=[AuditEvent("changed", dict(HIDDEN))],
    resource={"service.name": "hidden", **HIDDEN},
    scope=dict(HIDDEN),
)


def test_no_clear_value_is_left() -> None:
    """On the record, its events, scope and resource, in a body and in other values; other attributes stay."""
    kept = redacted(RECORD, REDACTION)

    value = audit.encode(kept)
    assert b"hidden" not in value
    assert 7 == value.count(b'"kept":"open"')
    assert ("[masked]", "[masked]") == (kept.service, kept.resource["service.name"])


def test_a_hash_is_that_of_signals() -> None:
    """The same value has the same hash in the trail as in facts and signals, so that they can be joined."""
    kept = redacted(RECORD, REDACTION)

    assert REDACTION.redacted({"user.id": "ann-hidden"})["user.id"] == kept.attributes["user.id"]


def test_without_redaction_nothing_is_changed() -> None:
    """Without a redaction the record is returned unchanged."""
    assert RECORD is redacted(RECORD, Redaction())
