"""An ingest worker in a thread, the records it is given, and what it wrote."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import psutil
from confluent_kafka import KafkaError, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

from dsl import RuleSet, compile_texts
from streams.config.settings import Settings
from streams.ingest import group
from streams.ingest.group import Commit, Source
from streams.ingest.loop import Ingest
from tests.support import group_tool
from tests.support.record import read_topic
from tests.support.waiting import WAIT_S, wait_until
from topics.cluster import admin
from topics.errors import AdminError
from topics.records.facts import NO_SPAN, Section, decode, unpack_touches
from topics.spec import Layout

RULE = '// "Access is audited"\npii.access and audit.log\n'


def rules() -> RuleSet:
    """One rule: every record below hits one of its atoms."""
    compiled, _ = compile_texts({"a.rules": RULE})
    return compiled


def record(number: int) -> bytes:
    """A source record: one trace with one span, whose id is the number."""
    span = {"traceId": f"{number + 1:032x}", "spanId": f"{number + 1:016x}", "name": "pii.access"}
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).encode()


@dataclass(frozen=True)
class Site:
    """An installation whose only stage is ingest."""

    settings: Settings
    client: AdminClient

    @classmethod
    def made(
        cls,
        bootstrap: str,
        prefix: str,
        state_dir: Path,
        counts: dict[str, int],
        facts_partitions: int = 2,
        **config: str,
    ) -> Site:
        """Makes source topics with so many partitions and such a configuration, and the topics of the flow."""
        names = tuple(f"{prefix}{name}" for name in counts)
        settings = Settings(
            bootstrap=bootstrap,
            state_dir=state_dir,
            source_topics=names,
            prefix=prefix,
            facts_partitions=facts_partitions,
        )
        site = cls(settings, AdminClient({**settings.client()}))
        site.make_sources(dict(zip(names, counts.values(), strict=True)), **config)
        admin.create(site.client, Layout(prefix, names, settings.facts_partitions))
        return site

    @property
    def spans(self) -> str:
        """The first source topic."""
        return self.settings.source_topics[0]

    def make_sources(self, counts: dict[str, int], **config: str) -> None:
        """Makes topics."""
        # Records of any time, which stay.
        anything = {"retention.ms": "-1", "message.timestamp.after.max.ms": str(2**63 - 1)}
        dotted = anything | {name.replace("_", "."): value for name, value in config.items()}
        for made in self.client.create_topics([NewTopic(*each, config=dotted) for each in counts.items()]).values():
            made.result()
        admin.wait_until_available(self.client, counts)

    def remake(self, topic: str, count: int = 1) -> None:
        """Deletes a topic and makes it again, with so many partitions."""
        self.client.delete_topics([topic])[topic].result()
        wait_until(lambda: topic not in admin.topic_ids(self.client, [topic]), "the topic is gone")
        self.make_sources({topic: count})

    def grow(self, topic: str, count: int) -> None:
        """Gives a topic more partitions."""
        self.client.create_partitions([NewPartitions(topic, count)])[topic].result()

    def write(self, topic: str, partition: int, numbers: Iterable[int], times_ms: Iterable[int] | None = None) -> None:
        """Writes records, with their times if they are given."""
        producer = Producer({**self.settings.client(), "linger.ms": 20})
        times = iter(times_ms) if times_ms is not None else None
        for number in numbers:
            timestamp = next(times) if times else 0
            producer.produce(topic, record(number), partition=partition, timestamp=timestamp, on_delivery=must_arrive)
        producer.flush()

    @contextmanager
    def ingesting(self) -> Iterator[Ingest]:
        """An ingest worker for as long as the context lasts; raises what ended it."""
        ingest = Ingest(self.settings, rules())
        ended: list[BaseException] = []

        def run() -> None:
            try:
                ingest.run()
            except BaseException as error:  # noqa: BLE001, it is raised below
                ended.append(error)

        thread = Thread(target=run, daemon=True)
        thread.start()
        try:
            yield ingest
        finally:
            ingest.stop()
            thread.join(WAIT_S)
        if ended:
            raise ended[0]

    def command(self) -> list[str]:
        """The command line of an ingest process, which wants active rules."""
        command = [sys.executable, "-m", "streams.cli", "run", "--role", "ingest", "--bootstrap"]
        sources = ",".join(self.settings.source_topics)
        where = [self.settings.bootstrap, "--prefix", self.settings.prefix, "--source-topics", sources]
        return [*command, *where, "--allow-create-time"]

    def ingest_all(self, count: int) -> None:
        """Runs a worker until it has read so many records."""
        with self.ingesting() as ingest:
            wait_until(lambda: ingest.read_count >= count, f"{count} records are read", within_s=4 * WAIT_S)

    def reset(self, *options: str) -> None:
        """Kafka's own tool moves the group's offsets, as an operator does."""
        group_tool.reset(self.settings.bootstrap, self.settings.group("ingest"), *options)

    def committed(self) -> dict[Source, Commit]:
        """What the group committed; nothing while its coordinator does not say."""
        counts = admin.partition_counts(self.client, self.settings.source_topics)
        places = [TopicPartition(topic, number) for topic, count in counts.items() for number in range(count)]
        try:
            return group.committed_offsets(self.settings, places)
        except AdminError:
            return {}

    def sections(self) -> list[Section]:
        """Every section of every facts message, in the order of the log, one facts partition after the other."""
        return [section for sections in self.messages() for section in sections]

    def messages(self) -> list[list[Section]]:
        """The sections of each facts message, in the same order."""
        frames = read_topic(self.settings.bootstrap, self.settings.topic("facts"))
        return [decode(frame.value).sections for frame in frames]

    def hits(self) -> dict[Source, list[int]]:
        """The numbers of the records whose facts were written, by source partition, as often as they were."""
        found: defaultdict[Source, list[int]] = defaultdict(list)
        for section in self.sections():
            # Every span hits, so the only touches are marks.
            assert {NO_SPAN} >= {touch.span_count for touch in unpack_touches(section.touches)}
            found[section.topic, section.partition] += [
                int.from_bytes(fact.identity, "big") - 1 for entry in section.entries for fact in entry.facts
            ]
        return {source: sorted(numbers) for source, numbers in found.items()}

    def hits_since(self, replay: int) -> dict[Source, set[int]]:
        """As `hits`, of one replay."""
        found: defaultdict[Source, set[int]] = defaultdict(set)
        for section in self.sections():
            if section.replay == replay:
                found[section.topic, section.partition] |= {
                    int.from_bytes(fact.identity, "big") - 1 for entry in section.entries for fact in entry.facts
                }
        return dict(found)


def peak_bytes(process: int) -> int:
    """The most memory that a process has taken so far; where the system does not keep that, what it takes now."""
    status = Path(f"/proc/{process}/status")
    if not status.exists():
        now_bytes: int = psutil.Process(process).memory_info().rss
        return now_bytes
    [peak] = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
    return int(peak.split()[1]) << 10


def must_arrive(error: KafkaError | None, _: Message) -> None:
    """Fails when a record was not written."""
    assert error is None, error


def highest_watermark_ms(site: Site) -> int:
    """The highest watermark that any section told."""
    return max((section.watermark_ms or 0 for section in site.sections()), default=0)


def holes(sections: Iterable[Section]) -> list[Section]:
    """The sections that do not go on where their source partition's epoch stood, nor overlap it, nor begin an epoch."""
    stood: dict[tuple[str, int, int], int] = {}
    found: list[Section] = []
    for section in sections:
        at = (section.topic, section.partition, section.epoch)
        if section.from_offset > stood.get(at, section.from_offset):
            found.append(section)
        stood[at] = max(section.to_offset, stood.get(at, 0))
    return found
