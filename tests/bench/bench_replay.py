"""How fast replay is beside live: spans/s of the same records, on the same cores, with a broker beside both.

    python -m tests.bench.bench_replay [--spans 4000000]

Live is `betrace run --until-idle` catching up: from the moment at which it begins to read to that at which it is done.
Replay is the whole of `betrace replay`, from its start to its end: once with its signals, which are those of live, and
once with `--summary`, which counts as many broken traces. Where other programs take cores too, the ratios per second
of a core are those to compare: they have in them what the broker does for each, and the starts and ends of all. Prints
a line of JSON per corpus and rule set: one of which every third trace breaks a rule, and one that is about few spans.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import msgspec
import psutil
from confluent_kafka import Producer
from confluent_kafka.cimpl import NewTopic

from tests.support import load as corpus
from tests.support import paths
from tests.support.record import read_topic
from topics.cluster import admin
from topics.embedded import broker

RULES = {
    "many signals": paths.RULES / "corpus.rules",
    "few hits": paths.CAPTURES / "demo.rules",
}
CORPORA = ("partitioned_proto", "unkeyed_proto")
PARTITIONS = 4
GAP_MS = 5_000
OPTIONS = ("--gap", f"{GAP_MS}ms")


class Figures(msgspec.Struct):
    """Spans per second; how much faster than live a replay is, on the clock and by cores, with the broker's share."""

    corpus: str
    rules: str
    spans: int
    signals: int
    live_spans_per_s: int
    replay_spans_per_s: int
    summary_spans_per_s: int
    replay_ratio: float
    summary_ratio: float
    replay_core_ratio: float
    summary_core_ratio: float


class Took(NamedTuple):
    """How long a command took, and how much of the cores' time, in seconds; the lines that it printed."""

    wall_s: float
    core_s: float
    lines: list[str]


def measure(bootstrap: str, name: str, spans: int) -> Iterator[Figures]:
    """The figures of one corpus under each rule set."""
    messages = corpus.originals(corpus.CORPUS / f"{name}.bin.gz")
    copies = -(-spans // sum(message.span_count for message in messages))
    topic = f"replay-{name}"
    client = admin.connect({"bootstrap.servers": bootstrap})
    for made in client.create_topics([NewTopic(topic, PARTITIONS)]).values():
        made.result()
    count = corpus.load(bootstrap, messages, topic, copies, PARTITIONS).span_count
    _end(bootstrap, topic, copies)
    for number, (kind, rules) in enumerate(RULES.items()):
        prefix = f"{name}{number}."
        where = ["--bootstrap", bootstrap, "--prefix", prefix, "--source-topics", topic, "--rules", str(rules)]
        live, replay, summary = _live(where), _replay(where), _replay([*where, "--summary"])
        published = _uids(frame.value for frame in read_topic(bootstrap, f"{prefix}signals"))
        _check_same(published, _uids(replay.lines), sum(json.loads(line)["broken"] for line in summary.lines))
        speeds = (round(count / took.wall_s) for took in (live, replay, summary))
        of_walls = (round(live.wall_s / took.wall_s, 2) for took in (replay, summary))
        of_cores = (round(live.core_s / took.core_s, 2) for took in (replay, summary))
        yield Figures(name, kind, count, len(published), *speeds, *of_walls, *of_cores)


def _check_same(published: set[str], replayed: set[str], broken: int) -> None:
    if published != replayed or len(published) != broken:
        raise RuntimeError(f"live gives {len(published)} signals, replay {len(replayed)}, its summary {broken}")


def _end(bootstrap: str, topic: str, copies: int) -> None:
    """A last record in each partition, which lets every window close at once."""
    producer = Producer({"bootstrap.servers": bootstrap})
    time_ms = time.time_ns() // 1_000_000 - corpus.HOUR_MS + copies * 1000 + 120_000
    for number in range(PARTITIONS):
        producer.produce(topic, b'{"resourceSpans":[]}', partition=number, timestamp=time_ms)
    producer.flush()


def _live(where: list[str]) -> Took:
    with tempfile.TemporaryDirectory() as directory:
        command = ["run", "--until-idle", "--allow-create-time", *where, *OPTIONS, "--state-dir", directory]
        stderr, core_s = _run(command)[1:]
    lines = [line for line in stderr.splitlines() if line.startswith("{")]
    events = {said["event"]: datetime.fromisoformat(said["timestamp"]).timestamp() for said in map(json.loads, lines)}
    return Took(events["run ended"] - events["reading starts"], core_s, lines)


def _replay(where: list[str]) -> Took:
    start_s = time.perf_counter()
    stdout, _, core_s = _run(["replay", "--from", "earliest", *where, *OPTIONS])
    return Took(time.perf_counter() - start_s, core_s, stdout.splitlines())


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
    return ended.ru_utime + ended.ru_stime + float(sum(times.user + times.system for times in running))


def _uids(signals: Iterable[str | bytes | None]) -> set[str]:
    return {json.loads(signal or "")["metadata"]["uid"] for signal in signals}


def main() -> None:
    """Measures both corpora on a broker of its own."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--spans", type=int, default=4_000_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, broker.running(Path(directory)) as kafka:
        for name in CORPORA:
            for figures in measure(kafka.bootstrap, name, asked.spans):
                print(msgspec.json.encode(figures).decode(), flush=True)  # noqa: T201, it is a command


if __name__ == "__main__":
    main()
