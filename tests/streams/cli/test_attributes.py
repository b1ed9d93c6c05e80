"""Tests `betrace attributes --archive`; tests/broker/test_asking.py has its way through Kafka."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from streams.archive.rows import RawRecord
from streams.archive.store import Store
from streams.archive.write import PartitionWriter
from streams.cli import main
from tests.support.otlp_requests import logs_request, trace_request

START_MS = 1_700_000_000_000
TRACE = bytes(range(16))


def attribute(key: str, value: str | int) -> KeyValue:
    """An attribute."""
    return KeyValue(
        key=key, value=AnyValue(string_value=value) if isinstance(value, str) else AnyValue(int_value=value)
    )


def span(number: int, name: str, **more: Any) -> Span:  # noqa: ANN401, protobuf's
    """A span with its number as an attribute."""
    attributes = [attribute("number", number), attribute("user.id", "u-17")]
    return Span(trace_id=TRACE, span_id=bytes([number]) * 8, name=name, attributes=attributes, **more)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """An archive of spans of two services, a log record, and a record that cannot be read."""
    path = tmp_path / "archive"
    path.mkdir()
    bank, shop = (Resource(attributes=[attribute("service.name", name)]) for name in ("bank", "shop"))
    found = Span.Event(name="found", attributes=[attribute("score", 1), attribute("number", 9)])
    log = LogRecord(trace_id=TRACE, event_name="audit.log", attributes=[attribute("user.id", "u-18")])
    values = [
        trace_request(span(1, "payment"), span(2, "payment"), span(3, "refund", events=[found, found]), resource=bank),
        trace_request(span(4, "cart"), resource=shop),
        logs_request(log),
        b"no request",
    ]
    writer = PartitionWriter(store=Store.at(str(path)), topic="otlp_spans", partition=0, first_offset=0, topic_id="id")
    for offset, value in enumerate(values):
        writer.add(RawRecord("otlp_spans", 0, offset, START_MS + offset, None, value))
    writer.cut(len(values))
    return path


def attributes(archive: Path, *options: str) -> Result:
    """Runs `betrace attributes` on a whole archive."""
    return CliRunner().invoke(main, ["attributes", "--archive", str(archive), "--from", "earliest", *options])


def listed(done: Result) -> list[tuple[str, str, int, list[object]]]:
    """Kind, name, spans and examples of each line."""
    assert 0 == done.exit_code, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return [(line["kind"], line["name"], line["spans"], line["examples"]) for line in lines]


def test_names_are_counted_with_examples(archive: Path) -> None:
    """Each name has the number of spans that have it, however often, and up to three different values."""
    done = attributes(archive, "--format", "json")

    assert [
        ("span", "payment", 2, []),
        ("span", "cart", 1, []),
        ("span", "refund", 1, []),
        ("log record", "audit.log", 1, []),
        ("event", "found", 1, []),
        ("attribute", "user.id", 5, ["u-17", "u-18"]),
        ("attribute", "number", 4, [1, 2, 3]),
        ("attribute", "service.name", 4, ["bank", "shop"]),
        ("attribute", "score", 1, [1]),
    ] == listed(done)
    assert "5 spans counted, 1 unreadable records\n" == done.stderr


def test_values_are_redacted(archive: Path) -> None:
    """Values are treated as `betrace run` treats them before they leave."""
    done = attributes(archive, "--format", "json", "--redact", "user.id=mask,number=drop")

    examples = {name: values for kind, name, _, values in listed(done) if kind == "attribute"}
    assert (["[masked]"], []) == (examples["user.id"], examples["number"])
    assert "u-1" not in done.stdout


def test_one_service(archive: Path) -> None:
    """With --service only the names that this service sent are listed, in a table by default."""
    done = attributes(archive, "--service", "shop")

    assert [
        ["KIND", "NAME", "SPANS", "EXAMPLES"],
        ["span", "cart", "1"],
        ["attribute", "number", "1", "4"],
        ["attribute", "service.name", "1", '"shop"'],
        ["attribute", "user.id", "1", '"u-17"'],
    ] == [line.split() for line in done.stdout.splitlines()]


def test_too_many_names(archive: Path) -> None:
    """Beyond the limit names are left out, which is reported; those that are listed are counted to the end."""
    done = attributes(archive, "--format", "json", "--limit", "2")

    assert [("span", "payment", 2), ("attribute", "number", 4)] == [each[:3] for each in listed(done)]
    assert "there are more than 2 names: those that came later are left out; raise --limit\n" in done.stderr


def test_period_is_of_record_time(archive: Path) -> None:
    """Only records stamped in the period count; an empty one is refused with what there is."""
    later = attributes(archive, "--format", "json", "--to", "2023-11-14T22:13:20.001Z")
    empty = attributes(archive, "--to", "2001-01-01")

    assert {"payment", "refund"} == {name for kind, name, *_ in listed(later) if kind == "span"}
    assert (2, True) == (empty.exit_code, "its records are from the hours 2023-11-14T22:00:00.000Z" in empty.stderr)


def test_missing_records_are_reported(tmp_path: Path) -> None:
    """A period that the archive has only in part is reported; what is missing at another time is not."""
    for offset, after_ms in ((3, 0), (9, 90_000), (10, 7_200_000)):
        writer = PartitionWriter(
            store=Store.at(str(tmp_path)), topic="otlp_spans", partition=0, first_offset=offset, topic_id="id"
        )
        value = trace_request(span(1, "payment"))
        writer.add(RawRecord("otlp_spans", 0, offset, START_MS + after_ms, None, value))
        writer.cut(offset + 1)

    whole, later = attributes(tmp_path), attributes(tmp_path, "--from", "2023-11-15T00:00:00Z")

    gone = [line for line in whole.stderr.splitlines() if "are gone" in line]
    assert 2 == len(gone), whole.stderr
    assert gone[0].startswith("records of otlp_spans[0] are gone from the beginning to 2023-11-14T22:13:")
    assert gone[1].startswith("records of otlp_spans[0] are gone from 2023-11-14T22:13:")
    assert (0, False) == (later.exit_code, "are gone" in later.stderr)
