"""How soon a signal is there: from the end of a trace's gap to the signal, under a steady load.

    python -m tests.bench.bench_latency [--spans-per-s 20000] [--seconds 60] [--idle-topic]

A broker, `betrace run` as a user starts it, real Collector messages with fresh trace ids written at a steady pace, and
a consumer that reads what is committed. Prints a line of JSON: for each signal, the time from last arrival + gap +
out-of-order (before that nobody can know that the trace is over) until the consumer has it, in ms. The first seconds,
in which the program starts and catches up, do not count, nor does what comes when the load has ended: then time goes on
by the machine's clock.

With `--idle-topic` there is a second source topic to which nobody writes. Its time goes on by the machine's clock, two
seconds (`idle_lag`) behind, looked at once a second, and every window waits for it.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
from confluent_kafka import Consumer, Producer

from tests.support import paths
from tests.support.load import CORPUS, Original, copied, originals
from tests.support.program import Program
from topics import partition
from topics.embedded import broker

RULES = paths.RULES / "corpus.rules"
SPANS = CORPUS / "partitioned_proto.bin.gz"
PREFIX = "latency."
PARTITIONS = 4
GAP_MS = 5_000
OUT_OF_ORDER_MS = 2_000
OPTIONS = ("--gap", f"{GAP_MS}ms", "--out-of-order", f"{OUT_OF_ORDER_MS}ms")
SLICE_S = 0.01
WARM_MS = 30_000
SOON = {"fetch.wait.max.ms": 10, "topic.metadata.refresh.interval.ms": 1000}


class Figures(msgspec.Struct):
    """What was written, and how late the signals were."""

    idle_topic: bool
    spans_per_s: int
    signals: int
    p50_ms: int
    p99_ms: int
    most_ms: int


class Signal(msgspec.Struct):
    """The only field that is asked of a signal: when its window closed, in ms of record time."""

    time: int


def fresh(span_count: int) -> list[tuple[bytes, bytes, int]]:
    """Messages with new trace ids, of this many spans together: value, trace id, spans."""
    found: list[tuple[bytes, bytes, int]] = []
    messages = endless(originals(SPANS))
    while span_count > 0:
        found.append(next(messages))
        span_count -= found[-1][2]
    return found


def write(bootstrap: str, topic: str, messages: Iterable[tuple[bytes, bytes, int]], spans_per_s: int) -> float:
    """Writes at a steady pace; returns the seconds it took."""
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 5})
    written, start_s = 0, time.monotonic()
    for value, trace_id, span_count in messages:
        while written > (time.monotonic() - start_s) * spans_per_s:
            producer.poll(SLICE_S)
        producer.produce(topic, value, trace_id.hex(), partition.of_trace(trace_id, PARTITIONS))
        written += span_count
    producer.flush()
    return time.monotonic() - start_s


def endless(found: list[Original]) -> Iterator[tuple[bytes, bytes, int]]:
    """Copies of messages with new trace ids: value, trace id, spans."""
    for copy in itertools.count():
        for original in found:
            value = original.value
            for trace_id in original.trace_ids:
                value = value.replace(trace_id, copied(trace_id, copy))
            yield value, copied(original.trace_ids[0], copy), original.span_count


def latencies_ms(bootstrap: str, topic: str, until: threading.Event) -> Iterator[tuple[int, int]]:
    """When each signal was read and how late it was, both in ms."""
    settings = {"bootstrap.servers": bootstrap, "group.id": "latency", "auto.offset.reset": "earliest"}
    consumer = Consumer({**settings, "isolation.level": "read_committed", **SOON})
    consumer.subscribe([topic])
    decoder = msgspec.json.Decoder(Signal)
    while not until.is_set():
        for message in consumer.consume(500, 0.05):
            if message.error() is None:
                now_ms = time.time_ns() // 1_000_000
                yield now_ms, now_ms - decoder.decode(message.value() or b"").time - OUT_OF_ORDER_MS
    consumer.close()


def measure(bootstrap: str, directory: Path, spans_per_s: int, seconds: float, *, idle_topic: bool) -> Figures:
    """Runs the program under load."""
    sources = () if idle_topic else ("--source-topics", f"{PREFIX}otlp_spans")
    program = Program(bootstrap, PREFIX, directory, RULES, (*OPTIONS, *sources))
    program.make_sources(PARTITIONS)
    messages = fresh(round(spans_per_s * seconds))
    ended = threading.Event()
    found: list[tuple[int, int]] = []
    reading = threading.Thread(
        target=lambda: found.extend(latencies_ms(bootstrap, f"{PREFIX}signals", ended)), name="signals"
    )
    with program.running():
        reading.start()
        start_ms = time.time_ns() // 1_000_000
        took_s = write(bootstrap, program.spans_topic, messages, spans_per_s)
        end_ms = time.time_ns() // 1_000_000
        time.sleep((GAP_MS + OUT_OF_ORDER_MS) / 1000 + 5)
        ended.set()
        reading.join()
    warm_ms = start_ms + WARM_MS
    late_ms = [late for at, late in found if warm_ms < at < end_ms]
    return Figures(
        idle_topic=idle_topic,
        spans_per_s=round(sum(span_count for *_, span_count in messages) / took_s),
        signals=len(late_ms),
        p50_ms=round(statistics.median(late_ms)),
        p99_ms=round(statistics.quantiles(late_ms, n=100)[98]),
        most_ms=max(late_ms),
    )


def main() -> None:
    """Measures on a broker of its own."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--spans-per-s", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--idle-topic", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, broker.running(Path(directory) / "kafka") as kafka:
        figures = measure(
            kafka.bootstrap, Path(directory), asked.spans_per_s, asked.seconds, idle_topic=asked.idle_topic
        )
        print(msgspec.json.encode(figures).decode())  # noqa: T201, it is a command


if __name__ == "__main__":
    main()
