"""Defines the errors of Kafka itself; the program prints the message and exits with code 3.

TopicsError
├── BrokerError     the embedded broker cannot be started: `topics.embedded.broker`
├── AdminError      Kafka does not answer, or refuses a request: `topics.cluster.admin`
└── CaptureError    a capture file is damaged: `topics.embedded.capture`
"""

from __future__ import annotations


class TopicsError(Exception):
    """The base of all errors that this package raises, except for unreadable records, which become dead letters."""


class BrokerError(TopicsError):
    """The embedded broker cannot run; the message says what to install, or ends with the last lines of its log."""


class AdminError(TopicsError):
    """Kafka does not answer or refuses a request; the message names the address or the request."""


class CaptureError(TopicsError):
    """A capture file is damaged; the message names the file and the frame."""
