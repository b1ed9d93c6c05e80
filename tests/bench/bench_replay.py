"""How fast replay is beside live: spans/s of the same records, on the same cores, with a broker beside both.

    python -m tests.bench.bench_replay [--spans 1000000]

Live is `betrace run --until-idle` catching up: from the moment at which it begins to read to that at which it is done.
Replay is the whole of `betrace replay`, from its start to its end. Both say the same signals. Where other programs take
cores too, the figures per second of a core are those to compare: they have in them what the broker does for each, and
the starts and ends of both. Prints a line of JSON per
corpus and rule set: one of which every third trace breaks a rule, and one that is about few spans.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import msgspec
import psutil
from confluent_kafka import Producer
from confluent_kafka.cimpl import NewTopic

from tests.bench import load as corpus
from tests.broker.record import read_topic
from topics import admin, broker

RULES = {
    "many signals": corpus.CORPUS.with_name("rules") / "corpus.rules",
    "few hits": Path(__file__).parents[2] / "topics" / "captures" / "demo.rules",
}
CORPORA = ("partitioned_proto", "unkeyed_proto")
PARTITIONS = 4
GAP_MS = 5_000
OPTIONS = ("--gap", f"{GAP_MS}ms")


class Figures(msgspec.Struct):
    """Spans per second, and per second of one core, the broker's share included; and how much of live's replay has."""

    corpus: str
    rules: str
    spans: int
    signals: int
    live_spans_per_s: int
    replay_spans_per_s: int
    ratio: float
    live_spans_per_core_s: int
    replay_spans_per_core_s: int
    core_ratio: float


class Took(NamedTuple):
    """How long something took, and how much of the cores' time, in seconds; the uid and revision of its signals."""

    wall_s: float
    core_s: float
    uids: set[str]


def measure(bootstrap: str, name: str, spans: int) -> Iterator[Figures]:
    """The figures of one corpus under each rule set."""
    messages = corpus.originals(corpus.CORPUS / f"{name}.bin.gz")
    copies = -(-spans // sum(message.span_count for message in messages))
    topic = f"replay-{name}"
    client = admin.connect({"bootstrap.servers": bootstrap})
    for made in client.create_topics([NewTopic(topic, PARTITIONS)]).values():
        made.result()
    loaded = corpus.load(bootstrap, messages, topic, copies, PARTITIONS)
    _end(bootstrap, topic, copies)
    for number, (kind, rules) in enumerate(RULES.items()):
        prefix = f"{name}{number}."
        where = ["--bootstrap", bootstrap, "--prefix", prefix, "--source-topics", topic, "--rules", str(rules)]
        live, replay = _live(bootstrap, f"{prefix}signals", where), _replay(where)
        yield _figures(name, kind, loaded.span_count, live, replay)


def _figures(name: str, kind: str, count: int, live: Took, replay: Took) -> Figures:
    if live.uids != replay.uids:
        raise RuntimeError(f"live and replay differ: {len(live.uids)} and {len(replay.uids)} signals")
    walls, cores = (count / live.wall_s, count / replay.wall_s), (count / live.core_s, count / replay.core_s)
    of_walls = (*map(round, walls), round(walls[1] / walls[0], 2))
    of_cores = (*map(round, cores), round(cores[1] / cores[0], 2))
    return Figures(name, kind, count, len(live.uids), *of_walls, *of_cores)


def _end(bootstrap: str, topic: str, copies: int) -> None:
    """A last record in each partition, which lets every window close at once."""
    producer = Producer({"bootstrap.servers": bootstrap})
    time_ms = time.time_ns() // 1_000_000 - corpus.HOUR_MS + copies * 1000 + 120_000
    for number in range(PARTITIONS):
        producer.produce(topic, b'{"resourceSpans":[]}', partition=number, timestamp=time_ms)
    producer.flush()


def _live(bootstrap: str, signals: str, where: list[str]) -> Took:
    with tempfile.TemporaryDirectory() as directory:
        command = ["run", "--until-idle", *where, *OPTIONS, "--state-dir", directory]
        stderr, core_s = _run(command)[1:]
    lines = [json.loads(line) for line in stderr.splitlines() if line.startswith("{")]
    begun_s, ended_s = (
        next(datetime.fromisoformat(line["timestamp"]).timestamp() for line in lines if line["event"] == event)
        for event in ("reading begins", "ingest ends")
    )
    return Took(ended_s - begun_s, core_s, _uids([json.loads(frame.value) for frame in read_topic(bootstrap, signals)]))


def _replay(where: list[str]) -> Took:
    start_s = time.perf_counter()
    stdout, _, core_s = _run(["replay", "--from", "earliest", *where, *OPTIONS])
    return Took(time.perf_counter() - start_s, core_s, _uids([json.loads(line) for line in stdout.splitlines()]))


def _run(arguments: list[str]) -> tuple[str, str, float]:
    """Runs a command to its end; returns what it printed, what it said, and how much of the cores' time it took."""
    before_s = _core_s()
    command = [sys.executable, "-m", "streams.cli", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode > 1:
        raise RuntimeError(done.stderr)
    return done.stdout, done.stderr, _core_s() - before_s


def _core_s() -> float:
    """The time on cores of all processes that were started here and have ended, and of the broker."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    running = [child.cpu_times() for child in psutil.Process().children(recursive=True)]
    return ended.ru_utime + ended.ru_stime + sum(times.user + times.system for times in running)


def _uids(signals: list[dict[str, dict[str, str]]]) -> set[str]:
    return {each["metadata"]["uid"] for each in signals}


def main() -> None:
    """Measures both corpora on a broker of its own."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--spans", type=int, default=1_000_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, broker.running(Path(directory)) as kafka:
        for name in CORPORA:
            for figures in measure(kafka.bootstrap, name, asked.spans):
                print(msgspec.json.encode(figures).decode(), flush=True)  # noqa: T201, it is a command


if __name__ == "__main__":
    main()
