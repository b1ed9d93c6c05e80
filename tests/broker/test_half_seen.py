"""Traces that are on their way when a rule begins to see: no rule says of them what it cannot know, on a real Kafka.

Every trace is audited first, lives on with spans that no rule names, and ends with the access that must be audited.
So nothing is broken but the last trace, which has no audit; whoever saw only the end of a trace would say otherwise.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from dsl import compile_texts
from streams.config.settings import Settings
from streams.config.units import iso_ms
from streams.ingest.followers import FOLLOWERS
from streams.rules import registry
from tests.support.program import RUN_S, Program
from tests.support.waiting import wait_until
from topics.cluster import admin
from topics.records.facts import decode

pytestmark = pytest.mark.broker

RULE = '// id: audited\n// "Access is audited"\nwhen {access} always {audit}\n'
OTHER = '// id: other\n// "Exports are approved"\nwhen {export} always {approval}\n'
WINDOWS = ("--gap", "2s", "--lateness", "3s", "--max-duration", "60s", "--out-of-order", "100ms")
LENGTH_MS, STEP_MS, EVERY_MS = 12_500, 900, 500
TRAFFIC_MS = 60_000
LAST = f"{0xFFFF:032x}"


@dataclasses.dataclass(frozen=True, order=True)
class Span:
    """A record of one span."""

    time_ms: int
    trace_id: str
    name: str


def traffic() -> list[Span]:
    """Traces of twelve seconds, two a second, for a minute; then one without an audit, long after."""
    found = [Span(TRAFFIC_MS + 30_000, LAST, "access")]
    for number, begin_ms in enumerate(range(0, TRAFFIC_MS - LENGTH_MS, EVERY_MS)):
        names = ["audit", *["step"] * (LENGTH_MS // STEP_MS - 1), "access"]
        times = range(begin_ms, begin_ms + LENGTH_MS, STEP_MS)
        found += [Span(time_ms, f"{number + 1:032x}", name) for time_ms, name in zip(times, names, strict=False)]
    return sorted(found)


@pytest.fixture
def start_ms() -> int:
    """When the traffic begins: all of it is quiet by now."""
    return time.time_ns() // 1_000_000 - 600_000


@pytest.fixture
def program(kafka: str, fresh_prefix: str, tmp_path: Path) -> Program:
    """An installation with one partition of each source topic."""
    rules = tmp_path / "audited.rules"
    rules.write_text(RULE)
    made = Program(kafka, fresh_prefix, tmp_path / "state", rules=rules, options=(*WINDOWS, "--facts-partitions", "3"))
    made.make_sources(1)
    return made


def write(program: Program, start_ms: int, from_ms: int, to_ms: int) -> int:
    """Writes the traffic of a time, and to both topics that it is over; the end of the topic of spans."""
    producer = Producer({"bootstrap.servers": program.bootstrap})
    for number, span in enumerate(each for each in traffic() if from_ms <= each.time_ms < to_ms):
        one = {"traceId": span.trace_id, "spanId": f"{from_ms * 1_000 + number + 1:016x}", "name": span.name}
        value = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [one]}]}]})
        producer.produce(program.spans_topic, value, partition=0, timestamp=start_ms + span.time_ms)
    for topic in (program.spans_topic, program.logs_topic):
        # Of a time that is still to come so many records say that it is there.
        for _ in range(FOLLOWERS + 1):
            producer.produce(topic, b'{"resourceSpans":[]}', partition=0, timestamp=start_ms + to_ms)
    producer.flush()
    at = TopicPartition(program.spans_topic, 0)
    return admin.end_offsets(AdminClient({"bootstrap.servers": program.bootstrap}), [at])[at.topic, 0]


def delete(program: Program, below: int) -> None:
    """What retention does to the topic of spans."""
    client = AdminClient({"bootstrap.servers": program.bootstrap})
    [done] = client.delete_records([TopicPartition(program.spans_topic, 0, below)]).values()
    done.result()


def read_to(program: Program) -> int:
    """Up to which offset of the topic of spans facts were written."""
    sections = (section for frame in program.records("facts") for section in decode(frame.value).sections)
    return max((each.to_offset for each in sections if each.topic == program.spans_topic), default=0)


def verdicts(signals: list[dict[str, object]]) -> dict[tuple[str, int], tuple[str, str]]:
    """Verdict and trace by uid and revision."""
    found = {}
    for signal in json.loads(json.dumps(signals)):
        said = signal["unmapped"]["betrace"]
        found[signal["finding_info"]["uid"], said["revision"]] = (said["verdict"], said["trace_id"])
    return found


def replayed(program: Program, *options: str) -> tuple[dict[tuple[str, int], tuple[str, str]], str]:
    """What a replay says of everything that is there, and what it prints beside it."""
    where = ["--bootstrap", program.bootstrap, "--prefix", program.prefix]
    sources = ["--source-topics", f"{program.spans_topic},{program.logs_topic}"]
    asked = ["--rules", str(program.rules), *(options or ("--from", "earliest"))]
    times = [*WINDOWS, "--max-clock-skew", "1h"]
    command = [sys.executable, "-m", "streams.cli", "replay", *asked, *where, *sources, *times]
    done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_S, check=False)
    assert done.returncode in {0, 1}, done.stderr
    return verdicts([json.loads(line) for line in done.stdout.splitlines()]), done.stderr


def broken(program: Program) -> list[str]:
    """The traces that were said to be broken, by whichever rule and revision."""
    return sorted(trace for verdict, trace in verdicts(program.signals()).values() if verdict == "broken")


def assert_agreed(program: Program, *options: str) -> None:
    """Of what live and replay both state they state the same, and they do of the last trace."""
    live, (again, _) = verdicts(program.signals()), replayed(program, *options)
    both = live.keys() & again.keys()
    assert {key: live[key] for key in both} == {key: again[key] for key in both}
    assert ("broken", LAST) in [live[key] for key in both]


def test_push_while_traces_are_in_flight(program: Program, start_ms: int) -> None:
    """A rule that is pushed while traces are in flight does not judge them, and judges those that begin later."""
    other = program.rules.with_name("other.rules")
    other.write_text(OTHER)
    end = write(program, start_ms, 0, 20_000)
    with dataclasses.replace(program, rules=other).running():
        wait_until(lambda: read_to(program) == end, "all is read")
        pushed, _ = compile_texts({"audited.rules": RULE})
        settings = Settings(bootstrap=program.bootstrap, state_dir=program.state_dir, prefix=program.prefix)
        registry.push(settings, pushed, now_ms=start_ms)
        wait_until(
            lambda: any(decode(frame.value).rules == pushed.fingerprint for frame in program.records("facts")),
            "ingest projects with what was pushed",
        )
        write(program, start_ms, 20_000, 200_000)
        wait_until(lambda: LAST in broken(program), "the last trace is judged")

    assert [LAST] == broken(program)
    assert 1 == len(moments(program, pushed.fingerprint))
    assert_agreed(program)


def moments(program: Program, rule_set: str) -> set[int | None]:
    """Since when the set is in use, as the facts of any partition say it of the topic of spans."""
    messages = [decode(frame.value) for frame in program.records("facts")]
    sections = [section for each in messages if each.rules == rule_set for section in each.sections]
    return {each.rules_since_ms for each in sections if each.topic == program.spans_topic}


def test_lost_input(program: Program, start_ms: int) -> None:
    """A trace in flight when records were lost is never broken: the missing span may be among those records."""
    write(program, start_ms, 0, 12_000)
    program.run_until_idle()
    delete(program, write(program, start_ms, 12_000, 22_000))
    write(program, start_ms, 22_000, 200_000)
    program.run_until_idle()

    assert [LAST] == broken(program)
    assert "undetermined" in {verdict for verdict, _ in verdicts(program.signals()).values()}
    assert_agreed(program)


def test_first_start_at_latest(program: Program) -> None:
    """A first start at the end of the topics does not judge traces in flight."""
    # What comes after the start must be stamped after it.
    start_ms = time.time_ns() // 1_000_000 + 40_000
    write(program, start_ms, 0, 20_000)
    with dataclasses.replace(program, options=(*program.options, "--start", "latest")).running():
        wait_until(lambda: read_to(program) > 0, "reading has begun")
        write(program, start_ms, 20_000, 200_000)
        wait_until(lambda: LAST in broken(program), "the last trace is judged")

    assert {("broken", LAST)} == set(verdicts(program.signals()).values())
    assert_agreed(program, "--from", "earliest", "--to", iso_ms(start_ms + 300_000))


def test_first_start_after_retention(program: Program, start_ms: int) -> None:
    """Where retention has deleted the beginning, a first start and a replay do not judge traces that were in flight."""
    delete(program, write(program, start_ms, 0, 20_000))
    write(program, start_ms, 20_000, 200_000)
    program.run_until_idle()

    again, told = replayed(program)

    assert {("broken", LAST)} == set(verdicts(program.signals()).values()) == set(again.values())
    assert " more traces began before the period read" in told


@pytest.fixture
def long(program: Program, start_ms: int) -> None:
    """A trace that never rests for five minutes: audited in the first, with an access in each of the others."""
    producer = Producer({"bootstrap.servers": program.bootstrap})
    for number, time_ms in enumerate(range(0, 300_000, 1_000)):
        name = "audit" if number == 10 else "access" if number > 100 and number % 20 == 0 else "step"
        one = {"traceId": f"{7:032x}", "spanId": f"{number + 1:016x}", "name": name}
        value = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [one]}]}]})
        producer.produce(program.spans_topic, value, partition=0, timestamp=start_ms + time_ms)
    producer.flush()


@pytest.mark.usefixtures("long")
def test_adjacent_replays_add_up(program: Program, start_ms: int) -> None:
    """Replays of adjacent periods give what one replay of all gives, but for the traces reported as half seen."""
    middle = iso_ms(start_ms + 150_000)

    whole, _ = replayed(program)
    first, _ = replayed(program, "--from", "earliest", "--to", middle)
    second, told = replayed(program, "--from", middle)

    assert "1 more traces began before the period read" in told
    assert {} != first
    parts = {**first, **second}
    assert parts == {key: whole[key] for key in parts}
    assert {f"{7:032x}"} == {trace for key, (_, trace) in whole.items() if key not in parts}
