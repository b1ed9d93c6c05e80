"""`record(finding) -> record of betrace.signals`: one per revision of a finding.

In: a `Finding`. Out: a Kafka record. The key is the finding's uid, the value one JSON document of at most
`LIMIT_BYTES`, the headers those of a CloudEvent in binary mode. Nothing but `metadata.logged_time` depends on when it
is written.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from topics import ocsf
from topics.finding import Finding
from topics.fit import fit
from topics.sentence import sentence

LIMIT_BYTES = 512 * 1024
"""The largest value: half of what a Kafka broker takes unless it was changed."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Record(NamedTuple):
    """What a producer sends."""

    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


def record(finding: Finding, *, logged_ms: int, source: str) -> Record:
    """The record of one finding.

    `logged_ms` is the wall clock in Unix ms, `source` the CloudEvents source, a URI reference that names this
    installation.
    """
    message = sentence(finding)

    def written(shown: Finding, uncut_bytes: int | None) -> bytes:
        return ocsf.encode(shown, message=message, logged_ms=logged_ms, uncut_bytes=uncut_bytes)

    return Record(finding.uid.encode(), fit(finding, LIMIT_BYTES, written), headers(finding, source))


def headers(finding: Finding, source: str) -> list[tuple[str, bytes]]:
    """The headers, in a fixed order: CloudEvents 1.0, Kafka binding, binary mode, and our revision."""
    named = {
        "content-type": "application/json",
        "ce_specversion": "1.0",
        "ce_type": "betrace.signal.v1",
        "ce_source": source,
        "ce_id": finding.revision_uid,
        "ce_time": rfc3339(finding.closed_ms),
        "ce_subject": finding.trace_id.hex(),
        "betrace_revision": str(finding.revision),
    }
    return [(name, value.encode()) for name, value in named.items() if value is not None]


def rfc3339(time_ms: int) -> str | None:
    """Unix ms as text; None outside the years 1 to 9999, which a record's producer may well claim.

    >>> rfc3339(1767614400007), rfc3339(1 << 60)
    ('2026-01-05T12:00:00.007Z', None)
    """
    try:
        moment = _EPOCH + timedelta(milliseconds=time_ms)
    except OverflowError:
        return None
    return f"{moment.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"
