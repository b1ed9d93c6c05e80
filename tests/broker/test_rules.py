"""Rules that are pushed while traces are on their way, on a real Kafka."""

from __future__ import annotations

import dataclasses
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from confluent_kafka import Producer

from dsl import RuleSet, compile_texts
from streams.cli import main
from streams.config.settings import Settings
from streams.config.units import iso_ms
from streams.observe.health import JSON
from streams.rules import history, registry
from tests.support.ports import free_port
from tests.support.probes import get
from tests.support.program import Program
from tests.support.waiting import wait_until
from topics.records.facts import decode

pytestmark = pytest.mark.broker

FIRST = '// id: first\n// "Access is audited"\nwhen {pii.access} always {audit.log}\n'
SECOND = '// id: second\n// "Exports are approved before"\nwhen {export} always {approval}\n'
SHADOW = '// id: third\n// "Exports are named"\n// mode: shadow\nwhen {export} always {name.given}\n'
REACH_MS = 30_000
HALF_SEEN, SEEN_LATER, WHOLE = (f"{number:032x}" for number in (1, 2, 3))


@pytest.fixture
def program(kafka: str, fresh_prefix: str, tmp_path: Path) -> Program:
    """An installation with the first rule, of one facts partition."""
    rules = tmp_path / "first.rules"
    rules.write_text(FIRST)
    windows = ("--gap", "20s", "--lateness", "10s", "--out-of-order", "100ms", "--facts-partitions", "2")
    # Time goes on by records alone, however long a push takes: none of them comes too late to be believed.
    options = (*windows, "--idle-lag", "30m")
    program = dataclasses.replace(Program(kafka, fresh_prefix, tmp_path / "state"), rules=rules, options=options)
    program.make_sources()
    return program


def write(program: Program, trace_id: str, names: list[str], time_ms: int) -> None:
    """Writes a record with spans of one trace."""
    producer = Producer({"bootstrap.servers": program.bootstrap})
    spans = [{"traceId": trace_id, "spanId": f"{time_ms % 2**60 + at:016x}", "name": n} for at, n in enumerate(names)]
    value = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]})
    producer.produce(program.spans_topic, value, partition=0, timestamp=time_ms)
    producer.flush()


def move_clock(program: Program, time_ms: int) -> None:
    """Every source partition has a record of this time: what is older is complete."""
    producer = Producer({"bootstrap.servers": program.bootstrap})
    for topic in (program.spans_topic, program.logs_topic):
        for partition in range(2):
            producer.produce(topic, b'{"resourceSpans":[]}', partition=partition, timestamp=time_ms)
    producer.flush()


def settings(program: Program) -> Settings:
    """Settings to push with."""
    return Settings(bootstrap=program.bootstrap, prefix=program.prefix, state_dir=program.state_dir)


def projected_with(program: Program) -> Counter[str]:
    """The rule sets that facts were projected with, and how many messages."""
    return Counter(decode(frame.value).rules for frame in program.records("facts"))


