"""An installation that a fleet of workers runs on: its broker, topics, rules and settings."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from confluent_kafka.cimpl import NewTopic

from dsl import RuleSet
from streams.cli.load import load
from streams.config.settings import Settings
from streams.rules import registry
from tests.crash import hostile
from tests.crash.fleet import Fleet
from tests.crash.traffic import Times
from tests.support import paths
from topics.cluster import admin
from topics.embedded import broker
from topics.embedded.broker import Broker
from topics.spec import Layout

RULES = paths.RULES / "corpus.rules"
FACTS_PARTITIONS = 5
CATCH_UP_S = 900.0
LOOK_EVERY_S = 0.25


@dataclass(slots=True)
class Site:
    """Everything but the workers' lives; `kafka` is the broker as it was started last."""

    kafka: Broker
    directory: Path
    times: Times
    prefix: str = "chaos."
    rules: RuleSet = field(init=False)
    fleet: Fleet = field(init=False)
    client: AdminClient = field(init=False)

    def __post_init__(self) -> None:
        self.client = AdminClient({"bootstrap.servers": self.kafka.bootstrap})
        hostile_rules = self.directory / "hostile.rules"
        hostile_rules.write_text(hostile.RULES)
        self.rules = load([str(RULES), str(hostile_rules)])
        times = self.times
        self.fleet = Fleet(
            self.directory,
            [
                *("--bootstrap", self.kafka.bootstrap, "--prefix", self.prefix, "--source-topics", self.source),
                *("--gap", f"{times.gap_ms}ms", "--lateness", f"{times.lateness_ms}ms"),
                *("--max-duration", f"{times.max_duration_ms}ms", "--out-of-order", f"{times.out_of_order_ms}ms"),
            ],
        )

    @property
    def source(self) -> str:
        """The source topic."""
        return f"{self.prefix}spans"

    def settings(self, state_dir: Path) -> Settings:
        """The settings of the worker with this state directory."""
        return Settings(
            bootstrap=self.kafka.bootstrap,
            state_dir=state_dir,
            source_topics=(self.source,),
            prefix=self.prefix,
            facts_partitions=FACTS_PARTITIONS,
            gap_ms=self.times.gap_ms,
            lateness_ms=self.times.lateness_ms,
            max_duration_ms=self.times.max_duration_ms,
            out_of_order_ms=self.times.out_of_order_ms,
        )

    def make(self, partitions: int) -> None:
        """Makes the topics, the source's with record times of the producer, and pushes the rules."""
        client = self.client
        [made] = client.create_topics([NewTopic(self.source, partitions)]).values()
        made.result()
        admin.create(client, Layout(self.prefix, (self.source,), FACTS_PARTITIONS))
        registry.push(self.settings(self.directory), self.rules, now_ms=time.time_ns() // 1_000_000)

    def let_the_broker_stamp(self) -> None:
        """From now on record times are those at which the broker took the records in."""
        stamp = ConfigEntry("message.timestamp.type", "LogAppendTime", incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, self.source, incremental_configs=[stamp])
        [changed] = self.client.incremental_alter_configs([resource]).values()
        changed.result()

    @contextmanager
    def broker_paused(self) -> Iterator[None]:
        """SIGSTOP, and SIGCONT at the end."""
        assert self.kafka.pid is not None
        os.kill(self.kafka.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.kafka.pid, signal.SIGCONT)

    def restart_broker(self) -> None:
        """The broker ends and comes back with what it has on disk, at the same address."""
        self.kafka.stop()
        self.kafka = broker.start(self.kafka.data_dir, port=int(self.kafka.bootstrap.rpartition(":")[2]))

    def wait_until_read(self, role: str) -> float:
        """Waits until a role has committed all that is on its topic; returns after how many seconds.

        Raises:
            TimeoutError: it does not get there.
        """
        topic = self.source if role == "ingest" else f"{self.prefix}facts"
        begun_s = time.monotonic()
        while behind := self._behind(f"{self.prefix}{role}", topic):
            if time.monotonic() - begun_s > CATCH_UP_S:
                raise TimeoutError(f"{role} did not read all in {CATCH_UP_S:.0f} s, it lacks {behind}")
            self.fleet.revive()
            time.sleep(LOOK_EVERY_S)
        return time.monotonic() - begun_s

    def facts_cut(self) -> int:
        """How many facts messages were deleted."""
        facts = [TopicPartition(f"{self.prefix}facts", number) for number in range(FACTS_PARTITIONS)]
        return sum(admin.earliest_offsets(self.client, facts).values())

    def _behind(self, group: str, topic: str) -> dict[int, int]:
        """How many records a group has not committed, by partition, without those of which it has all."""
        client = self.client
        count = admin.partition_counts(client, [topic])[topic]
        asked = [TopicPartition(topic, number) for number in range(count)]
        ends = admin.end_offsets(client, asked)
        committed = {at.partition: max(at.offset, 0) for at in self._committed(group, asked)}
        behind = {number: end - committed.get(number, 0) for (_, number), end in ends.items()}
        return {number: lag for number, lag in behind.items() if lag}

    def _committed(self, group: str, asked: list[TopicPartition]) -> list[TopicPartition]:
        asking = Consumer({"bootstrap.servers": self.kafka.bootstrap, "group.id": group})
        try:
            return asking.committed(asked, timeout=CATCH_UP_S)
        finally:
            asking.close()
