"""How fast ingest is: spans/s from a source topic to confirmed facts, one process, a broker on the same machine.

    python -m tests.bench.bench_ingest [--spans 600000] [--runs 3]

Beside it, in the same run, what `consume()` alone does with the same settings. Prints a line of JSON per corpus;
figures are medians. The corpus is real Collector output with fresh trace ids (`tests.support.load`).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from confluent_kafka.cimpl import NewTopic

from dsl import RuleSet, load
from streams.config.settings import Settings
from streams.ingest.loop import Ingest
from tests.bench.raw import consume_s
from tests.support import load as corpus
from tests.support import paths
from topics.cluster import admin
from topics.embedded import broker
from topics.spec import Layout

RULES = paths.CAPTURES / "demo.rules"
PARTITIONS = 4
CORPORA = ("partitioned_proto", "unkeyed_proto")
LOOK_EVERY_S = 0.01


class Figures(msgspec.Struct):
    """Spans per second, and how much of the raw speed ingest keeps."""

    corpus: str
    spans: int
    consume_spans_per_s: int
    ingest_spans_per_s: int
    ratio: float


def measure(bootstrap: str, name: str, spans: int, runs: int) -> Figures:
    """The figures of one corpus."""
    messages = corpus.originals(corpus.CORPUS / f"{name}.bin.gz")
    copies = -(-spans // sum(message.span_count for message in messages))
    topic = f"bench-{name}"
    client = admin.connect({"bootstrap.servers": bootstrap})
    for made in client.create_topics([NewTopic(topic, PARTITIONS)]).values():
        made.result()
    loaded = corpus.load(bootstrap, messages, topic, copies, PARTITIONS)
    rules, _ = load([RULES])
    message_bytes = sum(len(message.value) for message in messages) // len(messages)
    raw_s = [consume_s(bootstrap, topic, PARTITIONS, loaded.message_count, message_bytes) for _ in range(runs)]
    ingest_s = [_ingest_s(bootstrap, topic, loaded.message_count, rules) for _ in range(runs)]
    raw, ingest = (round(loaded.span_count / statistics.median(times_s)) for times_s in (raw_s, ingest_s))
    return Figures(name, loaded.span_count, raw, ingest, round(ingest / raw, 3))


def _ingest_s(bootstrap: str, topic: str, count: int, rules: RuleSet) -> float:
    prefix = f"bench{uuid.uuid4().hex[:8]}."
    settings = Settings(bootstrap=bootstrap, state_dir=Path(), source_topics=(topic,), prefix=prefix)
    admin.create(admin.connect(settings.client()), Layout(prefix, (topic,)))
    ingest = Ingest(settings, rules)
    with _timed(lambda: ingest.read_count, count, ingest.stop) as elapsed:
        ingest.run()
    return elapsed[0]


@contextmanager
def _timed(read: Callable[[], int], count: int, stop: Callable[[], None]) -> Iterator[list[float]]:
    """Stops the ingest that reads when it has read `count`; the list then holds the seconds since the first."""
    elapsed: list[float] = []

    def watch() -> None:
        while not read():
            time.sleep(LOOK_EVERY_S)
        start_s = time.perf_counter()
        while read() < count:
            time.sleep(LOOK_EVERY_S)
        elapsed.append(time.perf_counter() - start_s)
        stop()

    watching = threading.Thread(target=watch)
    watching.start()
    yield elapsed
    watching.join()


def main() -> None:
    """Measures both corpora on a broker of its own."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--spans", type=int, default=600_000)
    parser.add_argument("--runs", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, broker.running(Path(directory)) as kafka:
        for name in CORPORA:
            figures = measure(kafka.bootstrap, name, asked.spans, asked.runs)
            print(msgspec.json.encode(figures).decode(), flush=True)  # noqa: T201, it is a command


if __name__ == "__main__":
    main()
