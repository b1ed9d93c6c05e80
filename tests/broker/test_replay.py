"""`betrace replay` on a real Kafka: the past as live processing saw it, whichever way it is read again."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from streams.config.units import iso_ms
from tests.support import group_tool
from tests.support.program import CAPTURES, RUN_S, Program, expected
from topics.embedded import capture

pytestmark = pytest.mark.broker

MINUTE_MS = 60_000
SPREAD_MS = 20 * MINUTE_MS
OPTIONS = ("--gap", "2s", "--lateness", "40s", "--max-duration", "1m", "--out-of-order", "500ms")


class Said(NamedTuple):
    """What must be the same whichever way the records are read."""

    uid: str
    revision: int
    verdict: str


def said(signals: Iterable[dict[str, Any]]) -> list[Said]:
    """The signals, sorted."""
    found = ((each["finding_info"]["uid"], each["unmapped"]["betrace"]) for each in signals)
    return sorted(Said(uid, betrace["revision"], betrace["verdict"]) for uid, betrace in found)


@dataclasses.dataclass(frozen=True)
class Done:
    """A replay that has ended."""

    code: int
    lines: list[dict[str, Any]]
    stderr: str
    stdout: str


def replay(program: Program, *options: str, span: tuple[str, str] = ("earliest", "now")) -> Done:
    """Replays; the lines are those of JSON that it printed."""
    where = ["--bootstrap", program.bootstrap, "--prefix", program.prefix]
    sources = ["--source-topics", f"{program.spans_topic},{program.logs_topic}"]
    asked = ["--rules", str(program.rules), "--from", span[0], "--to", span[1]]
    command = [sys.executable, "-m", "streams.cli", "replay", *asked, *where, *sources, *OPTIONS, *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_S, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return Done(done.returncode, lines, done.stderr, done.stdout)


def spread(program: Program, kind: str, start_ms: int, partitions: int) -> None:
    """Writes a captured day over twenty minutes: traces come in pieces, close, and are amended by late spans."""
    producer = Producer({"bootstrap.servers": program.bootstrap})
    for name, topic in ((f"{kind}_spans", program.spans_topic), (f"{kind}_logs", program.logs_topic)):
        frames = list(capture.read(CAPTURES / f"{name}.bin.gz"))
        for number, frame in enumerate(frames):
            time_ms = start_ms + number * SPREAD_MS // len(frames)
            to = -1 if frame.key else number % partitions
            producer.produce(topic, frame.value, frame.key, to, timestamp=time_ms)
        for to in range(partitions):
            # Without it live would wait, partition by partition, for as long as the last records lie apart.
            producer.produce(topic, b'{"resourceSpans":[]}', None, to, timestamp=start_ms + SPREAD_MS + MINUTE_MS)
    producer.flush()


@pytest.fixture
def program(kafka: str, fresh_prefix: str, tmp_path: Path) -> Program:
    """An installation without source topics."""
    options = (*OPTIONS, "--facts-partitions", "3")
    return Program(kafka, fresh_prefix, tmp_path / "state", options=options)


@pytest.fixture
def start_ms() -> int:
    """When the day begins: everything in it is quiet by now."""
    return time.time_ns() // 1_000_000 - SPREAD_MS - 10 * MINUTE_MS


@pytest.mark.parametrize(("kind", "partitions"), [("keyed", 1), ("keyed", 4), ("unkeyed", 3)])
def test_live_replay_reset_and_archive_agree(
    program: Program, start_ms: int, tmp_path: Path, kind: str, partitions: int
) -> None:
    """Live, in replay, after a reset of the offsets, and from an archive: the same uids, revisions and verdicts."""
    program.make_sources(partitions)
    spread(program, kind, start_ms, partitions)
    program.run_until_idle()
    live = said(program.signals())
    group_tool.reset(program.bootstrap, f"{program.prefix}ingest", "--all-topics", "--to-earliest")

    replayed = [replay(program, "--processes", str(count)) for count in (1, 2)]
    archived = replay(program, "--archive", archive(program, tmp_path / "archive"))
    program.run_until_idle()

    assert any(each.revision > 1 for each in live)
    assert {1} == {done.code for done in (*replayed, archived)}, archived.stderr
    assert live == said(replayed[0].lines) == said(replayed[1].lines) == said(archived.lines)
    assert without_time(replayed[0]) == without_time(replayed[1])
    assert sorted(live + live) == said(program.signals())


def without_time(done: Done) -> list[dict[str, Any]]:
    """Its lines in order, but for when they were printed."""
    return [each | {"metadata": each["metadata"] | {"logged_time": None}} for each in done.lines]


def archive(program: Program, path: Path) -> str:
    """Archives what is there."""
    where = ["--bootstrap", program.bootstrap, "--prefix", program.prefix, "--until-idle"]
    sources = ["--source-topics", f"{program.spans_topic},{program.logs_topic}"]
    command = [sys.executable, "-m", "streams.cli", "archive", str(path), *where, *sources]
    subprocess.run(command, check=True, capture_output=True, timeout=RUN_S)
    return str(path)


def test_adjacent_periods(program: Program, start_ms: int) -> None:
    """Two adjacent periods give what one period gives: each chain belongs to the period of its first arrival."""
    program.make_sources(2)
    spread(program, "keyed", start_ms, 2)
    middle = iso_ms(start_ms + SPREAD_MS // 2 + 50)

    whole = replay(program)
    parts = [replay(program, span=span) for span in (("1h", middle), (middle, "now"))]

    assert all(part.lines for part in parts)
    assert said(whole.lines) == said([*parts[0].lines, *parts[1].lines])


def test_retention_has_deleted_the_beginning(program: Program, start_ms: int) -> None:
    """The replay reports from when on it judges, and does not judge a trace of which a part may be missing."""
    program.make_sources(1)
    spread(program, "keyed", start_ms, 1)
    whole = replay(program)
    client = AdminClient({"bootstrap.servers": program.bootstrap})
    cut = [TopicPartition(name, 0, 20) for name in (program.spans_topic, program.logs_topic)]
    for deleted in client.delete_records(cut).values():
        deleted.result()

    done = replay(program)

    assert f"records of {program.spans_topic}[0] are gone from the beginning to " in done.stderr
    assert "the replay judges traces that begin after " in done.stderr
    assert set(said(done.lines)) < set(said(whole.lines))


def test_published_signals_equal_printed_ones(program: Program, start_ms: int) -> None:
    """They have a topic of their own, and the uids and revisions of live signals; the live topics are unchanged."""
    program.make_sources(2)
    spread(program, "unkeyed", start_ms, 2)
    printed = replay(program)

    done = replay(program, "--publish")

    published = [json.loads(frame.value) for frame in program.records("signals.replay")]
    assert (1, []) == (done.code, done.lines)
    assert said(printed.lines) == said(published)
    assert f"{len(published)} signals published to {program.prefix}signals.replay" in done.stderr


@pytest.mark.parametrize(
    ("options", "span", "code", "message"),
    [
        (("--rule", "nobody"), ("earliest", "now"), 2, "no rule has the id nobody: the ids are "),
        ((), ("2001-01-01T00:00:00Z", "2001-01-02T00:00:00Z"), 2, "(its first record has the time "),
        ((), ("now", "1h"), 2, "is not before --to"),
        (("--source-topics", "nothing"), ("earliest", "now"), 2, "no such topic: nothing: name the topics your"),
        (("--bootstrap", "127.0.0.1:1"), ("earliest", "now"), 3, "no Kafka answers at 127.0.0.1:1"),
    ],
)
def test_invalid_requests(
    program: Program, start_ms: int, options: tuple[str, ...], span: tuple[str, str], code: int, message: str
) -> None:
    """Each has its exit code and a message with an action."""
    program.make_sources(1)
    spread(program, "unkeyed", start_ms, 1)

    done = replay(program, *options, span=span)

    assert (code, []) == (done.code, done.lines)
    assert message in done.stderr


def test_summary(program: Program, start_ms: int) -> None:
    """The figures match the signals, and the sentences match the figures."""
    program.make_sources(1)
    spread(program, "keyed", start_ms, 1)
    signals = replay(program).lines

    lines = replay(program, "--summary").lines

    last = {each.uid: each.verdict for each in said(signals)}
    assert sum(verdict == "broken" for verdict in last.values()) == sum(line["broken"] for line in lines)
    for line in lines:
        assert line["applicable"] == line["held"] + line["broken"] + line["undetermined"]
        if line["applicable"]:
            assert line["statement"].startswith(
                f'{line["broken"]} of {line["applicable"]} traces broke "{line["title"]}"'
            )
    assert {rule for rule, _ in expected()} <= {line["rule"] for line in lines}


def test_compare_with_published_signals(program: Program, start_ms: int) -> None:
    """The same rules keep everything; without some rules their signals are dropped, with other rules some are added."""
    program.make_sources(2)
    spread(program, "keyed", start_ms, 2)
    program.run_until_idle()
    rules = {rule for rule, _ in program.broken()}
    later = dataclasses.replace(program, rules=CAPTURES / "later.rules")

    same, other = replay(program, "--compare"), replay(later, "--compare")

    pairs = {pair for pair, verdict in program.last_verdicts().items() if verdict in ("broken", "undetermined")}
    assert pairs == {(line["rule"], line["trace_id"]) for line in same.lines}
    last = {(one["rule"]["id"], one["trace_id"]): times for one, times in times_of(program.signals())}
    assert {pair: last[pair] for pair in pairs} == {
        (line["rule"], line["trace_id"]): (line["time"], line["judged_at"]) for line in same.lines
    }
    assert {"keep"} == {line["change"] for line in same.lines}
    assert rules == {line["rule"] for line in other.lines if line["change"] == "drop"}
    assert {line["rule"] for line in other.lines if line["change"] == "add"}.isdisjoint(rules)
    assert "0 keep" in other.stderr


def times_of(signals: list[dict[str, Any]]) -> list[tuple[dict[str, Any], tuple[str, str]]]:
    """What each signal says under our name, the last revisions last, with when it happened and when it was judged."""
    in_order = sorted(signals, key=lambda one: one["unmapped"]["betrace"]["revision"])
    return [
        (one["unmapped"]["betrace"], (iso_ms(one.get("start_time", one["time"])), iso_ms(one["time"])))
        for one in in_order
    ]


def test_broken_traces_by_attribute(program: Program, start_ms: int) -> None:
    """Every broken trace is in one group, and the table shows the same groups."""
    program.make_sources(1)
    spread(program, "keyed", start_ms, 1)
    last = {each.uid: each.verdict for each in said(replay(program).lines)}

    groups = replay(program, "--who", "user.id")
    table = replay(program, "--who", "user.id", "--format", "text")

    assert sum(verdict == "broken" for verdict in last.values()) == sum(group["broken"] for group in groups.lines)
    assert all(group["broken"] == len(group["timeline"]) for group in groups.lines)
    moments = [moment for group in groups.lines for moment in group["timeline"]]
    assert {(moment["time"], moment["judged_at"]) for moment in moments} <= {
        times for _, times in times_of(replay(program).lines)
    }
    assert "WHEN " in table.stdout
    assert " JUDGED AT " in table.stdout
    assert all((group["who"] or "(none)") in table.stdout for group in groups.lines)
    assert table.stdout.startswith("USER.ID ")


def test_table(program: Program, start_ms: int) -> None:
    """Signals have a row each, in the order of the lines; counts have a row per rule, with the sentences below."""
    program.make_sources(1)
    spread(program, "unkeyed", start_ms, 1)
    lines = replay(program).lines

    table, summary = replay(program, "--format", "text"), replay(program, "--summary", "--format", "text")

    head, *rows = table.stdout.splitlines()
    assert head.split() == ["WHEN", "JUDGED", "AT", "SEVERITY", "RULE", "VERDICT", "TRACE", "WHAT", "HAPPENED"]
    assert [each["unmapped"]["betrace"]["rule"]["id"] for each in lines] == [row.split()[3] for row in rows]
    assert summary.stdout.startswith("RULE ")
    assert " traces broke " in summary.stdout


def test_values_are_redacted_as_in_live(program: Program, start_ms: int) -> None:
    """Values that must not leave ingest do not leave a replay either."""
    program.make_sources(1)
    spread(program, "keyed", start_ms, 1)

    plain, masked = replay(program), replay(program, "--redact", "user.id=mask")

    assert "[masked]" not in plain.stdout
    assert "[masked]" in masked.stdout
    assert said(plain.lines) == said(masked.lines)
