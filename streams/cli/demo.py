"""`betrace demo`: the whole way once, on a Kafka of its own, with what a real Collector wrote."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from types import FrameType

import click
import msgspec
from confluent_kafka import Message, Producer, TopicPartition
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from dsl import RuleSet
from streams.cli.load import load
from streams.config.settings import Settings
from streams.decode.decoder import decode
from streams.errors import StateError
from streams.inspect import offline
from streams.kafka import reader
from streams.observe import logs
from streams.projection.project import Projector
from topics.cluster import admin
from topics.embedded import broker, capture
from topics.records import verdicts
from topics.spec import Layout

CAPTURES = resources.files("topics") / "embedded" / "captures"
PARTITIONS = 4
RUN = ("--gap", "2s", "--out-of-order", "500ms", "--until-idle")
CAPTURED = {
    "keyed_spans": "otlp_spans",
    "keyed_logs": "otlp_logs",
    "unkeyed_spans": "otlp_spans",
    "unkeyed_logs": "otlp_logs",
}
"""Capture to source topic."""


@click.command("demo", epilog="\b\nExample:\n  betrace demo")
def command() -> None:
    """Play a recorded day of a shop and a hospital through Kafka, and show the signals."""
    logs.configure()
    console = Console(highlight=False)
    signal.signal(signal.SIGTERM, _interrupt)
    with tempfile.TemporaryDirectory(prefix="betrace-demo-") as directory:
        console.print("Starting Kafka in a temporary directory (the first time its jars are fetched) …")
        with broker.running(Path(directory) / "kafka") as kafka:
            demo = Demo(console, kafka.bootstrap, Path(directory))
            demo.play()
            demo.judge()
            demo.judge_later()
    console.print("\nNothing is left running. Next: betrace run --help")


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


class Demo:
    """The steps of the demo; each prints what it does."""

    def __init__(self, console: Console, bootstrap: str, directory: Path) -> None:
        self._console = console
        self._settings = Settings(bootstrap=bootstrap, state_dir=directory / "state", facts_partitions=PARTITIONS)

    def play(self) -> None:
        """Writes the recorded messages to the source topics: keyed by trace, then the same traces unkeyed."""
        admin.create(admin.connect(self._settings.client()), Layout(facts_partitions=PARTITIONS))
        producer = Producer({**self._settings.client()})
        counts = [f"{_play(producer, name, topic)} {name.replace('_', ' ')}" for name, topic in CAPTURED.items()]
        producer.flush()
        self._console.print(f"A real Collector's messages are on Kafka: {', '.join(counts)}.")

    def judge(self) -> None:
        """Runs the pipeline and shows the signals as they come, then the table per rule."""
        rules = load([str(CAPTURES / "demo.rules")])
        self._console.print(f"betrace run --rules demo.rules {' '.join(RUN)}\n")
        with _running(self._settings) as run:
            shown = sum(map(self._show, _signals(self._settings, run)))
        self._console.print(f"{shown} signals.\n")
        counts: dict[str, Counter[str]] = {}
        for message in reader.read(self._settings, self._settings.topic("verdicts")):
            record = verdicts.decode(message.value() or b"")
            if isinstance(record, verdicts.VerdictCounts):
                counted = counts.setdefault(record.rule, Counter())
                counted.update(msgspec.structs.asdict(record.added))
                counted.subtract(msgspec.structs.asdict(record.taken_back))
        self._console.print(_table(rules, counts))

    def judge_later(self) -> None:
        """Judges rules that did not exist when the messages were written, over the same topics."""
        rules = load([str(CAPTURES / "later.rules")])
        interest = Projector(rules).interest
        traces = [
            decode(message.value(), interest).traces
            for topic in self._settings.source_topics
            for message in reader.read(self._settings, topic)
        ]
        counts: dict[str, Counter[str]] = {}
        for _, judgement in offline.judge_spans(traces, rules):
            counts.setdefault(judgement.rule.id, Counter())[judgement.verdict.value] += 1
        self._console.print("\nThe same topics under rules that were written only now:\n")
        self._console.print(_table(rules, counts))

    def _show(self, message: Message) -> int:
        signal_ = msgspec.json.decode(message.value() or b"", type=_Signal)
        self._console.print(f"  [bold]{signal_.severity:<9}[/]{signal_.finding_info.title}", soft_wrap=True)
        self._console.print(f"           [dim]{escape(signal_.message)}[/]", soft_wrap=True)
        return 1


class _FindingInfo(msgspec.Struct):
    title: str


class _Signal(msgspec.Struct):
    """What the demo shows of a signal."""

    severity: str
    message: str
    finding_info: _FindingInfo


def _play(producer: Producer, name: str, topic: str) -> int:
    count = 0
    with resources.as_file(CAPTURES / f"{name}.bin.gz") as path:
        for frame in capture.read(path):
            producer.produce(topic, frame.value, frame.key)
            producer.poll(0)
            count += 1
    return count


@contextmanager
def _running(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    """`betrace run` as a user would start it; what it says is shown only when it fails."""
    where = ["--bootstrap", settings.bootstrap, "--state-dir", str(settings.state_dir)]
    rules = ["--rules", str(CAPTURES / "demo.rules")]
    with tempfile.TemporaryFile() as talk:
        # A session of its own, so that Ctrl-C reaches the demo alone, which then ends the run in order.
        run = subprocess.Popen(  # noqa: S603, the command is this program
            [sys.executable, "-m", "streams.cli", "run", *rules, *where, *RUN],
            stderr=talk,
            start_new_session=True,
            env=_without_settings(),
        )
        try:
            yield run
        finally:
            run.terminate()
            code = run.wait()
        if code:
            talk.seek(0)
            raise StateError(f"betrace run ended with exit code {code}\n{talk.read().decode()}", action="see above")


def _without_settings() -> dict[str, str]:
    """The environment without the user's settings: the demo is the same for everybody."""
    return {name: value for name, value in os.environ.items() if not name.startswith("BETRACE_")}


def _signals(settings: Settings, run: subprocess.Popen[bytes]) -> Iterator[Message]:
    """Signals as they come, until `run` ended and all are read."""
    topic = settings.topic("signals")
    ends: dict[tuple[str, int], int] | None = None
    reached: Counter[tuple[str, int]] = Counter()
    with reader.reading(settings, topic) as consumer:
        while ends is None or any(reached[at] < end for at, end in ends.items()):
            message = consumer.poll(0.2)
            if message is not None:
                at, offset = (topic, message.partition() or 0), message.offset() or 0
                if message.error() is None:
                    yield message
                    offset += 1
                reached[at] = max(reached[at], offset)
            if ends is None and run.poll() is not None:
                partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
                ends = admin.end_offsets(admin.connect(settings.client()), partitions)


def _table(rules: RuleSet, counts: dict[str, Counter[str]]) -> Table:
    table = Table(
        "rule", "severity", *(Column(name, justify="right") for name in ("applicable", "held", "broken", "coverage"))
    )
    for rule in rules.rules:
        counted = counts.get(rule.id, Counter())
        applicable = counted.total()
        coverage = f"{counted['held'] / applicable:.0%}" if applicable else "-"
        figures = (applicable, counted["held"], counted["broken"])
        table.add_row(rule.id, rule.severity.value, *map(str, figures), coverage)
    return table
