"""Redacts records of the audit trail.

In: a record and the redaction. Out: the record with every attribute of a redacted name treated, wherever it occurs: on
the span or log record, its events, its scope, its resource, in a body, inside another value. What is not an attribute
(a span's name, a status message, a body that is text) stays as it is.
"""

from __future__ import annotations

from typing import Any

import msgspec

from streams.projection.redact import Redaction
from topics.records.audit import AuditEvent, AuditRecord, Value

_SERVICE = "service.name"


def redacted(record: AuditRecord, redaction: Redaction) -> AuditRecord:
    """Return the redacted record.

    >>> from streams.projection.redact import Treatment
    >>> record = AuditRecord(schema=1, name="grant", attributes={"user.id": "ann", "audit.action": "grant"})
    >>> redacted(record, Redaction({"user.id": Treatment.MASK})).attributes
    {'user.id': '[masked]', 'audit.action': 'grant'}
    """
    if not redaction.treatments:
        return record
    service = redaction.value(_SERVICE, record.service)
    return msgspec.structs.replace(
        record,
        service=service if isinstance(service, str) else None,
        body=_within(record.body, redaction),
        attributes=redacted_attributes(record.attributes, redaction),
        events=[AuditEvent(event.name, redacted_attributes(event.attributes, redaction)) for event in record.events],
        resource=redacted_attributes(record.resource, redaction),
        scope=redacted_attributes(record.scope, redaction),
    )


def redacted_attributes(attributes: dict[str, Value], redaction: Redaction) -> dict[str, Value]:
    """Return redacted attributes."""
    return {name: _within(value, redaction) for name, value in redaction.redacted(attributes).items()}


def _within(value: Any, redaction: Redaction) -> Any:  # noqa: ANN401, whatever JSON holds
    if isinstance(value, dict):
        return redacted_attributes(value, redaction)
    if isinstance(value, list):
        return [_within(each, redaction) for each in value]
    return value
