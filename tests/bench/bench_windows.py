"""What open windows cost: memory, closing, and taking a facts partition over.

    python -m tests.bench.bench_windows [--windows 100000] [--runs 3] [--memory-only]

Windows come from real Collector output (the traces of the corpus that hit a rule) with fresh trace ids.
Prints a line of JSON; figures are medians. Memory is the growth of the process; the windows of a figure are made in a
process of their own. `--memory-only` measures `beyond_setting_mib` alone, which ten million windows allow as well.

    hot_per_gib                 open windows in one GiB when all are in use
    beyond_setting_mib          memory beyond `--window-memory` (64 MiB) when they are opened step by step
    memory_per_stored_byte      memory of a hot window for each byte of its stored form
    presence_per_stored_byte    the same of the presence of a trace that no rule knows of, in a time of watch
    waiting_ratio               memory of what waits for the clock, to what `ReorderBuffer.held_bytes` says of it
    closed_per_s                windows applied, closed, judged and made into signals, without Kafka
    with_disk_s, bare_s         from a worker that is given a partition to all its windows there, on a real Kafka
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import shutil
import statistics
import tempfile
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import psutil
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from msgspec.structs import replace

from dsl import RuleSet, load
from streams.config.settings import Settings
from streams.decode.decoder import decode
from streams.projection.project import Projector
from streams.rules import registry
from streams.rules.registry import RuleSets
from streams.sessions import recovery
from streams.sessions.worker import SessionsWorker
from streams.windows.chain import Bounds
from streams.windows.outcomes import evaluate_close
from streams.windows.partition import Partition
from streams.windows.positions import Position
from streams.windows.rocksdb import FORMAT, Identity, Store
from streams.windows.sessions import Sessions
from tests.support import paths
from tests.support.load import CORPUS, copied
from topics.cluster import admin
from topics.embedded import broker, capture
from topics.records import facts, signals
from topics.records.facts import TICK_MS, VERSION, Entry, Facts, Section
from topics.spec import Layout

RULES = paths.RULES / "corpus.rules"
SPANS = CORPUS / "partitioned_proto.bin.gz"
TOPIC = "spans"
PER_MESSAGE = 500
FIRST_TICK = 1_000
SETTINGS = Settings(bootstrap="", state_dir=Path())
IDENTITY = Identity(FORMAT, "", "", "")
GIB, MIB = 1 << 30, 1 << 20
MEMORY_BYTES = 64 * MIB
STEP_MESSAGES = 20


class Figures(msgspec.Struct):
    """See the module's docstring."""

    windows: int
    hot_per_gib: int
    beyond_setting_mib: int
    memory_per_stored_byte: float
    presence_per_stored_byte: float
    waiting_ratio: float
    closed_per_s: int
    with_disk_s: float
    bare_s: float


def entries(rules: RuleSet, count: int) -> Iterator[Entry]:
    """Entries of `count` traces, one each, all in one tick."""
    projector = Projector(rules)
    records = [decode(frame.value, projector.interest).traces for frame in capture.read(SPANS)]
    found = [
        (trace_id, trace.span_count, trace.root_seen, hits)
        for traces in records
        for trace_id, trace in traces.items()
        if (hits := projector.facts(trace))
    ]
    for number in range(count):
        trace_id, span_count, root_seen, hits = found[number % len(found)]
        yield Entry(copied(trace_id, number), number, number, FIRST_TICK, span_count, root_seen, hits)


def messages(rules: RuleSet, count: int) -> Iterator[bytes]:
    """Facts messages that open `count` windows, and one that only moves the clock past them."""
    found = entries(rules, count)
    offset = 0
    while some := list(islice(found, PER_MESSAGE)):
        yield _message(rules, offset, offset + len(some), FIRST_TICK * TICK_MS, some)
        offset += len(some)
    yield _message(rules, offset, offset, (FIRST_TICK + 2) * TICK_MS, [])


def _message(rules: RuleSet, from_offset: int, to_offset: int, watermark_ms: int, found: list[Entry]) -> bytes:
    section = Section(
        topic=TOPIC,
        partition=0,
        epoch=1,
        replay=0,
        start_ms=None,
        partition_count=1,
        from_offset=from_offset,
        to_offset=to_offset,
        watermark_ms=watermark_ms,
        lost=[],
        touches=b"",
        entries=found,
    )
    return facts.encode(Facts(version=VERSION, rules=rules.fingerprint, sections=[section]))


