"""Tests `betrace find --archive`; tests/broker/test_asking.py has its way through Kafka."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from streams.archive.rows import RawRecord
from streams.archive.store import Store
from streams.archive.write import PartitionWriter
from streams.cli import main
from tests.support.otlp_requests import trace_request

START_MS = 1_700_000_000_000


def span(trace: int, number: int, name: str, parent: int = 0) -> Span:
    """A span; its number is its id and its start in ms."""
    return Span(
        trace_id=bytes([trace]) * 16,
        span_id=bytes([number]) * 8,
        parent_span_id=bytes([parent]) * 8 if parent else b"",
        name=name,
        start_time_unix_nano=(START_MS + number) * 1_000_000,
    )


def write(archive: Path, *records: tuple[int, str, Span], first_offset: int = 0) -> None:
    """Archives records, each a time in ms after the start, a service and a span."""
    store = Store.at(str(archive))
    writer = PartitionWriter(store=store, topic="otlp_spans", partition=0, first_offset=first_offset, topic_id="id")
    for offset, (after_ms, service, sent) in enumerate(records, first_offset):
        resource = Resource(attributes=[KeyValue(key="service.name", value=AnyValue(string_value=service))])
        value = trace_request(sent, resource=resource)
        writer.add(RawRecord("otlp_spans", 0, offset, START_MS + after_ms, None, value))
    writer.cut(first_offset + len(records))


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """An archive of three traces; the root of the first one comes in a later record, of another service."""
    path = tmp_path / "archive"
    path.mkdir()
    write(
        path,
        (0, "bank", span(1, 2, "payment", 1)),
        (500, "shop", span(1, 1, "POST /pay")),
        (600, "bank", span(2, 3, "payment")),
        (700, "bank", span(2, 4, "approval", 3)),
        (90_000, "bank", span(3, 5, "payment", 9)),
    )
    return path


def find(archive: Path, expression: str, *options: str) -> Result:
    """Runs `betrace find` on a whole archive."""
    where = ["--archive", str(archive), "--from", "earliest", "--processes", "1"]
    return CliRunner().invoke(main, ["find", expression, *where, *options])


def test_found_traces_have_their_services_and_their_root(archive: Path) -> None:
    """Each trace for which the expression is true is printed, with what was in other records of its window."""
    done = find(archive, "payment and not approval", "--format", "json")

    first = {
        "trace_id": "01" * 16,
        "time": "2023-11-14T22:13:20.002Z",
        "services": ["bank", "shop"],
        "root": "POST /pay",
    }
    third = {"trace_id": "03" * 16, "time": "2023-11-14T22:13:20.005Z", "services": ["bank"], "root": None}
    assert (0, [first, third]) == (done.exit_code, [json.loads(line) for line in done.stdout.splitlines()])
    assert "2 traces found; 5 spans read, 0 unreadable records\n" in done.stderr


def test_table_and_limit(archive: Path) -> None:
    """At most --limit traces are printed; the message counts the others."""
    done = find(archive, "payment", "--limit", "1")

    head, row = done.stdout.splitlines()
    assert ["TRACE", "TIME", "SERVICES", "ROOT", "SPAN"] == head.split()
    assert ["01" * 16, "2023-11-14T22:13:20.002Z", "bank,", "shop", "POST", "/pay"] == row.split()
    assert "3 traces found, 1 of them printed: raise --limit; " in done.stderr


def test_trace_that_is_found_twice_counts_once(archive: Path) -> None:
    """A trace that continued after a longer pause has two findings: it is one trace, for the count and for --limit."""
    write(archive, (3_000_000, "bank", span(1, 9, "payment", 1)), first_offset=5)

    done = find(archive, "payment", "--limit", "3", "--format", "json")

    assert ["01" * 16, "02" * 16, "03" * 16] == [json.loads(line)["trace_id"] for line in done.stdout.splitlines()]
    assert "3 traces found; " in done.stderr


def test_limit_keeps_the_first_traces(archive: Path) -> None:
    """The traces that happened first are printed, whichever were judged first."""
    write(archive, (3_000_000, "bank", span(4, 1, "payment", 9)), first_offset=5)

    done = find(archive, "payment", "--limit", "2", "--format", "json")

    assert ["04" * 16, "01" * 16] == [json.loads(line)["trace_id"] for line in done.stdout.splitlines()]
    assert "4 traces found, 2 of them printed: raise --limit; " in done.stderr


def test_place_of_a_repaired_finding_goes_to_another_trace(archive: Path) -> None:
    """A late record that repairs a finding within the limit makes room for the next trace."""
    late = (65_000, "bank", span(1, 9, "approval", 1))
    path = archive.parent / "repaired"
    path.mkdir()
    write(path, (0, "bank", span(1, 2, "payment", 1)), (600, "bank", span(2, 3, "payment")), late)

    done = find(
        path, "payment and not approval", "--limit", "1", "--format", "json", "--gap", "60s", "--lateness", "30s"
    )

    assert ["02" * 16] == [json.loads(line)["trace_id"] for line in done.stdout.splitlines()]
    assert "1 traces found; " in done.stderr


def test_traces_that_cannot_be_decided_are_counted(archive: Path) -> None:
    """Where records are missing a trace may have had an approval: it is counted, and not printed."""
    write(archive, (90_100, "shop", span(4, 6, "other")), first_offset=9)

    done = find(archive, "payment and not approval", "--format", "json")

    assert ["01" * 16] == [json.loads(line)["trace_id"] for line in done.stdout.splitlines()]
    assert "1 traces found; " in done.stderr
    assert "1 traces cannot be decided: they were cut, or a value is unknown" in done.stderr


def test_nothing_is_found(archive: Path) -> None:
    """Without a trace nothing is printed, and the command succeeds."""
    done = find(archive, "refund")

    assert (0, "") == (done.exit_code, done.stdout)
    assert "0 traces found; 5 spans read" in done.stderr


def test_comment_before_the_expression_means_nothing(archive: Path) -> None:
    """A comment that would be a key of a header does not keep traces from being found."""
    plain, commented = find(archive, "payment"), find(archive, "// mode: shadow\n// enabled: false\npayment")

    assert plain.stdout
    assert (plain.exit_code, plain.stdout) == (commented.exit_code, commented.stdout)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("payment and\n  (", "EXPR:2:3  "),
        ("payment and (approval", "EXPR:1:14  "),
        (" ", "EXPR is empty: give an expression"),
        ("when { a } always { b }", "EXPR is a whole rule: give one expression"),
        ("a // id: b\n\n// id: c\n// kind: pattern\nb", "EXPR has 2 expressions: give one"),
    ],
)
def test_problems_of_the_expression_are_shown_where_they_are(archive: Path, expression: str, message: str) -> None:
    """An expression that cannot be compiled is refused, with a caret below the mistake."""
    done = find(archive, expression)

    assert (2, "") == (done.exit_code, done.stdout)
    assert message in done.stderr
    assert ("  " in message) == ("^" in done.stderr)
