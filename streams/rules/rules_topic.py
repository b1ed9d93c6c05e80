"""Reads the last record of each key of `betrace.rules`, and what of the topic cannot be read.

In: the topic. Out: `RulesTopic`. A range that cannot be read may have held a rule set, a push, or the activation of
another set than the last one that can be read. It is skipped with a warning; `lost_since_active` has those that matter.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import structlog
from confluent_kafka import Message

from streams.config.settings import Settings
from streams.kafka import reader
from streams.kafka.unreadable import UnreadableRange
from topics.records import rules as records

log = structlog.get_logger()

PUSH_HELP = "push the rules that should be active with betrace rules push DIR"


@dataclass(slots=True)
class RulesTopic:
    """The last record of each key, and the ranges that cannot be read."""

    latest: dict[bytes, Message] = field(default_factory=dict)
    lost: list[UnreadableRange] = field(default_factory=list)

    @property
    def active(self) -> str | None:
        """The set that the last readable activation names, None if there is none."""
        message = self.latest.get(records.ACTIVE_KEY)
        value = b"" if message is None else message.value() or b""
        return value.decode(errors="replace") or None

    @property
    def lost_since_active(self) -> list[UnreadableRange]:
        """The ranges in which another set may have been activated after the last readable activation."""
        message = self.latest.get(records.ACTIVE_KEY)
        offset = -1 if message is None else message.offset() or 0
        return [each for each in self.lost if each.to_offset > offset]


def read_topic(settings: Settings) -> RulesTopic:
    """Read the topic; log a warning if it is not certain which set is active.

    Raises:
        StateError: the topic does not exist, or no broker answers.
    """
    content = RulesTopic()
    for message in reader.read(settings, settings.topic("rules"), content.lost.append):
        content.latest[message.key() or b""] = message
    for each in content.lost_since_active:
        log.warning(
            "another rule set may be active: it may have been activated in records that cannot be read",
            topic=each.source[0],
            partition=each.source[1],
            offset=each.from_offset,
            to_offset=each.to_offset,
            last_readable=content.active,
            help=PUSH_HELP,
        )
    return content