def _partition(
    rules: RuleSet, store: Store | None = None, memory_bytes: int = SETTINGS.window_memory_bytes
) -> Partition:
    counted = {fingerprint: atom.counted for fingerprint, atom in rules.atoms.items() if atom.counted}
    sessions = Sessions(Bounds.of(SETTINGS), counted, store, memory_bytes=memory_bytes)
    of_set = frozenset(rule.fingerprint for rule in rules.rules)
    return Partition((TOPIC,), sessions, lambda _: of_set, out_of_order_ms=0, position=Position.initial(0))


def _opened(rules: RuleSet, count: int, store: Store | None = None) -> Partition:
    """A partition with so many open windows."""
    partition = _partition(rules, store)
    for value in messages(rules, count):
        for _ in partition.apply(partition.next_offset, facts.decode(value)):
            raise AssertionError("a window closed")
    return partition


def hot(path: Path, count: int) -> tuple[int, float]:
    """Open windows per GiB when all are in use, and memory per stored byte; leaves the windows in a store at `path`."""
    rules, _ = load([RULES])
    _opened(rules, PER_MESSAGE)
    before = _resident_bytes()
    partition = _opened(rules, count)
    grown = _resident_bytes() - before
    chains = partition.sessions.chains
    with Store(path, IDENTITY) as store:
        store.write(chains, partition.position(), partition.sessions.presences)
    stored_bytes = sum(chains._stored_bytes.values())
    return count * GIB // grown, round(grown / stored_bytes, 2)


