"""An archive in S3, against a server that behaves like it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from dsl import compile_texts
from streams.archive.read import records
from streams.archive.rows import RawRecord
from streams.archive.store import Store
from streams.archive.write import PartitionWriter
from streams.cli import main
from streams.errors import ConfigError
from streams.replay import archive_feed
from streams.replay.plan import Period
from tests.differential.replays import FULL, NOW_MS, SETTINGS, START_MS, queried, replayed
from tests.support.otlp_requests import trace_request

URL = "s3://history/archive"
TEXT = '// "Access is audited"\nwhen { pii.access } always { audit.log }\n'


@pytest.fixture
def client(s3: Any) -> Any:  # noqa: ANN401, boto3 makes its classes at run time
    """S3 with an empty bucket."""
    s3.create_bucket(Bucket="history")
    return s3


def raw(offset: int, name: str, trace: int) -> RawRecord:
    """A record with one span."""
    span = Span(trace_id=bytes([trace]) * 16, span_id=bytes([offset + 1]) * 8, name=name)
    return RawRecord("otlp_spans", 0, offset, START_MS + 100 * offset, None, trace_request(span), (("n", b"1"),))


def write(*found: RawRecord) -> None:
    """Archives records, a cut each."""
    store = Store.at(URL)
    store.prepare()
    writer = PartitionWriter(store=store, topic="otlp_spans", partition=0, first_offset=0, topic_id="id")
    for record in found:
        writer.add(record)
        writer.cut(record.offset + 1)


def test_archive_is_written_read_and_asked(client: Any, tmp_path: Any) -> None:  # noqa: ANN401, as above
    """What was archived comes back byte for byte; the query and the engine say the same of it, the command too."""
    sent = [raw(0, "pii.access", 1), raw(1, "audit.log", 1), raw(2, "pii.access", 2)]
    write(*sent)
    rules, _ = compile_texts({"a.rules": TEXT})
    plan = archive_feed.plan(URL, SETTINGS, Period(0, NOW_MS), NOW_MS)
    path = tmp_path / "a.rules"
    path.write_text(TEXT)

    back = list(records(URL))
    engine, query = replayed(URL, rules, plan), queried(URL, rules, plan, FULL)
    asked = CliRunner().invoke(
        main, ["replay", "--archive", URL, "--rules", str(path), "--from", "earliest", "--summary"]
    )

    assert sent == back
    assert engine == query
    assert [bytes([2]) * 16] == [signal.trace_id for signal in query.signals]
    assert (1, 1, 1) == (asked.exit_code, *(json.loads(asked.stdout)[verdict] for verdict in ("held", "broken")))
    keys = [each["Key"] for each in client.list_objects_v2(Bucket="history")["Contents"]]
    assert ["archive/topic=otlp_spans"] * 3 == [key.split("/date=")[0] for key in keys]


@pytest.mark.usefixtures("client")
def test_place_without_an_archive() -> None:
    """Where nothing was archived, the operator is told what to give."""
    with pytest.raises(ConfigError, match="there is no archive at history/nothing"):
        archive_feed.plan("s3://history/nothing", SETTINGS, Period(0, NOW_MS), NOW_MS)
