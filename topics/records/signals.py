"""`betrace.signals`: one record per revision of a finding.

In: a `Finding` and a format. Out: a Kafka record. The key is the finding's uid, the value one document of at most
`LIMIT_BYTES`, and the headers are those of a CloudEvent in binary mode. Only the time at which the document was written
(OCSF `metadata.logged_time`, ECS `event.created`; CEF has none) differs when the same finding is written again.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from topics.signals import cef, ecs, ocsf
from topics.signals.finding import Finding
from topics.signals.sentence import sentence
from topics.signals.truncate import encode_within_limit
from topics.times import rfc3339

LIMIT_BYTES = 512 * 1024
"""The size of the largest value: half of Kafka's default message limit."""


class SignalFormat(Enum):
    """The format of a signal: OCSF 1.8.0, the Elastic Common Schema 9, or the Common Event Format."""

    OCSF = "ocsf"
    ECS = "ecs"
    CEF = "cef"

    @property
    def content_type(self) -> str:
        """The value's media type."""
        return "text/plain; charset=utf-8" if self is SignalFormat.CEF else "application/json"


class Record(NamedTuple):
    """A record for a producer to send."""

    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


def record(
    finding: Finding,
    *,
    logged_ms: int,
    source: str,
    format: SignalFormat = SignalFormat.OCSF,  # noqa: A002, named like the setting
) -> Record:
    """Build the record of one finding.

    `logged_ms` is the wall clock in Unix ms, and `source` the CloudEvents source, a URI reference that identifies this
    installation.
    """
    return Record(finding.uid.encode(), _value(finding, format, logged_ms), headers(finding, source, format))


def _value(finding: Finding, format: SignalFormat, logged_ms: int) -> bytes:  # noqa: A002, as above
    message = sentence(finding)
    if format is SignalFormat.CEF:
        return cef.encode(finding, message=message)
    encode = ecs.encode if format is SignalFormat.ECS else ocsf.encode

    def encode_finding(shown: Finding, untruncated_bytes: int | None) -> bytes:
        return encode(shown, message=message, logged_ms=logged_ms, untruncated_bytes=untruncated_bytes)

    return encode_within_limit(finding, LIMIT_BYTES, encode_finding)


def headers(finding: Finding, source: str, format: SignalFormat) -> list[tuple[str, bytes]]:  # noqa: A002, as above
    """Return the headers in a fixed order: CloudEvents 1.0, Kafka binding, binary mode, and the revision."""
    named = {
        "content-type": format.content_type,
        "ce_specversion": "1.0",
        "ce_type": "betrace.signal.v1",
        "ce_source": source,
        "ce_id": finding.revision_uid,
        "ce_time": rfc3339(finding.closed_ms),
        "ce_subject": finding.trace_id.hex(),
        "betrace_revision": str(finding.revision),
    }
    return [(name, value.encode()) for name, value in named.items() if value is not None]
