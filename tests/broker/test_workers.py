"""`betrace run --workers` on a real Kafka: as many workers as one likes, with or without the scanner, say the same."""

from __future__ import annotations

import dataclasses
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from confluent_kafka import Producer

from dsl import load
from streams.decode import backend
from streams.decode.backend import Backend
from streams.decode.decoder import Decoder
from streams.kafka.outbox import ANY_PARTITION
from streams.projection.project import Projector
from streams.windows.chain import Bounds
from tests.support import naive_engine
from tests.support.naive_engine import Arrived
from tests.support.program import CAPTURES, RUN_S, STOP_S, Program, expected
from tests.support.waiting import wait_until
from topics.embedded import capture
from topics.records.facts import TICK_MS

pytestmark = pytest.mark.broker

OPTIONS = ("--gap", "2s", "--out-of-order", "500ms", "--facts-partitions", "4")
# As OPTIONS say, and what is not said there.
BOUNDS = Bounds.of_ms(gap_ms=2_000, lateness_ms=600_000, max_duration_ms=3_600_000)
PARTITIONS = 4
COUNTS = (1, 2, 4)
AGE_MS, REST_MS = 60_000, 4_000
PATHS = [Backend.PURE, Backend.CYTHON if backend.compiled() else Backend.PURE]


@pytest.fixture
def program(kafka: str, fresh_prefix: str, tmp_path: Path) -> Program:
    """An installation with source topics of its own."""
    program = Program(kafka, fresh_prefix, tmp_path, options=OPTIONS)
    program.make_sources(PARTITIONS)
    return program


def with_workers(program: Program, count: int) -> Program:
    """The same installation with so many workers."""
    return dataclasses.replace(program, options=(*OPTIONS, "--workers", str(count)))


def stages(run: int, role: str) -> dict[int, psutil.Process]:
    """The processes of a role below the program, by pid."""
    children = psutil.Process(run).children()
    return {child.pid: child for child in children if role in _words(child)}


def _words(child: psutil.Process) -> list[str]:
    """Its command line; empty when it is gone."""
    try:
        return list(child.cmdline())
    except psutil.NoSuchProcess:
        return []


def wait_for_another(run: int, role: str, known: set[int]) -> None:
    """Waits until the program has a process of the role that was not there before."""
    wait_until(lambda: stages(run, role).keys() - known, f"there is another {role}", RUN_S)


def written(program: Program) -> dict[bytes, Arrived]:
    """Writes captures to all partitions; returns the ticks and spans of each trace.

    The spans come keyed, and once their windows are closed again in batches, with the log records: these repair some.
    """
    decoder = Decoder(Projector(load([program.rules])[0]).interest)
    producer = Producer({"bootstrap.servers": program.bootstrap})
    begin_ms = int(time.time() * 1000) - AGE_MS
    arrived: dict[bytes, Arrived] = {}
    for name, after_ms in (("keyed_spans", 0), ("unkeyed_spans", REST_MS), ("keyed_logs", REST_MS)):
        topic = program.logs_topic if name.endswith("logs") else program.spans_topic
        for number, frame in enumerate(capture.read(CAPTURES / f"{name}.bin.gz")):
            record_ms, partition = begin_ms + after_ms + number, ANY_PARTITION if frame.key else number % PARTITIONS
            producer.produce(topic, frame.value, frame.key, partition, timestamp=record_ms)
            for trace_id, trace in decoder.decode(frame.value).traces.items():
                arrived.setdefault(trace_id, []).extend((record_ms // TICK_MS, span) for span in trace.spans)
    producer.flush()
    return arrived


@pytest.mark.parametrize("path", PATHS)
def test_results_do_not_depend_on_the_number_of_workers(
    program: Program, path: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1, 2 and 4 workers, with and without the scanner, publish each expected signal once, with all its revisions."""
    monkeypatch.setenv(backend.VARIABLE, path.value)
    rules, _ = load([program.rules])
    traces = written(program)
    variants = [
        dataclasses.replace(
            with_workers(program, count),
            prefix=f"{program.prefix}{count}.",
            state_dir=program.state_dir / str(count),
            sources=program.prefix,
        )
        for count in COUNTS
    ]

    with ThreadPoolExecutor() as pool:
        ended = list(pool.map(Program.run_until_idle, variants))

    truth = sorted(
        said[:3]
        for trace_id, arrived in traces.items()
        for said in naive_engine.signals(trace_id, arrived, rules, BOUNDS)
    )
    assert {1, 2} == {revision for _, revision, _ in truth}
    assert [truth] * len(COUNTS) == [variant.revisions() for variant in variants]
    assert [{path.value}] * len(COUNTS) == [each.scanners() for each in ended]


def test_number_of_workers_may_change_between_runs(program: Program) -> None:
    """With half of the input on three workers and half on one, verdicts are amended, and nothing is published twice."""
    program.play("keyed_logs")
    with_workers(program, 3).run_until_idle()
    program.play("keyed_spans")

    program.run_until_idle()

    said = program.revisions()
    assert expected() == program.broken()
    assert sorted(set(said)) == said


def test_killed_worker_is_restarted(program: Program) -> None:
    """One process of each stage is killed and restarted; no signal is lost, and SIGTERM still ends all."""
    with with_workers(program, 2).running() as run:
        wait_for_another(run.pid, "ingest", set())
        wait_for_another(run.pid, "sessions", set())
        program.play("keyed_spans", "keyed_logs")
        program.wait_for_signals()
        for role in ("ingest", "sessions"):
            known = stages(run.pid, role)
            next(iter(known.values())).kill()
            wait_for_another(run.pid, role, {*known})
        all_stages = stages(run.pid, "run")
        run.send_signal(signal.SIGTERM)

        code = run.wait(STOP_S)

        assert code == 0
        assert [] == [pid for pid in all_stages if psutil.pid_exists(pid)]

    program.run_until_idle()
    assert expected() == program.broken()
    assert len(expected()) == len(program.signals())
