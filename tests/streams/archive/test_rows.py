"""Tests that rows of the archive give back the spans of the records."""

from __future__ import annotations

import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsl import Interest, Span
from streams.archive.rows import RawRecord, Rows
from streams.archive.spans import spans
from streams.decode.decoder import decode
from streams.errors import RecordError
from tests.support import paths
from tests.support.otlp_requests import as_json, backwards, logs_requests, trace_requests
from topics.embedded import capture
from topics.otlp.protobuf import Message
from topics.otlp.requests import RecordKind

CORPUS = paths.CORPUS
CORPUS_NAMES = sorted(path.name.removesuffix(".bin.gz") for path in CORPUS.glob("*.bin.gz"))
WANTED = frozenset({"audit.log", "user.id", "service.name", "event.name", "é", "a", "tags", "amount", "ms", "retry"})


def archived(topic: str, *values: bytes | None) -> list[Span]:
    """The spans in the rows of records."""
    rows = Rows()
    for offset, value in enumerate(values):
        rows.add(RawRecord(topic, 0, offset, 7, None, value))
    table = rows.table()
    return list(spans(table.filter(pc.is_valid(table["trace_id"])), WANTED))


def decoded(topic: str, *values: bytes | None) -> list[Span]:
    """Returns the spans that the engine sees in records."""
    interest = Interest(frozenset(), every_span=True, attributes=WANTED)
    kind = RecordKind.LOGS if "log" in topic else RecordKind.SPANS
    found = []
    for value in values:
        try:
            traces = decode(value, interest, kind=kind).traces.values()
        except RecordError:
            continue
        found += [span for trace in traces for span in trace.spans]
    return found


@given(st.lists(trace_requests | logs_requests, min_size=1, max_size=3), st.sampled_from(("otlp_spans", "otlp_logs")))
def test_generated_spans_round_trip(requests: list[Message], topic: str) -> None:
    """Spans of any sender, in any encoding, are the same from the archive."""
    values = [
        encoded for each in requests for encoded in (each.SerializeToString(), backwards(each), as_json(each), b"{}")
    ]

    assert repr(decoded(topic, *values)) == repr(archived(topic, *values))


@pytest.mark.parametrize("name", CORPUS_NAMES)
def test_recorded_spans_round_trip(name: str) -> None:
    """What a real Collector wrote comes back span by span."""
    values = [frame.value for frame in capture.read(CORPUS / f"{name}.bin.gz")]

    expected = decoded(name, *values)

    assert expected
    assert expected == archived(name, *values)


def test_record_is_in_one_row() -> None:
    """Key, headers and value of a record are in one of its rows."""
    [frame] = list(capture.read(CORPUS / "partitioned_proto.bin.gz"))[:1]
    rows = Rows()
    rows.add(RawRecord("otlp_spans", 0, 5, 7, b"key", frame.value * 2, (("h", b"1"), ("h", None))))

    table = rows.table()

    assert len(table) > 1
    assert [b"key"] == table["key"].drop_null().to_pylist()
    assert [frame.value * 2] == table["value"].drop_null().to_pylist()
    assert [[("h", b"1"), ("h", None)]] == [
        [(each["key"], each["value"]) for each in headers] for headers in table["headers"].drop_null().to_pylist()
    ]


@pytest.mark.parametrize(
    ("value", "reason"),
    [(None, "empty"), (b"", "empty"), (b"hello", "not protobuf"), (b"{", "not json: input data was truncated")],
)
def test_unreadable_record_is_kept_with_the_reason(value: bytes | None, reason: str) -> None:
    """A record that is not a request is a row with its bytes and why it cannot be read."""
    rows = Rows()
    rows.add(RawRecord("otlp_spans", 0, 5, 7, None, value))

    [row] = rows.table().to_pylist()

    assert (5, value, reason, None) == (row["offset"], row["value"], row["unreadable"], row["trace_id"])


def test_attributes_are_a_readable_map() -> None:
    """A row says in plain columns what the span was."""
    rows = Rows()
    for frame in capture.read(CORPUS / "unkeyed_json.bin.gz"):
        rows.add(RawRecord("otlp_spans", 0, 5, 7, None, frame.value))

    row = next(row for row in rows.table().to_pylist() if row["name"] == "inventory /v1/pay")

    assert ("inventory", "server") == (row["service"], row["kind"])
    assert dict(row["attributes"])["server.address"] == "inventory"
    assert dict(row["resource"])["service.name"] == "inventory"
    assert "\ntenant.id\n" in row["names"]
