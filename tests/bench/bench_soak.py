"""Whether memory is flat: `betrace run` under a steady load for a while, and what each of its processes takes.

    python -m tests.bench.bench_soak [--minutes 10] [--spans-per-s 10000] [--workers 1]

A broker, `betrace run` as a user starts it, real Collector messages with fresh trace ids at a steady pace, with a gap
and a lateness so short that traces are forgotten as fast as they come long before the end. Prints a line of JSON every
five seconds, the resident memory of each process in MiB, and a last one: the trend of each, and whether it is flat:
its peak in the last third is at most a twentieth above its peak in the third before. Peaks, because RocksDB's write
buffers fill and empty over minutes. The first third does not count, because caches fill: that of 65,536 trace ids in
two minutes under the load that is usual, under less of it later.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import psutil

from tests.bench.bench_latency import PARTITIONS, SPANS, endless, write
from tests.bench.topic import RULES
from tests.support.load import originals
from tests.support.program import Program
from tests.support.waiting import wait_until
from topics.embedded import broker

LOOK_EVERY_S = 5.0
MIB = 1 << 20
OPTIONS = ("--gap", "5s", "--out-of-order", "2s", "--lateness", "20s")
MOST_GROWTH = 0.05


class Look(msgspec.Struct, frozen=True):
    """Memory at one moment, by process: its role and number, `run` for the supervisor."""

    seconds: float
    rss_mib: dict[str, float]


class Trend(msgspec.Struct, frozen=True):
    """A process's peaks in the second third and in the last, how much higher the later one is, and the last slope."""

    before_mib: float
    after_mib: float
    growth: float
    mib_per_minute: float
    is_flat: bool


class Figures(msgspec.Struct, frozen=True):
    """The end of it."""

    minutes: float
    spans_per_s: int
    signals: int
    trends: dict[str, Trend]
    is_flat: bool


def trend(looks: Sequence[tuple[float, float]]) -> Trend:
    """Compares the last third of the time with the third before; looks are (seconds, MiB), in order.

    >>> trend([(0, 10), (30, 90), (60, 100), (90, 80), (120, 90), (150, 100)])
    Trend(before_mib=100, after_mib=100, growth=0.0, mib_per_minute=20.0, is_flat=True)
    >>> trend([(0, 10), (60, 100), (120, 110), (180, 120)]).is_flat
    False
    """
    first_s, last_s = looks[0][0], looks[-1][0]
    third_s = (last_s - first_s) / 3
    after = [(at_s, mib) for at_s, mib in looks if at_s >= last_s - third_s]
    before_mib = max(mib for at_s, mib in looks if first_s + third_s <= at_s < last_s - third_s)
    after_mib = max(mib for _, mib in after)
    slope = statistics.linear_regression(*zip(*after, strict=True)).slope
    growth = after_mib / before_mib - 1
    return Trend(before_mib, after_mib, round(growth, 4), round(slope * 60, 2), growth <= MOST_GROWTH)


def watch(run: int, seconds: float, every_s: float = LOOK_EVERY_S) -> Iterator[Look]:
    """Looks at the program and its stages for so long."""
    start_s = time.monotonic()
    while (elapsed_s := time.monotonic() - start_s) < seconds:
        yield Look(round(elapsed_s, 1), rss_mib(run))
        time.sleep(every_s)


def rss_mib(run: int) -> dict[str, float]:
    """The resident memory of the program and of each stage, numbered in the order of their start."""
    program = psutil.Process(run)
    found = {"run": program}
    for child in sorted(program.children(), key=lambda each: (each.create_time(), each.pid)):
        words = child.cmdline()
        if "--role" in words:
            role = words[words.index("--role") + 1]
            found[f"{role}-{1 + sum(name.startswith(role) for name in found)}"] = child
    return {name: round(each.memory_info().rss / MIB, 1) for name, each in found.items()}


def trends(looks: Sequence[Look]) -> Mapping[str, Trend]:
    """The trend of every process that is there at the last look."""
    return {
        name: trend([(look.seconds, look.rss_mib[name]) for look in looks if name in look.rss_mib])
        for name in looks[-1].rss_mib
    }


def measure(program: Program, minutes: float, spans_per_s: int, every_s: float = LOOK_EVERY_S) -> Iterator[Look]:
    """Runs the program under load and looks at it once it has stages; at the end it must have published a signal."""
    with program.running() as run, ThreadPoolExecutor(1, "load") as loader:
        wait_until(lambda: psutil.Process(run.pid).children(), "the stages are started")
        messages = _messages(spans_per_s * minutes * 60)
        writing = loader.submit(write, program.bootstrap, program.spans_topic, messages, spans_per_s)
        yield from watch(run.pid, minutes * 60, every_s)
        writing.result()
        program.wait_for_signals()


def _messages(span_count: float) -> Iterator[tuple[bytes, bytes, int]]:
    """Messages of so many spans together, one at a time."""
    for message in endless(originals(SPANS)):
        yield message
        span_count -= message[2]
        if span_count <= 0:
            return


def main() -> None:
    """Measures on a broker of its own."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--spans-per-s", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, broker.running(Path(directory) / "kafka") as kafka:
        options = (*OPTIONS, "--workers", str(asked.workers))
        program = Program(kafka.bootstrap, "soak.", Path(directory), RULES, options)
        program.make_sources(PARTITIONS)
        looks: list[Look] = []
        for look in measure(program, asked.minutes, asked.spans_per_s):
            print(msgspec.json.encode(look).decode(), flush=True)  # noqa: T201, it is a command
            looks.append(look)
        signals = len(program.signals())
    found = dict(trends(looks))
    is_flat = all(each.is_flat for each in found.values())
    figures = Figures(asked.minutes, asked.spans_per_s, signals, found, is_flat)
    print(msgspec.json.encode(figures).decode())  # noqa: T201, as above


if __name__ == "__main__":
    main()