def push(program: Program, *texts: str) -> RuleSet:
    """Pushes rules and waits until ingest projects with them."""
    rules, _ = compile_texts({f"{at}.rules": text for at, text in enumerate(texts)})
    registry.push(settings(program), rules, now_ms=time.time_ns() // 1_000_000)
    wait_until(lambda: rules.fingerprint in projected_with(program), "ingest projects with what was pushed")
    return rules


def cli(program: Program, *words: str) -> str:
    """What a command prints that looks at the installation."""
    where = {
        "BETRACE_BOOTSTRAP": program.bootstrap,
        "BETRACE_PREFIX": program.prefix,
        "BETRACE_SOURCE_TOPICS": f"{program.spans_topic},{program.logs_topic}",
    }
    return CliRunner(env=where).invoke(main, words).stdout


def listed(program: Program) -> dict[str, int | None]:
    """From when each active rule judges, as they are listed; nothing before there are topics."""
    rows = json.loads(cli(program, "rules", "list", "--format", "json") or "[]")
    return {each["rule"]: each["from_ms"] for row in rows if row["active"] for each in row["judging"] or ()}


def probed(port: int) -> dict[str, Any]:
    """What a stage says of itself, ready or not."""
    found: dict[str, Any] = json.loads(get(port, "/readyz", JSON)[1])
    return found


def broken(program: Program) -> set[tuple[str, str]]:
    """Rule and trace of what was said to be broken."""
    return set(program.broken())


def test_pushed_rule_judges_no_trace_in_flight(program: Program) -> None:
    """Pushed in the middle of traces, a rule judges only those of which all was projected with it; nothing restarts."""
    start_ms = time.time_ns() // 1_000_000 - 600_000
    # The approval comes before the rule that asks for it: seen by it alone, the export is without one.
    write(program, HALF_SEEN, ["pii.access", "approval"], start_ms)
    move_clock(program, start_ms + 100)
    with program.running() as run:
        wait_until(lambda: bool(projected_with(program)) and program.uncommitted() == {}, "all is read")
        push(program, FIRST, SECOND, SHADOW)
        write(program, HALF_SEEN, ["export"], start_ms + 900)
        # It may be the rest of a trace whose beginning was projected without the rule.
        write(program, SEEN_LATER, ["export", "pii.access"], start_ms + REACH_MS)
        write(program, WHOLE, ["export", "pii.access"], start_ms + 200_000)
        move_clock(program, start_ms + 300_000)
        expected = {("first", HALF_SEEN), ("first", SEEN_LATER), ("first", WHOLE), ("second", WHOLE)}

        wait_until(lambda: broken(program) >= expected, "all that can be judged is")

        assert run.poll() is None
    assert expected == broken(program)


def test_operator_sees_from_when_a_push_judges(program: Program) -> None:
    """A rule that was pushed judges from one moment on, which list, status, readiness probe and metric all show."""
    port = free_port(2)
    program = dataclasses.replace(program, options=(*program.options, "--metrics-port", str(port)))
    write(program, WHOLE, ["pii.access"], time.time_ns() // 1_000_000)
    with program.running():
        wait_until(lambda: listed(program) == {"first": 0}, "the first rule judges everything")
        push(program, FIRST, SECOND)
        wait_until(lambda: listed(program).keys() == {"first", "second"}, "the push is listed")
        wait_until(lambda: listed(program)["second"] is not None, "the second rule judges from some moment on")
        from_ms = listed(program)["second"]
        said = json.loads(
            cli(program, "status", "--source-topics", f"{program.spans_topic},{program.logs_topic}", "--format", "json")
        )
        # The worker shows it after the step that writes it.
        wait_until(lambda: probed(port + 1)["judging"].keys() == {"first", "second"}, "sessions has seen the push")
        wait_until(lambda: probed(port + 1)["judging"]["second"] == from_ms, "sessions shows the same moment")
        readiness, metrics = probed(port + 1), get(port + 1, "/metrics")[1]

    assert {"first": 0, "second": from_ms} == {each["rule"]: each["from_ms"] for each in said["judging"]}
    assert {"first": 0, "second": from_ms} == readiness["judging"]
    assert "betrace_rules_judge_from_timestamp_seconds{" in metrics
    assert 'betrace_rules_judging{state="later"} 1.0' in metrics
    assert f"1 rule (second) judges traces that begin from {iso_ms(from_ms or 0)} on" in readiness["notes"]


def test_rolled_back_rules_stop_judging(program: Program) -> None:
    """After a rollback the rule judges no trace that begins later; a rule that stays continues without a gap."""
    start_ms = time.time_ns() // 1_000_000 - 600_000
    write(program, HALF_SEEN, ["pii.access"], start_ms)
    move_clock(program, start_ms + 100)
    with program.running():
        wait_until(lambda: bool(projected_with(program)) and program.uncommitted() == {}, "all is read")
        push(program, FIRST, SECOND)
        write(program, WHOLE, ["export"], start_ms + 100_000)
        move_clock(program, start_ms + 200_000)
        wait_until(lambda: ("second", WHOLE) in broken(program), "the new rule says something")
        [first] = [each for each in history.history(settings(program)) if each.rules and len(each.rules.rules) == 1]
        count = projected_with(program)[first.fingerprint]
        registry.activate(settings(program), first.fingerprint, now_ms=time.time_ns() // 1_000_000)
        wait_until(lambda: projected_with(program)[first.fingerprint] > count, "ingest is back at the first rules")
        write(program, SEEN_LATER, ["export", "pii.access"], start_ms + 300_000)
        move_clock(program, start_ms + 400_000)

        wait_until(lambda: ("first", SEEN_LATER) in broken(program), "the first rule goes on")

    assert {("first", HALF_SEEN), ("second", WHOLE), ("first", SEEN_LATER)} == broken(program)
