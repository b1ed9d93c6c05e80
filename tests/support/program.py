"""`betrace run` as a user starts it, against a real Kafka, and what it left on the topics."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from dsl import Verdict, load
from streams.decode.decoder import decode
from streams.inspect.offline import judge_spans
from streams.projection.project import Projector
from tests.support import paths
from tests.support.record import read_topic
from tests.support.waiting import wait_until
from topics.cluster import admin
from topics.embedded import capture
from topics.embedded.capture import Frame

CAPTURES = paths.CAPTURES
DEMO_RULES = CAPTURES / "demo.rules"
STAMPED = ("--allow-create-time", "--max-clock-skew", "1h")
"""Tests stamp records as if they came at another time, by less than an hour."""
RUN_S = 240
STOP_S = 60


@dataclass(frozen=True)
class Program:
    """One installation: a cluster, a topic prefix, a state directory, rules, and source topics.

    The source topics are its own, or those of the installation whose prefix is `sources`.
    """

    bootstrap: str
    prefix: str
    state_dir: Path
    rules: Path = DEMO_RULES
    options: tuple[str, ...] = ("--gap", "2s", "--out-of-order", "500ms", "--facts-partitions", "3")
    sources: str | None = None

    @property
    def spans_topic(self) -> str:
        """The source topic of spans."""
        return f"{self.prefix if self.sources is None else self.sources}otlp_spans"

    @property
    def logs_topic(self) -> str:
        """The source topic of log records."""
        return f"{self.prefix if self.sources is None else self.sources}otlp_logs"

    def make_sources(self, partitions: int = 2, stamped: str = "CreateTime") -> None:
        """Makes the source topics, whose record time is the producer's, or the brokers' with `LogAppendTime`."""
        config = {"message.timestamp.type": stamped}
        topics = [NewTopic(name, partitions, config=config) for name in (self.spans_topic, self.logs_topic)]
        client = AdminClient({"bootstrap.servers": self.bootstrap})
        for made in client.create_topics(topics).values():
            made.result()
        admin.wait_until_available(client, [self.spans_topic, self.logs_topic])

    def command(self, *options: str) -> list[str]:
        """The command line."""
        where = ["--bootstrap", self.bootstrap, "--prefix", self.prefix, "--state-dir", str(self.state_dir)]
        sources = ["--source-topics", f"{self.spans_topic},{self.logs_topic}"]
        rules = ["--rules", str(self.rules)]
        return [sys.executable, "-m", "streams.cli", "run", *rules, *where, *sources, *STAMPED, *self.options, *options]

    def run_until_idle(self) -> Ended:
        """Runs to the end of what is there; a failure shows what it said."""
        done = subprocess.run(self.command("--until-idle"), capture_output=True, text=True, timeout=RUN_S, check=False)
        assert done.returncode == 0, done.stderr[-6000:]
        return Ended(done.stderr)

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        """Runs for as long as the context lasts; what is left of it then is killed, its stages with it."""
        run = subprocess.Popen(self.command(), stderr=subprocess.DEVNULL)
        try:
            yield run
        finally:
            if run.poll() is None:
                run.send_signal(signal.SIGKILL)
            run.wait(STOP_S)

    def play(self, *names: str) -> int:
        """Writes packaged captures to the source topics; returns how many records that were."""
        producer = Producer({"bootstrap.servers": self.bootstrap})
        count = 0
        for name in names:
            topic = self.logs_topic if name.endswith("logs") else self.spans_topic
            for frame in capture.read(CAPTURES / f"{name}.bin.gz"):
                producer.produce(topic, frame.value, frame.key)
                count += 1
        producer.flush()
        return count

    def signals(self) -> list[dict[str, Any]]:
        """Every signal on the topic."""
        return [json.loads(frame.value) for frame in self.records("signals")]

    def revisions(self) -> list[tuple[str, int, str]]:
        """The uid, revision and verdict of every signal, sorted; one that came twice is there twice."""
        return sorted(
            (one["finding_info"]["uid"], one["unmapped"]["betrace"]["revision"], one["unmapped"]["betrace"]["verdict"])
            for one in self.signals()
        )

    def broken(self) -> set[tuple[str, str]]:
        """The (rule id, trace id) whose last signal says that the rule was broken."""
        return {pair for pair, verdict in self.last_verdicts().items() if verdict == "broken"}

    def last_verdicts(self) -> dict[tuple[str, str], str]:
        """The verdict of the highest revision, by rule id and trace id."""
        said = [signal["unmapped"]["betrace"] for signal in self.signals()]
        said.sort(key=lambda one: int(one["revision"]))
        return {(one["rule"]["id"], one["trace_id"]): one["verdict"] for one in said}

    def truth(self) -> set[tuple[str, str]]:
        """What the rules say of the source topics read at once, without Kafka's windows: the broken traces."""
        rules, _ = load([self.rules])
        interest = Projector(rules).interest
        topics = (self.spans_topic, self.logs_topic)
        frames = [frame for topic in topics for frame in read_topic(self.bootstrap, topic)]
        traces = [decode(frame.value, interest).traces for frame in frames]
        return {
            (judgement.rule.id, close.trace_id.hex())
            for close, judgement in judge_spans(traces, rules)
            if judgement.verdict is Verdict.BROKEN
        }

    def records(self, name: str) -> list[Frame]:
        """The records of one of our own topics."""
        return read_topic(self.bootstrap, self.prefix + name)

    def wait_for_signals(self) -> None:
        """Waits until there is a signal; fails when there is none in `RUN_S`."""
        wait_until(lambda: self.records("signals"), "there is a signal", RUN_S)

    def uncommitted(self) -> dict[tuple[str, int], int]:
        """How many source records ingest has not committed, by source partition; those it has are left out."""
        client = AdminClient({"bootstrap.servers": self.bootstrap})
        ends = admin.end_offsets(
            client, [TopicPartition(name, at) for name in (self.spans_topic, self.logs_topic) for at in range(2)]
        )
        asked = ConsumerGroupTopicPartitions(f"{self.prefix}ingest", [TopicPartition(*source) for source in ends])
        [answer] = client.list_consumer_group_offsets([asked]).values()
        committed = {(at.topic, at.partition): at.offset for at in answer.result().topic_partitions}
        return {source: end - committed[source] for source, end in ends.items() if end != committed[source]}


@dataclass(frozen=True)
class Ended:
    """A run that ended well, and its log."""

    log: str

    def scanners(self) -> set[str]:
        """How requests were decoded, as each ingest says when it begins."""
        lines = [json.loads(line) for line in self.log.splitlines() if line.startswith("{")]
        return {line["scanner"] for line in lines if line["event"] == "decoder backend selected"}

    def totals(self) -> dict[str, int]:
        """What all stages counted, as the last log line gives it."""
        totals = json.loads(self.log.splitlines()[-1])
        assert totals["event"] == "run ended", totals
        return {name: value for name, value in totals.items() if isinstance(value, int)}


def is_ready(port: int) -> bool:
    """A stage's probe says that it is ready."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return bool(answer.status == HTTPStatus.OK)
    except OSError:
        return False


def alive(pid: int) -> bool:
    """A process with this pid exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def expected() -> set[tuple[str, str]]:
    """The (rule id, trace id) that the applications behind the captures broke."""
    truth = json.loads((CAPTURES / "expected.json").read_text())
    return {(rule, trace) for rule, said in truth.items() for trace in said["broken"]}
