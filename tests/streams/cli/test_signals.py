"""Tests `betrace signals` on a real Kafka."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from msgspec.structs import replace

from streams.cli import main
from tests.support.findings import AMENDED, FINDING, GROUPED
from tests.support.installation import installed
from tests.support.waiting import next_line
from topics.records.signals import SignalFormat, record
from topics.signals.finding import Finding, SourceRange

pytestmark = pytest.mark.broker

TRACE_ID = FINDING.trace_id.hex()
OTHER = replace(FINDING, trace_id=bytes(15) + b"b", rule=replace(FINDING.rule, id="other-rule", severity="low"))


def put(bootstrap: str, prefix: str, *findings: Finding, format: SignalFormat = SignalFormat.OCSF) -> list[bytes]:  # noqa: A002, as the setting
    """Writes signals as sessions does, and returns their values."""
    producer = Producer({"bootstrap.servers": bootstrap})
    records = [record(each, logged_ms=7, source="s", format=format) for each in findings]
    for each in records:
        producer.produce(f"{prefix}signals", each.value, each.key, 0, headers=[*each.headers])
    assert producer.flush(30) == 0
    return [each.value for each in records]


def call(bootstrap: str, prefix: str, *arguments: str) -> Result:
    """Runs `betrace signals` with `arguments`."""
    where = {"BETRACE_BOOTSTRAP": bootstrap, "BETRACE_PREFIX": prefix}
    return CliRunner(env=where).invoke(main, ["signals", *arguments])


@pytest.fixture
def prefix(kafka: str, fresh_prefix: str, tmp_path: Path) -> str:
    """The prefix of an installation without signals."""
    installed(kafka, fresh_prefix, tmp_path)
    return fresh_prefix


def test_json_is_byte_for_byte(kafka: str, prefix: str) -> None:
    """`--format json` prints what is on the topic, one signal a line."""
    values = put(kafka, prefix, FINDING, AMENDED, OTHER)

    result = call(kafka, prefix, "tail", "--from", "earliest", "--once", "--format", "json")

    assert result.stdout_bytes.splitlines() == values


def test_a_period_in_the_past_ends(kafka: str, prefix: str) -> None:
    """`--to` excludes what was published later, and ends the command without `--once`."""
    put(kafka, prefix, FINDING)

    shown = [
        call(kafka, prefix, "tail", "--from", "earliest", "--to", to, "--format", "json").stdout
        for to in ("2026-01-05", "2100-01-01")
    ]

    assert [0, 1] == [len(each.splitlines()) for each in shown]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ([], ["pii-access-is-logged", "other-rule"]),
        (["--rule", "other-*"], ["other-rule"]),
        (["--severity", "medium"], ["pii-access-is-logged"]),
        (["--trace", TRACE_ID.upper()], ["pii-access-is-logged"]),
    ],
)
def test_filters(kafka: str, prefix: str, filters: list[str], expected: list[str]) -> None:
    """Only the selected signals are shown, a line each."""
    put(kafka, prefix, FINDING, OTHER)

    result = call(kafka, prefix, "tail", "--from", "1h", "--once", *filters)

    assert [line.split()[6] for line in result.stdout.splitlines()] == expected


def test_other_formats_are_shown(kafka: str, prefix: str) -> None:
    """Signals of all formats are shown together."""
    for format in SignalFormat:  # noqa: A001, as the setting
        put(kafka, prefix, FINDING, format=format)

    result = call(kafka, prefix, "tail", "--from", "earliest", "--once")

    assert len(result.stdout.splitlines()) == 3
    assert len(set(result.stdout.splitlines())) == 1


@pytest.mark.parametrize("format", SignalFormat)
def test_both_times_are_shown(kafka: str, prefix: str, format: SignalFormat) -> None:  # noqa: A002, as the setting
    """The list and a single signal show when it happened and when it was judged, in each format."""
    put(kafka, prefix, replace(FINDING, sources=()), format=format)

    [line] = call(kafka, prefix, "tail", "--from", "earliest", "--once").stdout.splitlines()
    shown = call(kafka, prefix, "show", FINDING.uid).stdout

    assert line.startswith("2026-01-05T11:59:00.123Z  judged at 2026-01-05T11:59:31.500Z")
    assert "when      2026-01-05T11:59:00.123Z\njudged at 2026-01-05T11:59:31.500Z" in shown


def test_foreign_record_is_reported(kafka: str, prefix: str) -> None:
    """A record that cannot be read is reported on stderr, and the next one is shown."""
    producer = Producer({"bootstrap.servers": kafka})
    producer.produce(f"{prefix}signals", b"no signal", b"key", 0)
    producer.flush(30)
    put(kafka, prefix, FINDING)

    result = call(kafka, prefix, "tail", "--from", "earliest", "--once")

    assert len(result.stdout.splitlines()) == 1
    assert f"{prefix}signals partition 0 offset 0: not a signal that this version knows" in result.stderr


def test_aborted_signals_are_not_shown(kafka: str, prefix: str) -> None:
    """A signal of an aborted transaction is not shown."""
    producer = Producer({"bootstrap.servers": kafka, "transactional.id": uuid.uuid4().hex})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(f"{prefix}signals", record(OTHER, logged_ms=7, source="s").value, b"key", 0)
    producer.flush(30)
    producer.abort_transaction(30)
    [value] = put(kafka, prefix, FINDING)

    result = call(kafka, prefix, "tail", "--from", "earliest", "--once", "--format", "json")

    assert result.stdout_bytes.splitlines() == [value]


def test_no_consumer_group_is_created(kafka: str, prefix: str) -> None:
    """The command leaves no consumer group behind."""
    put(kafka, prefix, FINDING)

    call(kafka, prefix, "tail", "--from", "earliest", "--once")

    groups = AdminClient({"bootstrap.servers": kafka}).list_consumer_groups().result().valid
    assert [group.group_id for group in groups if "looks" in group.group_id] == []


def test_signals_are_shown_as_they_come(kafka: str, prefix: str) -> None:
    """Without `--once` it waits for the next signal."""
    where = ["--bootstrap", kafka, "--prefix", prefix, "--from", "earliest"]
    command = [sys.executable, "-m", "streams.cli", "signals", "tail", *where]
    put(kafka, prefix, FINDING)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as tail:
        assert tail.stdout is not None
        first = next_line(tail.stdout, "the first signal")

        put(kafka, prefix, OTHER)

        second = next_line(tail.stdout, "the second signal")
        tail.terminate()
    assert ("pii-access-is-logged" in first, "other-rule" in second) == (True, True)


@pytest.mark.parametrize("format", SignalFormat)
def test_signals_of_a_group_are_counted(kafka: str, prefix: str, format: SignalFormat) -> None:  # noqa: A002, as the setting
    """Of a group `tail` shows the first signal and a count, and with `--all` each signal; `show` has the count too."""
    others = [replace(GROUPED, trace_id=bytes(15) + bytes([number]), sources=()) for number in (1, 2)]
    put(kafka, prefix, replace(GROUPED, sources=()), *others, OTHER, format=format)

    lines = call(kafka, prefix, "tail", "--from", "earliest", "--once").stdout.splitlines()
    every = call(kafka, prefix, "tail", "--from", "earliest", "--once", "--all").stdout.splitlines()
    shown = call(kafka, prefix, "show", GROUPED.uid).stdout

    same = "with the same tenant.id, user.id from 2026-01-05T11:00:00.000Z to 2026-01-05T12:00:00.000Z"
    assert (len(lines), len(every)) == (3, 4)
    assert lines[-1].endswith(f"and 2 more {same}")
    assert f"\nsignals   3 {same}" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tail", "--from", "yesterday"], "'yesterday' is not a time: write 2026-01-05, 2026-01-05T12:00:00Z"),
        (["tail", "--from", "2026-13-05T00:00:00Z"], "is not a time"),
        (["tail", "--trace", "abc"], "'abc' is not a trace id: give 32 hex characters"),
    ],
)
def test_usage(kafka: str, prefix: str, arguments: list[str], message: str) -> None:
    """An invalid option is refused, with a valid example."""
    result = call(kafka, prefix, *arguments)

    assert (result.exit_code, message in result.stderr) == (2, True)


def test_no_topic(kafka: str, fresh_prefix: str) -> None:
    """Without an installation it says so, exit 3."""
    result = call(kafka, fresh_prefix, "tail", "--once")

    assert (result.exit_code, f"{fresh_prefix}signals cannot be read" in result.stderr) == (3, True)


def request(*names: str, trace_id: str = TRACE_ID) -> bytes:
    """An OTLP/JSON request of a root and its children."""
    spans = [
        {
            "traceId": trace_id,
            "spanId": f"{number:016x}",
            "parentSpanId": f"{0:016x}" if number == 1 else f"{1:016x}",
            "name": name,
            "startTimeUnixNano": str(number * 1_000_000),
            "endTimeUnixNano": str(10_000_000),
        }
        for number, name in enumerate(names, 1)
    ]
    service = {"key": "service.name", "value": {"stringValue": "checkout"}}
    resource = {"resource": {"attributes": [service]}, "scopeSpans": [{"spans": spans}]}
    return json.dumps({"resourceSpans": [resource]}).encode()


def put_sources(bootstrap: str, prefix: str) -> SourceRange:
    """Writes a trace among others to the source topic, and returns its offsets."""
    producer = Producer({"bootstrap.servers": bootstrap})
    other = request("another trace", trace_id="c" * 32)
    for value in (other, request("checkout", "export users", "query"), b"no OTLP", other, request("left out")):
        producer.produce(f"{prefix}spans", value, partition=0)
    assert producer.flush(30) == 0
    return SourceRange(f"{prefix}spans", 0, 1, 3)


def test_show_reads_the_trace_back(kafka: str, prefix: str, tmp_path: Path) -> None:
    """The last revision of a signal, and the spans between its offsets in their tree; the page says the same."""
    source = put_sources(kafka, prefix)
    witness = replace(FINDING.witnesses[0], span_id=bytes(7) + b"\x02")
    put(kafka, prefix, replace(FINDING, sources=(source,), witnesses=(witness,)), OTHER)
    html = tmp_path / "signal.html"

    result = call(kafka, prefix, "show", FINDING.uid, "--html", str(html))

    assert result.exit_code == 0, result.stderr
    shown = result.stdout.splitlines()
    assert shown[0] == "high  broken  SOC2 CC6.7: PII access must be logged"
    assert [line.split()[:2] for line in shown[-3:]] == [
        ["checkout", "checkout"],
        ["export", "users"],
        ["query", "checkout"],
    ]
    assert shown[-2].endswith("pii.access")
    assert "left out" not in result.stdout
    assert all(name in html.read_text() for name in ("export users", "query", FINDING.uid))


def test_show_selects_a_revision(kafka: str, prefix: str) -> None:
    """UID shows the latest revision, UID.1 the first one."""
    put(kafka, prefix, *(replace(each, sources=()) for each in (FINDING, AMENDED)))

    last, first = (call(kafka, prefix, "show", uid) for uid in (FINDING.uid, f"{FINDING.uid}.1"))

    assert (last.stdout.split()[1], first.stdout.split()[1]) == ("held", "broken")


def test_show_reports_deleted_records(kafka: str, prefix: str) -> None:
    """Offsets that the topic no longer has are reported on stderr; the signal is shown."""
    put(kafka, prefix, replace(FINDING, sources=(SourceRange(f"{prefix}spans", 0, 7, 9),)))

    result = call(kafka, prefix, "show", FINDING.uid)

    gone = f"{prefix}spans partition 0 no longer has the trace's records at offsets 7 to 9"
    assert gone in result.stderr.splitlines()
    assert result.stdout.startswith("high  broken")


@pytest.mark.parametrize(("uid", "known"), [("nothing", ""), (f"{FINDING.uid}.9", "; its revisions are 1")])
def test_show_unknown(kafka: str, prefix: str, uid: str, known: str) -> None:
    """An unknown uid is an error that names the topic searched."""
    put(kafka, prefix, FINDING)

    result = call(kafka, prefix, "show", uid)

    assert (result.exit_code, result.stderr) == (2, f"Error: no signal {uid} is on {prefix}signals{known}\n")


def test_show_to_an_unwritable_file(kafka: str, prefix: str, tmp_path: Path) -> None:
    """A page that cannot be written is an error, not a crash."""
    put(kafka, prefix, replace(FINDING, sources=()))

    result = call(kafka, prefix, "show", FINDING.uid, "--html", str(tmp_path / "no" / "page.html"))

    assert (result.exit_code, "the page cannot be written" in result.stderr) == (2, True)