def bounded(path: Path, count: int) -> int:
    """MiB beyond `MEMORY_BYTES` of a worker that opened so many windows; 500 in each tick or, of many, more.

    After a gap they close, but none is over.
    """
    rules, _ = load([RULES])
    _opened(rules, PER_MESSAGE)
    found = entries(rules, count)
    messages_per_tick = -(-count // (PER_MESSAGE * SETTINGS.lateness_ms // TICK_MS))
    with Store(path, IDENTITY) as store:
        before = _resident_bytes()
        partition = _partition(rules, store, MEMORY_BYTES)
        for number in range(-(-count // PER_MESSAGE)):
            tick = FIRST_TICK + number // messages_per_tick
            some = [replace(each, tick=tick) for each in islice(found, PER_MESSAGE)]
            begin = number * PER_MESSAGE
            value = _message(rules, begin, begin + len(some), tick * TICK_MS, some)
            deque(partition.apply(partition.next_offset, facts.decode(value)), maxlen=0)
            if number % STEP_MESSAGES == 0:
                store.write(partition.sessions.chains, partition.position(), partition.sessions.presences)
                partition.sessions.cool(MEMORY_BYTES)
        grown = _resident_bytes() - before
        assert len(partition.sessions.chains) >= count - PER_MESSAGE * messages_per_tick
    return (grown - MEMORY_BYTES) // MIB


def present(path: Path, count: int) -> float:
    """Memory of so many presences, to the size of their stored form."""
    rules, _ = load([RULES])
    with Store(path, IDENTITY) as store:
        partition = _partition(rules, store)
        before = _resident_bytes()
        presences = partition.sessions.presences
        for number in range(count):
            presences.observe(copied(bytes(16), number), FIRST_TICK, number // PER_MESSAGE, tracks_presence=True)
        store.write(partition.sessions.chains, partition.position(), presences)
        return (_resident_bytes() - before) / sum(presences.tiers._stored_bytes.values())


def waiting(count: int) -> float:
    """Memory of so many entries that wait, to what is reckoned."""
    rules, _ = load([RULES])
    _opened(rules, PER_MESSAGE)
    before = _resident_bytes()
    partition = _partition(rules)
    found = entries(rules, count)
    while some := list(islice(found, PER_MESSAGE)):
        number = partition.next_offset * PER_MESSAGE
        value = _message(rules, number, number + len(some), 0, some)
        for _ in partition.apply(partition.next_offset, facts.decode(value)):
            raise AssertionError("a window closed")
    return (_resident_bytes() - before) / partition.sessions.buffer.held_bytes


def closing(count: int) -> float:
    """Seconds to close so many windows: verdicts and the records of all signals."""
    rules, _ = load([RULES])
    partition = _opened(rules, count)
    judging = frozenset(rule.fingerprint for rule in rules.rules)
    last = facts.decode(_message(rules, count, count, FIRST_TICK * TICK_MS + 10 * SETTINGS.gap_ms, []))
    closed, start_s = 0, time.perf_counter()
    for close in partition.apply(partition.next_offset, last):
        closed += 1
        for outcome in evaluate_close(close, rules, judging, reach_ms=SETTINGS.gap_ms + SETTINGS.lateness_ms):
            if outcome.finding is not None:
                signals.record(outcome.finding, logged_ms=0, source="bench")
    assert closed == count
    return time.perf_counter() - start_s


def takeovers(bootstrap: str, directory: Path, count: int) -> tuple[float, float]:
    """Seconds to take over a partition with so many open windows, with its disk and without."""
    rules, _ = load([RULES])
    prefix = f"bench{uuid.uuid4().hex[:8]}."
    settings = Settings(
        bootstrap=bootstrap, state_dir=directory / prefix, source_topics=(TOPIC,), prefix=prefix, facts_partitions=1
    )
    admin.create(admin.connect(settings.client()), Layout(prefix, settings.source_topics, 1))
    registry.push(settings, rules, now_ms=1)
    end = _write(settings, rules, count)
    _take_over(settings, end, count)
    with_disk_s = _take_over(settings, end, count)
    shutil.rmtree(settings.state_dir)
    return with_disk_s, _take_over(settings, end, count)


def _write(settings: Settings, rules: RuleSet, count: int) -> int:
    producer = Producer({**settings.client(), "linger.ms": 20})
    written = 0
    for value in messages(rules, count):
        producer.produce(settings.topic("facts"), value, partition=0)
        written += 1
    producer.flush()
    return written


def _take_over(settings: Settings, end: int, count: int) -> float:
    """A worker is given the partition, with its log's end as the next message; then it is gone."""
    known: RuleSets = registry.read(settings)[0]
    identity = recovery.identify(AdminClient({**settings.client()}), settings)
    worker = SessionsWorker(settings, known, identity)
    worker.assign([0])
    start_s = time.perf_counter()
    worker._run_guarded(0, lambda: worker._process_missed(0, end))
    took_s = time.perf_counter() - start_s
    assert worker._tasks[0].partition.sessions.open_windows == count
    worker.close()
    return took_s


def _resident_bytes() -> int:
    gc.collect()
    resident: int = psutil.Process().memory_info().rss
    return resident


def _apart(call: Callable[..., Any], *args: object) -> Any:  # noqa: ANN401, it returns what `call` returns
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(call, args)


def beyond(directory: Path, windows: int, runs: int) -> int:
    """Measures how far a worker goes beyond its memory setting, in MiB."""
    grown_mib: list[int] = [_apart(bounded, directory / f"bounded-{run}", windows) for run in range(runs)]
    return round(statistics.median(grown_mib))


def measure(bootstrap: str, directory: Path, windows: int, runs: int) -> Figures:
    """All figures; `windows` is how many are open."""
    paths = [directory / f"store-{run}" for run in range(runs)]
    hots = [_apart(hot, path, windows) for path in paths]
    hot_count, per_byte = (statistics.median(each) for each in zip(*hots, strict=True))
    beyond_mib = beyond(directory, windows, runs)
    per_presence_byte = statistics.median(_apart(present, directory / f"present-{run}", windows) for run in range(runs))
    waiting_ratio = statistics.median(_apart(waiting, windows) for _ in range(runs))
    closed_s = statistics.median(_apart(closing, windows) for _ in range(runs))
    times_s = [takeovers(bootstrap, directory, windows) for _ in range(runs)]
    with_disk_s, bare_s = (round(statistics.median(each), 2) for each in zip(*times_s, strict=True))
    return Figures(
        windows=windows,
        hot_per_gib=round(hot_count),
        beyond_setting_mib=beyond_mib,
        memory_per_stored_byte=per_byte,
        presence_per_stored_byte=round(per_presence_byte, 2),
        waiting_ratio=round(waiting_ratio, 2),
        closed_per_s=round(windows / closed_s),
        with_disk_s=with_disk_s,
        bare_s=bare_s,
    )


def main() -> None:
    """Measures on a broker of its own."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--windows", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--memory-only", action="store_true")
    asked = parser.parse_args()
    if asked.memory_only:
        with tempfile.TemporaryDirectory() as directory:
            beyond_mib = beyond(Path(directory), asked.windows, asked.runs)
        line = msgspec.json.encode({"windows": asked.windows, "beyond_setting_mib": beyond_mib})
        print(line.decode())  # noqa: T201, it is a command
        return
    with tempfile.TemporaryDirectory() as directory, broker.running(Path(directory) / "kafka") as kafka:
        figures = measure(kafka.bootstrap, Path(directory), asked.windows, asked.runs)
        print(msgspec.json.encode(figures).decode())  # noqa: T201, it is a command


if __name__ == "__main__":
    main()
