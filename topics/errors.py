"""What can go wrong with Kafka itself; the program ends with exit 3 and the message.

TopicsError
├── BrokerError     there is no embedded broker: `topics.embedded.broker`
├── AdminError      Kafka does not answer, or refuses: `topics.cluster.admin`
└── CaptureError    a capture file is damaged: `topics.embedded.capture`
"""

from __future__ import annotations


class TopicsError(Exception):
    """Whatever this package raises on purpose, but for unreadable records, which become dead letters."""


class BrokerError(TopicsError):
    """There is no embedded broker; the message says what to install, or ends in the last lines of the broker's log."""


class AdminError(TopicsError):
    """Kafka does not answer or refuses; the message says where, and what was asked."""


class CaptureError(TopicsError):
    """A capture file is damaged; the message says where."""
