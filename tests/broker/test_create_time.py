"""Source topics whose records say themselves when they came, and somebody lies."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from confluent_kafka import Producer

from tests.support.ingesting import must_arrive
from tests.support.program import RUN_S, Program
from tests.support.waiting import wait_until

pytestmark = pytest.mark.broker

RULE = '// "Access is audited"\n// id: audited\npii.access and audit.log\n'
PARTITIONS = 3
HONEST = range(1, 21)
FIRST, LAST = 100, 101
LIAR = 900
LIE_MS = 58 * 60_000


@pytest.fixture
def program(kafka: str, fresh_prefix: str, tmp_path: Path) -> Program:
    """An installation with one rule, whose windows close soon."""
    rules = tmp_path / "a.rules"
    rules.write_text(RULE)
    options = ("--gap", "15s", "--lateness", "60s", "--facts-partitions", "2", "--max-clock-skew", "5s")
    program = Program(kafka, fresh_prefix, tmp_path / "state", rules, options)
    program.make_sources(PARTITIONS)
    return program


def write(program: Program, name: str, traces: range | list[int], ahead_ms: int = 0) -> None:
    """A span of each trace, stamped so far ahead of now; where it goes the trace's number says."""
    producer = Producer({"bootstrap.servers": program.bootstrap})
    for trace in traces:
        span = {"traceId": f"{trace:032x}", "spanId": f"{time.time_ns() % (1 << 60):016x}", "name": name}
        value = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).encode()
        stamp_ms = time.time_ns() // 1_000_000 + ahead_ms
        producer.produce(
            program.spans_topic, value, partition=trace % PARTITIONS, timestamp=stamp_ms, on_delivery=must_arrive
        )
    producer.flush()


def last_verdicts(program: Program) -> dict[int, str]:
    """The last verdict of each trace, by its number."""
    return {int(trace, 16): verdict for (_, trace), verdict in program.last_verdicts().items()}


def is_judged(program: Program, trace: int) -> bool:
    """There is a signal of the trace."""
    return trace in last_verdicts(program)


def test_future_timestamps_break_no_honest_trace(program: Program) -> None:
    """A record stamped an hour ahead in each partition closes no other window; its own trace is undetermined."""
    with program.running():
        write(program, "pii.access", [FIRST])
        wait_until(partial(is_judged, program, FIRST), "there is a first signal")

        write(program, "pii.access", HONEST)
        write(program, "pii.access", [LIAR, LIAR + 1, LIAR + 2], LIE_MS)
        write(program, "other", [LIAR, LIAR + 1, LIAR + 2], LIE_MS)
        time.sleep(3)
        write(program, "audit.log", HONEST)
        write(program, "pii.access", [LAST])
        wait_until(lambda: {LAST, LIAR, LIAR + 2} <= last_verdicts(program).keys(), "the last signals are there")

    liars = dict.fromkeys((LIAR, LIAR + 1, LIAR + 2), "undetermined")
    assert {FIRST: "broken", LAST: "broken"} | liars == last_verdicts(program)
    assert [] == [said for said in program.revisions() if said[1] > 1]
    verdicts, told = replayed(program)
    assert {FIRST: "broken", LAST: "broken"} == {
        trace: verdict for trace, verdict in verdicts.items() if trace not in liars
    }
    assert "broken" not in {verdicts.get(trace) for trace in liars}
    assert "6 records have a producer's timestamp outside the accepted bounds" in told


def replayed(program: Program) -> tuple[dict[int, str], str]:
    """The verdicts that a replay signals, by the trace's number, and what it says beside them."""
    where = ["--bootstrap", program.bootstrap, "--prefix", program.prefix, "--from", "earliest", "--to", "now"]
    sources = ["--source-topics", f"{program.spans_topic},{program.logs_topic}", "--gap", "15s"]
    command = [sys.executable, "-m", "streams.cli", "replay", "--rules", str(program.rules), *where, *sources]
    done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_S, check=False)
    said = [json.loads(line)["unmapped"]["betrace"] for line in done.stdout.splitlines()]
    return {int(one["trace_id"], 16): one["verdict"] for one in said}, done.stderr


def test_timestamp_of_1970_delays_no_verdict(program: Program) -> None:
    """A record of 1970 in an otherwise idle partition delays no verdict, also after a restart."""
    write(program, "pii.access", [LIAR], 1 - time.time_ns() // 1_000_000)

    for trace in (FIRST + 1, LAST + 3):
        with program.running():
            write(program, "pii.access", [trace])
            wait_until(partial(is_judged, program, trace), "there is a signal")

    assert {FIRST + 1, LAST + 3} <= last_verdicts(program).keys()
