"""A sessions worker driven with values, on a real facts log; what it says and acknowledges."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from dsl import RuleSet, Span, compile_texts
from streams.config.settings import Settings
from streams.decode.decoder import TraceSpans
from streams.kafka import reader
from streams.observe import metrics
from streams.projection.project import Projector
from streams.rules import registry
from streams.sessions import recovery
from streams.sessions.worker import SessionsWorker
from tests.support.record import read_topic
from tests.support.waiting import wait_until
from topics.cluster import admin
from topics.records import facts, verdicts
from topics.records.facts import VERSION, Entry, Facts, Section
from topics.records.verdicts import Counted, Record, VerdictCounts, encode

AUDITED = "// id: audited\n// kind: invariant\npii.access and audit.log\n"
FEW = "// id: few\n// kind: pattern\ncount(agent.tool) > 1\n"
SPANS = {
    name: Span(name, number.to_bytes(8, "big"), start_ns=number)
    for number, name in enumerate(("pii.access", "audit.log", "agent.tool"), 1)
}
A, B, C = b"a" * 16, b"b" * 16, b"c" * 16
FAR_MS = 10_000_000
REACH_MS = 630_000
"""gap + lateness."""

DRIVEN: list[Driven] = []
"""All that were made in a test."""


def compiled(text: str) -> RuleSet:
    """The rules in a text."""
    rules, _ = compile_texts({"a.rules": text})
    return rules


@dataclass(slots=True)
class Driven:
    """A worker, and what it acknowledged; `at_acknowledge` is called each time that it does.

    `replay` is that of the sections which are written: its wall clock, and the record time at which it begins. Source
    offsets are those of the facts, `source_offset` higher.
    """

    settings: Settings
    rules: RuleSet = field(default_factory=lambda: compiled(AUDITED))
    worker: SessionsWorker = field(init=False)
    acknowledged: list[int] = field(default_factory=list)
    replay: tuple[int, int | None] = (0, None)
    source_offset: int = 0
    at_acknowledge: Callable[[], None] = field(default=lambda: None)

    def __post_init__(self) -> None:
        # Global state of the process: an ingest of another test may have left it.
        metrics.RULES_REFUSED.set(0)
        known, _ = registry.read(self.settings)
        identity = recovery.identify(AdminClient({**self.settings.client()}), self.settings)
        self.worker = SessionsWorker(self.settings, known, identity)
        self.worker.assign({0, 1})
        DRIVEN.append(self)

    def apply(self, watermark_ms: int | None, *entries: Entry, number: int = 0) -> None:
        """The next facts message, of one source partition, is written and given to the worker."""
        self.deliver(self.write(watermark_ms, *entries, number=number), number=number)

    def write(self, watermark_ms: int | None, *entries: Entry, number: int = 0, epoch: int = 1) -> int:
        """The next facts message is written; its offset, which is that of its source record too."""
        at = self.next_offset(number) + self.source_offset
        [topic] = self.settings.source_topics
        replay, start_ms = self.replay
        section = Section(
            topic=topic,
            partition=0,
            epoch=epoch,
            replay=replay,
            start_ms=start_ms,
            partition_count=1,
            from_offset=at,
            to_offset=at + 1,
            watermark_ms=watermark_ms,
            lost=[],
            touches=b"",
            entries=list(entries),
        )
        value = facts.encode(Facts(version=VERSION, rules=self.rules.fingerprint, sections=[section]))
        producer = Producer({**self.settings.client()})
        producer.produce(self.settings.topic("facts"), value, partition=number)
        producer.flush()
        return at - self.source_offset

    def deliver(self, *offsets: int, number: int = 0) -> None:
        """Faust gives messages that were written, for the first time or once more."""
        for at in offsets:
            place = TopicPartition(self.settings.topic("facts"), number, at)
            [message] = reader.between(self.settings, place, at + 1, lambda: False)
            self.worker.apply(number, at, message.value() or b"", partial(self._acknowledge, at))

    def again(self) -> Driven:
        """Another worker of the same installation."""
        return Driven(self.settings, self.rules, replay=self.replay, source_offset=self.source_offset)

    def next_offset(self, number: int = 0) -> int:
        """The offset that the next facts message gets."""
        at = TopicPartition(self.settings.topic("facts"), number)
        return admin.end_offsets(AdminClient({**self.settings.client()}), [at])[at.topic, number]

    def step(self) -> None:
        """A step of the worker, and what it lets be acknowledged."""
        for acknowledge in self.worker.step():
            acknowledge()

    def release(self, *numbers: int) -> None:
        """Another worker gets these partitions."""
        self.worker.revoke(numbers)
        for acknowledge in self.worker.release(numbers):
            acknowledge()

    def entry(self, tick: int, *names: str, trace: bytes = A) -> Entry:
        """An entry of the next message with spans of these names."""
        spans = [SPANS[name] for name in names]
        found = Projector(self.rules).facts(TraceSpans(len(spans), root_seen=True, spans=spans))
        at = self.next_offset() + self.source_offset
        return Entry(trace, at, at, tick, len(spans), root_seen=True, facts=found)

    def crash(self) -> None:
        """The worker is gone without a last step; only its locks are given back, as the kernel would."""
        self.worker.abandon()

    def signals(self) -> list[tuple[str, str, int]]:
        """Trace id, verdict and revision of each signal on the topic."""
        said = [
            json.loads(frame.value)["unmapped"]["betrace"]
            for frame in read_topic(self.settings.bootstrap, self.settings.topic("signals"))
        ]
        return [(one["trace_id"], one["verdict"], one["revision"]) for one in said]

    def verdicts(self) -> list[verdicts.Record]:
        """The records on the verdicts topic, without those of steps that never were."""
        topic = self.settings.topic("verdicts")
        return [verdicts.decode(frame.value) for frame in read_topic(self.settings.bootstrap, topic)]

    def _acknowledge(self, offset: int) -> None:
        self.acknowledged.append(offset)
        self.at_acknowledge()


def chained(records: list[Record]) -> Counted:
    """Follows the chain, which every coverage record must know; returns where it ends."""
    reached = Counted()
    for record in records:
        if isinstance(record, VerdictCounts):
            assert (reached.seq, reached.head) == (record.seq, record.prev)
            reached = reached.after(record, encode(record))
        else:
            counted = record.counted
            assert (reached.seq, reached.head, reached.added, reached.taken_back) == (
                counted.seq,
                counted.head,
                counted.added,
                counted.taken_back,
            )
    return reached


def made_again(settings: Settings, name: str) -> None:
    """A topic is deleted, and made as it was."""
    client = AdminClient({**settings.client()})
    topic = settings.topic(name)
    client.delete_topics([topic])[topic].result()
    wait_until(lambda: topic not in client.list_topics(timeout=10).topics, f"{topic} is gone")

    def is_made() -> bool:
        made = client.create_topics([NewTopic(topic, settings.facts_partitions)])[topic]
        return made.exception() is None

    wait_until(is_made, f"{topic} is there")
