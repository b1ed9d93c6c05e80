"""Reads the source records of a period, for commands that need no windows.

In: the period, and Kafka or an archive. Out: its records as messages, each source partition in the order of its
offsets. No consumer group is joined and nothing is committed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from confluent_kafka import Message, TopicPartition

from streams.config.settings import Settings
from streams.errors import ConfigError, StateError
from streams.kafka.clients import PARTITION_EOF
from streams.kafka.unreadable import UnreadableRange, UnreadableTracker
from streams.replay import plan as planning
from streams.replay.feed import Feed, KafkaFeed, check
from streams.replay.plan import Period, Plan
from streams.windows.clock import Source
from topics.cluster import admin
from topics.records.facts import TICK_MS


class PeriodReader:
    """Reads the records stamped in a period; `plan` says what, `lost` are ranges that no client could read."""

    def __init__(self, settings: Settings, archive: str | None, period: Period, *, now_ms: int) -> None:
        """Plan what to read; raises what `streams.replay.plan` raises."""
        self.lost: list[UnreadableRange] = []
        self._settings = settings
        self._archive = archive
        # A replay begins earlier and ends later by as long as a window can last; there are no windows here.
        near = dataclasses.replace(settings, gap_ms=TICK_MS, lateness_ms=0, max_duration_ms=2 * TICK_MS)
        self.plan = _plan(near, archive, period, now_ms)
        inputs = [each for each in self.plan.inputs if each.begin < each.end]
        self._inputs = inputs
        self._ends = {each.source: each.end for each in inputs}
        self._next_offsets = {each.source: each.begin for each in inputs}
        self._open = set(self._ends)

    def messages(self) -> Iterator[Message]:
        """Yield the records.

        Raises:
            StateError: reading cannot continue.
        """
        if not self._open:
            return
        feed, obstacles = self._feed(), UnreadableTracker.of(self._settings)
        try:
            while self._open:
                for message in feed.take(frozenset()):
                    if self._is_record(message, feed, obstacles):
                        yield message
                self._pass_over(feed, obstacles)
        finally:
            feed.close()

    def _feed(self) -> Feed:
        if self._archive is None:
            return KafkaFeed(self._settings, self._inputs)
        from streams.replay.archive_feed import ArchiveFeed  # noqa: PLC0415, an extra

        return ArchiveFeed(self._archive, self.plan, self._inputs)

    def _is_record(self, message: Message, feed: Feed, obstacles: UnreadableTracker) -> bool:
        """Return whether a message is a record of the period; take note of its partition's end, and of errors."""
        source, error = _source(message), message.error()
        if source not in self._open:
            return False
        if error is not None:
            if error.code() == PARTITION_EOF:
                self._finish(source, feed)
            else:
                check(message, error)
                obstacles.note(source, self._next_offsets[source], error)
            return False
        offset, time_ms = message.offset() or 0, message.timestamp()[1]
        if not self._next_offsets[source] <= offset < self._ends[source]:
            return False  # fetched again, or written since
        self._next_offsets[source] = offset + 1
        if offset + 1 >= self._ends[source] or time_ms >= self.plan.period.to_ms + self._settings.out_of_order_ms:
            self._finish(source, feed)
        return self.plan.period.holds(time_ms)

    def _pass_over(self, feed: Feed, obstacles: UnreadableTracker) -> None:
        """Skip what is known to be unreadable."""
        for each in obstacles.step():
            if each.source in self._open and each.from_offset == self._next_offsets[each.source]:
                self._next_offsets[each.source] = each.to_offset
                if each.to_offset > each.from_offset:
                    self.lost.append(each)
                feed.resume(TopicPartition(*each.source, each.to_offset))

    def _finish(self, source: Source, feed: Feed) -> None:
        self._open.discard(source)
        feed.finish(source)


def _plan(settings: Settings, archive: str | None, period: Period, now_ms: int) -> Plan:
    if archive is None:
        return planning.of_kafka(admin.connect(settings.client()), settings, period, now_ms)
    try:
        from streams.replay import archive_feed  # noqa: PLC0415, an extra
    except ImportError as error:
        raise ConfigError(f"{error.name} is not installed: pip install 'betrace[archive]'") from error
    return archive_feed.plan(archive, settings, period, now_ms)


def _source(message: Message) -> Source:
    topic, partition = message.topic(), message.partition()
    if topic is None or partition is None:
        raise StateError("kafka returned a message without an offset", action="report this as a bug")
    return topic, partition
