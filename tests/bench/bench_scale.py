"""Whether the work grows with the input, and no faster: twice the traces, source partitions or facts partitions.

    python -m tests.bench.bench_scale [--copies 60] [--runs 5]

The whole way of a record in this process, without Kafka: decoded, projected, written as facts, read again, windows,
verdicts, the records of signals. Copies of the corpus (keyed messages of two spans) have one second of record time
each. Prints one line of JSON: seconds of processor time, medians of the runs, in which the loads take turns; and each
load in what the first one takes. Goal: twice of anything takes at most twice as long.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Message

from dsl import RuleSet, load
from streams.config.settings import Settings
from streams.projection.project import Projector
from streams.replay.evaluator import Evaluator
from streams.replay.outcome import RECORDS
from streams.replay.plan import Input, Period, Plan
from streams.replay.source_reader import SourceReader
from tests.support import paths
from tests.support.load import CORPUS, Original, copied, originals
from topics import partition
from topics.records import facts
from topics.records.facts import VERSION, Facts

RULES = paths.RULES / "corpus.rules"
TOPIC = "spans"
FIRST_MS = 1_767_614_400_000
COPY_MS = 1000
BATCH = 1000
FLUSH = 10 * BATCH
SETTINGS = Settings(bootstrap="", state_dir=Path(), source_topics=(TOPIC,))


@dataclass(frozen=True, slots=True)
class Load:
    """How many copies of the corpus, in how many source partitions, judged in how many facts partitions."""

    copies: int
    sources: int = 4
    shares: int = 12


class Figures(msgspec.Struct):
    """Processor seconds by load, and the ratio of each to the first; the signals of the first."""

    spans: int
    signals: int
    seconds: dict[str, float]
    ratios: dict[str, float]


def loads(copies: int) -> dict[str, Load]:
    """The first load, and what has twice as much of one thing."""
    one = Load(copies)
    return {
        "one": one,
        "twice the traces": replace(one, copies=2 * copies),
        "twice the source partitions": replace(one, sources=2 * one.sources),
        "twice the facts partitions": replace(one, shares=2 * one.shares),
    }


def records(messages: list[Original], asked: Load) -> list[Message]:
    """The records of all source partitions, as a consumer gives them."""
    offsets = [itertools.count() for _ in range(asked.sources)]
    made = []
    for copy in range(asked.copies):
        for original in messages:
            renamed = {trace_id: copied(trace_id, copy) for trace_id in original.trace_ids}
            value = original.value
            for old, new in renamed.items():
                value = value.replace(old, new)
            to = partition.of_trace(renamed[original.trace_ids[0]], asked.sources)
            time_ms = FIRST_MS + copy * COPY_MS
            stamp = (TIMESTAMP_LOG_APPEND_TIME, time_ms)
            made.append(Message(TOPIC, to, next(offsets[to]), None, value, timestamp=stamp))
    return made


def signals(rules: RuleSet, taken: list[Message], asked: Load) -> tuple[int, float]:
    """How many signals the records give, and the processor seconds that it takes."""
    plan = _plan(taken, asked)
    with tempfile.TemporaryDirectory() as directory:
        start_s = time.process_time()
        reading = SourceReader(SETTINGS, Projector(rules), plan, plan.inputs)
        judging = [
            Evaluator(SETTINGS, rules, plan, Path(directory, str(each)), RECORDS) for each in range(asked.shares)
        ]
        found = sum(_judged(rules, reading, judging, taken)) + sum(len(each.end()) for each in judging)
        return found, time.process_time() - start_s


def _judged(rules: RuleSet, reading: SourceReader, judging: list[Evaluator], taken: list[Message]) -> Iterator[int]:
    for begin in range(0, len(taken), FLUSH):
        for at in range(begin, begin + FLUSH, BATCH):
            reading.take(taken[at : at + BATCH], local_ms=FIRST_MS)
        for share, sections in zip(judging, reading.sections(len(judging)), strict=True):
            message = facts.encode(Facts(version=VERSION, rules=rules.fingerprint, sections=sections))
            yield len(share.apply(facts.decode(message)))


def _plan(taken: list[Message], asked: Load) -> Plan:
    counts = [0] * asked.sources
    for message in taken:
        counts[message.partition() or 0] += 1
    inputs = tuple(
        Input(topic=TOPIC, partition=number, partition_count=asked.sources, begin=0, end=count)
        for number, count in enumerate(counts)
    )
    end_ms = FIRST_MS + asked.copies * COPY_MS
    return Plan(
        period=Period(0, end_ms),
        inputs=inputs,
        read_from_ms=0,
        until_ms=end_ms + SETTINGS.max_duration_ms,
        clock_ms=end_ms,
        lost=(),
        expected=len(taken),
    )


def measure(copies: int, runs: int) -> Figures:
    """All figures.

    Raises:
        RuntimeError: the signals do not follow from the records alone.
    """
    rules, _ = load([RULES])
    messages = originals(CORPUS / "partitioned_proto.bin.gz")
    all_of = {name: (asked, records(messages, asked)) for name, asked in loads(copies).items()}
    seconds: dict[str, list[float]] = {name: [] for name in all_of}
    counts = {}
    for _ in range(runs):
        for name, (asked, taken) in all_of.items():
            counts[name], took_s = signals(rules, taken, asked)
            seconds[name].append(took_s)
    one, *others = counts.values()
    if others != [2 * one, one, one]:
        raise RuntimeError(f"so many signals: {counts}")
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    return Figures(
        copies * sum(message.span_count for message in messages),
        one,
        {name: round(each, 2) for name, each in medians.items()},
        {name: round(each / medians["one"], 2) for name, each in medians.items() if name != "one"},
    )


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--copies", type=int, default=60)
    parser.add_argument("--runs", type=int, default=5)
    asked = parser.parse_args()
    print(msgspec.json.encode(measure(asked.copies, asked.runs)).decode())  # noqa: T201, it is a command


if __name__ == "__main__":
    main()
