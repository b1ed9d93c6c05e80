"""The ingest worker: source records in, facts messages out.

    consume a batch → decode and project each record → every `flush_ms` one message per facts partition
    → when the brokers have confirmed a flush, commit the source offsets it covers

Ingest is stateless: everything it must remember is committed with the offsets. The loop never waits for brokers: while
they are away it stops reading, stays in its group if possible, and can be stopped. Records that were not committed are
read again, and repeated facts change nothing. A facts message that brokers refuse ends ingest.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from threading import Thread

import structlog
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from dsl import RuleSet
from streams.config.settings import ADMIN, Settings
from streams.ingest import flush, watermark_alignment
from streams.ingest.assignment import Assignment
from streams.ingest.commits import Commits
from streams.ingest.group import Commit, Source
from streams.ingest.idle import IdleTicks
from streams.ingest.intake import Intake
from streams.ingest.rules import RulesWatch
from streams.ingest.source import SourcePartition
from streams.ingest.watch import TopicWatch
from streams.kafka.clients import GROUP_CONSUMER
from streams.kafka.outbox import PRODUCER, Outbox
from streams.kafka.unreadable import seek
from streams.observe import metrics, self_tracing
from streams.observe.health import Health

log = structlog.get_logger()

BEHIND_MS = 250
"""The flush interval while no source partition is at its end: larger messages, and no window waits for them."""
FLUSH_BYTES = 800_000
FLUSH_GROUPS = 50_000
FLUSH_DEAD_LETTERS = 5_000
"""A message to every facts partition lists all of them; one batch more must still fit."""

IDLE_S = 1.0
POLL_S = 0.1
MAX_FULL_S = 5.0
FINISH_S = 2.5
COMMIT_S = 2.0
CLOSE_S = 2.0
"""How long leaving the group may take.

