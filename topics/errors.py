"""Defines the errors of Kafka itself, and why a source record is refused.

For the errors the program prints the message and exits with code 3. A refused record becomes a dead letter.

TopicsError
├── BrokerError     the embedded broker cannot be started: `topics.embedded.broker`
├── AdminError      Kafka does not answer, or refuses a request: `topics.cluster.admin`
└── CaptureError    a capture file is damaged: `topics.embedded.capture`
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class TopicsError(Exception):
    """The base of all errors that this package raises, except for unreadable records, which become dead letters."""


class BrokerError(TopicsError):
    """The embedded broker cannot run; the message says what to install, or ends with the last lines of its log."""


class AdminError(TopicsError):
    """Kafka does not answer or refuses a request; the message names the address or the request."""


class CaptureError(TopicsError):
    """A capture file is damaged; the message names the file and the frame."""


class RefusalReason(Enum):
    """Why a source record is refused: the values are the labels of the metric, and begin the reason of a dead letter.

    `streams/ingest/README.md` explains each.
    """

    EMPTY = "empty"
    NOT_PROTOBUF = "not protobuf"
    NOT_JSON = "not json"
    NOT_OTLP_JSON = "not otlp json"
    TOO_DEEP = "json is nested too deep"
    NO_RECORDS = "no resource spans or resource logs"
    ONLY_UNKNOWN = "no spans or log records, only unknown fields"
    NO_TRACE = "no span has a valid trace id"
    OVER_BUDGET = "facts take more than the record's budget"
    PROJECTION_FAILED = "projection failed"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why one source record is refused; `detail` must not show what the record contains.

    >>> str(Refusal(RefusalReason.EMPTY)), str(Refusal(RefusalReason.NOT_JSON, "input data was truncated"))
    ('empty', 'not json: input data was truncated')
    """

    reason: RefusalReason
    detail: str | None = None

    def __str__(self) -> str:
        """Return the reason as a dead letter has it."""
        return self.reason.value if self.detail is None else f"{self.reason.value}: {self.detail}"
