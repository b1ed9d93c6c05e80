"""Honest traces beside a hostile sender whose records lie about their time or cannot be read: none is broken for it.

Here records are lost, and stamps are not to be believed, so that an honest trace may be undetermined. That every other
signal is exactly as it must be, `test_chaos` compares.
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Thread

import psutil
import pytest
from confluent_kafka import Producer
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.crash import hostile
from tests.crash.traffic import Sending
from tests.support import bombs, poison
from tests.support.ingesting import must_arrive, peak_bytes
from tests.support.otlp_requests import trace_request
from tests.support.program import STOP_S, Program
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.broker, pytest.mark.crash]

PARTITIONS = 3
LENGTH_MS = 24_000
LOSS_S = 20
"""Input is lost so late that the first honest traces are over by far."""
TRACES, HOSTILE_RECORDS = 100, 400
LARGE = ("long_span_id", "long_parent_id", "nested_json")
HALVES_APART_MS = 2_000
LIES_MS = (-86_400_000, -3_000_000, -20_000, 20_000, 3_000_000, 3_480_000)
"""How far stamps are from the clock: not further ahead than the hour that brokers allow."""
LIE_SHARE = 0.3
VICTIMS = 5
"""One honest trace of so many is touched."""
MEMORY_BYTES = 512 << 20


def trace_id(number: int) -> bytes:
    """Of an honest trace: no hostile record has it, but where it touches one."""
    return poison.trace_id(hostile.TRACES + number)


def honest(first: int, count: int, length_ms: int) -> list[Sending]:
    """Traces that hit `pii.access`; of every other one `audit.log` comes later, which makes it whole."""
    found: list[Sending] = []
    for number in range(first, first + count):
        at_ms = (number - first) * length_ms // count
        names = (("pii.access", 0), ("audit.log", HALVES_APART_MS))[: 1 + is_whole(number)]
        for index, (name, later_ms) in enumerate(names):
            span = Span(trace_id=trace_id(number), span_id=(number + 1).to_bytes(7, "big") + bytes([index]), name=name)
            found.append(Sending(at_ms + later_ms, number % PARTITIONS, None, trace_request(span), 1))
    return found


def is_whole(number: int) -> bool:
    """Both spans of the trace come."""
    return number % 2 == 0


def write(bootstrap: str, topic: str, sendings: Sequence[Sending], stamps_ms: Iterator[int]) -> None:
    """Writes each when its time has come, stamped so far from now."""
    producer = Producer({"bootstrap.servers": bootstrap, "message.max.bytes": 2_000_000, "linger.ms": 20})
    begun_s = time.monotonic()
    for sending in sorted(sendings, key=lambda each: each.at_ms):
        producer.poll(max(0.0, begun_s + sending.at_ms / 1000 - time.monotonic()))
        stamp_ms = time.time_ns() // 1_000_000 + next(stamps_ms)
        producer.produce(
            topic, sending.value, sending.key, sending.partition, timestamp=stamp_ms, on_delivery=must_arrive
        )
    producer.flush()


def lies(chance: random.Random) -> Iterator[int]:
    """How far the stamps of hostile records are from the clock."""
    while True:
        yield chance.choice(LIES_MS) if chance.random() < LIE_SHARE else 0


def truths() -> Iterator[int]:
    """How far the stamps of honest records are from it."""
    while True:
        yield 0


def verdicts(program: Program) -> dict[int, list[str]]:
    """What was said of each honest trace, by its number, in order."""
    numbers = {trace_id(number).hex(): number for number in range(2 * TRACES)}
    said = [one["unmapped"]["betrace"] for one in program.signals()]
    found: dict[int, list[str]] = {}
    for one in sorted(said, key=lambda one: int(one["revision"])):
        if one["rule"]["id"] == "audited" and one["trace_id"] in numbers:
            found.setdefault(numbers[one["trace_id"]], []).append(one["verdict"])
    return found


@pytest.mark.parametrize("stamped", ["LogAppendTime", "CreateTime"])
def test_hostile_senders_do_not_affect_honest_traces(
    kafka: str, fresh_prefix: str, tmp_path: Path, stamped: str
) -> None:
    """Every honest trace that is broken has a signal, no other one does, no stage ends, and memory stays bounded."""
    seed = str(time.time_ns())
    chance = random.Random(seed)
    rules = tmp_path / "hostile.rules"
    rules.write_text(hostile.RULES)
    options = ("--gap", "8s", "--lateness", "8s", "--facts-partitions", "2", "--max-clock-skew", "5s")
    program = Program(kafka, fresh_prefix, tmp_path / "state", rules, options)
    program.make_sources(PARTITIONS, stamped)
    victims = range(0, TRACES, VICTIMS)
    sent = hostile.sendings(
        HOSTILE_RECORDS, LARGE, LENGTH_MS, PARTITIONS, [trace_id(number) for number in victims], chance
    )
    last = range(TRACES, TRACES + 4)

    with program.running() as run:
        wait_until(lambda: stages(run.pid).keys() >= {"ingest", "sessions"}, "the stages are there")
        begun = stages(run.pid)
        stamps = lies(chance) if stamped == "CreateTime" else truths()
        writers = [
            Thread(target=write, args=(kafka, program.spans_topic, *what))
            for what in ((honest(0, TRACES, LENGTH_MS), truths()), (sent, stamps))
        ]
        for writer in writers:
            writer.start()
        time.sleep(LOSS_S)
        bombs.send(kafka, program.spans_topic, chance.randrange(PARTITIONS))
        for writer in writers:
            writer.join()
        write(kafka, program.spans_topic, honest(last[0], len(last), 100), truths())
        wait_until(lambda: verdicts(program).keys() >= {last[1], last[3]}, "the last traces are judged")
        peak = peak_bytes(begun["ingest"])
        ended = stages(run.pid)
        run.send_signal(signal.SIGTERM)
        code = run.wait(STOP_S)

    said = verdicts(program)
    broken = {number for number in range(last.stop) if not is_whole(number)}
    assert set() == broken - said.keys(), seed
    assert set() == {number for number, each in said.items() if "broken" in each} - broken, seed
    assert {"broken", "undetermined"} >= {each[-1] for each in said.values()}, seed
    early = {number for number in broken if number < TRACES // 10} - {*victims}
    assert {number: ["broken"] for number in early} == {number: said[number] for number in early}, seed
    assert (begun, 0) == (ended, code)
    assert peak < MEMORY_BYTES


def stages(run: int) -> dict[str, int]:
    """The process ids of the stages of `betrace run`, by role."""
    found: dict[str, int] = {}
    for child in psutil.Process(run).children(recursive=True):
        command = child.cmdline()
        if "--role" in command:
            found[command[command.index("--role") + 1]] = child.pid
    return found