A stop takes a last flush, its commit and leaving the group: less than ten seconds together, even right after the flush
for a rebalance.
"""


class Ingest:
    """One ingest worker; `run` it until a signal handler calls `stop`."""

    def __init__(self, settings: Settings, rules: RuleSet, health: Health | None = None) -> None:
        self._settings = settings
        self._health = health or Health()
        self._health.use_rules(rules.fingerprint)
        self._stopping = False
        self._sources: dict[Source, SourcePartition] = {}
        self._commits = Commits()
        self._flushed_s = self._idled_s = self._had_room_s = time.monotonic()
        self._was_at_end = False
        self._outbox = Outbox(settings.client(PRODUCER), lambda: self._stopping)
        self._intake = Intake(settings, rules, self._outbox, self._sources)
        consumer = {
            **settings.client(GROUP_CONSUMER),
            "group.id": settings.group("ingest"),
            "on_commit": self._note_commit,
        }
        self._consumer = Consumer(consumer)
        self._paused = watermark_alignment.PausedPartitions(self._consumer)
        client = AdminClient({**settings.client(ADMIN)})
        self._assignment = Assignment(settings, client, lambda offsets: self._commits.send(self._consumer, offsets))
        self._idle = IdleTicks(client, _now_ms)
        self._watch = TopicWatch(client, settings.source_topics)
        self._rules = RulesWatch(client, settings, rules)

    @property
    def read_count(self) -> int:
        """The number of records read so far."""
        return self._intake.read_count

    def stop(self) -> None:
        """End `run` after the current batch; any thread may call this."""
        self._stopping = True

    def run(self) -> None:
        """Read until stopped; then flush, commit and leave the group, unless the brokers are away.

        Raises:
            StateError: a facts message was refused, Kafka reported a fatal error, or continuing would lose data.
        """
        topics = list(self._settings.source_topics)
        self._consumer.subscribe(topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost)
        try:
            while not self._stopping:
                self._turn()
            self._finish()
            self._sources.clear()
            self._commits.wait(self._consumer, COMMIT_S)
        finally:
            self._close()

    def _turn(self) -> None:
        self._health.turn()
        self._outbox.poll()
        if not self._may_read():
            return
        messages, had_pending = self._read(), self._intake.has_pending
        with metrics.STAGE.labels("take").time():
            self._restart(self._intake.take(messages, local_ms=_now_ms()))
            for at in self._intake.skip_unreadable(local_ms=_now_ms()):
                seek(self._consumer, at)
        self._start_reading()
        self._was_at_end |= any(source.at_end for source in self._sources.values())
        if messages or had_pending or all(source.at_end for source in self._sources.values()):
            self._health.move()
        now_s = time.monotonic()
        self._idle.step(self._sources.values())
        self._rules.step()
        if now_s - self._idled_s >= IDLE_S:
            self._idled_s = now_s
            self._idle.request_ends(self._sources.values())
            self._commit()
            self._restart(self._recreated_topics())
        if self._outbox.has_room and self._is_due(now_s - self._flushed_s):
            self._flushed_s, self._was_at_end = now_s, False
            with metrics.STAGE.labels("flush").time(), self_tracing.span("flush", sources=len(self._sources)):
                self._flush()
            self._follow_rules()

    def _read(self) -> list[Message]:
        """Return the next messages; only one while some are pending, so that the consumer keeps its membership."""
        if self._intake.has_pending and self._outbox.has_room:
            return self._consumer.consume(1, timeout=0)
        return self._consumer.consume(self._intake.batch_count, timeout=self._settings.flush_ms / 1000)

    def _may_read(self) -> bool:
        """Pause partitions as required; return False while there is nothing to do but wait for confirmations.

        Pausing discards what was fetched, so a short wait does without it; a long wait without polling would cost the
        membership.
        """
        if self._outbox.has_room:
            self._had_room_s = time.monotonic()
            self._paused.pause(
                watermark_alignment.too_far_ahead(
                    watermark_alignment.partition_progress(self._sources), self._paused.paused
                ),
                "ahead",
            )
            return True
        if time.monotonic() - self._had_room_s < MAX_FULL_S:
            self._outbox.poll(POLL_S)
            return False
        self._paused.pause(frozenset(self._sources), "unconfirmed")
        return True

    # Flushing

    def _is_due(self, since_s: float) -> bool:
        touch_count = sum(len(source.builder.touches) for source in self._sources.values())
        if sum(len(source.builder.dead_letters) for source in self._sources.values()) >= FLUSH_DEAD_LETTERS:
            return True
        if self._intake.is_full:
            return True
        if since_s * 1000 < self._flush_ms:
            return touch_count >= FLUSH_GROUPS
        return touch_count > 0 or since_s >= IDLE_S

    @property
    def _flush_ms(self) -> int:
        return self._settings.flush_ms if self._was_at_end else max(self._settings.flush_ms, BEHIND_MS)

    def _flush(self, *, is_last: bool = False) -> None:
        """Send what was projected, one message for every facts partition, or more if it is too large."""
        sources = [*self._sources.values()]
        if not sources:
            return
        builders = [source.take_builder() for source in sources]
        self._intake.check_sampling(builders)
        count, topic = self._settings.facts_partitions, self._settings.topic("facts")
        services = frozenset[str]().union(*(builder.services for builder in builders))
        sections = [
            builder.sections(count, source.time.watermark_ms) for source, builder in zip(sources, builders, strict=True)
        ]
        for partition in range(count):
            of_partition = [of_source[partition] for of_source in sections]
            for value in flush.messages(self._rules.rules.fingerprint, of_partition, FLUSH_BYTES, services):
                self._outbox.send(topic, value, None, partition)
        self._outbox.end_flight([_commit_at(source, is_last=is_last) for source in sources])
        metrics.FLUSHES.inc()
        for source in sources:
            metrics.take_times(source.topic, source.time)
            metrics.show_watermark(source.topic, source.partition, source.time.watermark_ms)

    def _follow_rules(self) -> None:
        """Switch to new rules, right after a flush, so that a message is projected with the rules that it names.

        A record that is held back was already projected, and counts later than this, so the switch waits for it.
        """
        if any(source.time.has_held_back for source in self._sources.values()):
            return
        next_rules = self._rules.take_next()
        if next_rules is not None:
            self._intake.use_rules(next_rules)
            for source in self._sources.values():
                source.use_rules(next_rules.fingerprint)
            self._health.use_rules(next_rules.fingerprint)

    def _finish(self) -> None:
        """Flush everything that is certain, wait for the confirmations, commit; do nothing without partitions."""
        if not self._sources:
            return
        self._flush(is_last=True)
        if not self._outbox.wait(FINISH_S):
            log.warning("brokers did not confirm all facts, their records will be read again", waited_s=FINISH_S)
        self._commit()

    def _commit(self) -> None:
        offsets = [at for at in self._outbox.take_confirmed() if (at.topic, at.partition) in self._sources]
        self._commits.send(self._consumer, offsets)

    def _note_commit(self, error: KafkaError | None, offsets: list[TopicPartition]) -> None:
        self._commits.note(error, offsets)
        if error is None:
            self._health.commit()

    def _close(self) -> None:
        """Leave the group; in a thread, because without brokers the call never returns."""
        self._sources.clear()
        closing = Thread(target=self._consumer.close, name="close", daemon=True)
        closing.start()
        closing.join(CLOSE_S)
        if closing.is_alive():
            log.warning("could not leave the group, no broker answers: the session time-out removes this member")

    # Partitions come and go

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Read nothing before `_start_reading`; the rebalance must not wait for it."""
        consumer.assign([])
        self._assignment.add((at.topic, at.partition) for at in partitions)
        self._health.assign(len(partitions))

    def _start_reading(self) -> None:
        """Start the partitions that are ready, and resume all others from where they are."""
        started = self._assignment.step(local_ms=_now_ms(), rules=self._rules.rules.fingerprint)
        if not started:
            return
        self._sources.update(((each.topic, each.partition), each) for each in started)
        # The consumer starts them at their positions, so their pending messages are read again.
        self._intake.forget(self._sources.keys())
        self._consumer.assign(
            [TopicPartition(each.topic, each.partition, each.next_offset) for each in self._sources.values()]
        )
        self._paused.reset(self._sources)

    def _restart(self, gone: set[Source]) -> None:
        """Flush what was projected of partitions whose position is no longer in the log, then start them anew."""
        if not gone:
            return
        self._flush()
        positions = {
            at: Commit(self._sources[at].builder.to_offset, self._sources[at].offset_metadata()) for at in gone
        }
        self._drop(gone)
        self._assignment.add(gone, positions)

    def _recreated_topics(self) -> set[Source]:
        """Return the source partitions whose topic was recreated."""
        topics = self._watch.step({source.topic: source.topic_id for source in self._sources.values()})
        return {source for source in self._sources if source[0] in topics}

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._finish()
        self._on_lost(consumer, partitions)

    def _on_lost(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        self._drop((at.topic, at.partition) for at in partitions)

    def _drop(self, gone: Iterable[Source]) -> None:
        dropped = {*gone}
        for source in dropped & self._sources.keys():
            del self._sources[source]
            metrics.hide_watermark(*source)
        self._intake.forget(dropped)
        self._assignment.remove(dropped)
        self._outbox.forget(dropped)
        self._paused.forget(dropped)
        self._idle.forget()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _commit_at(source: SourcePartition, *, is_last: bool) -> TopicPartition:
    """Return what may be committed of a source once everything that was flushed is confirmed."""
    metadata = source.metadata(is_last=is_last)
    return TopicPartition(source.topic, source.partition, source.builder.from_offset, metadata)
