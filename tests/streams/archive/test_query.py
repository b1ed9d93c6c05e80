"""Tests queries at the edges of an archive: ranges, holes, overlaps, and what is refused.

`tests/differential/test_archive.py` compares the results with the engine's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from dsl import RuleSet, Verdict, compile_texts, judge
from streams.archive import schema
from streams.archive.names import HOUR_MS
from streams.archive.query import Answer, ArchiveRequest, RefusedError, judge_archive
from streams.archive.read import lost
from streams.archive.rows import RawRecord
from streams.archive.store import Store
from streams.archive.write import PartitionWriter
from streams.errors import StateError
from streams.projection.project import Projector
from streams.windows.chain import Bounds
from streams.windows.close import CloseReason
from streams.windows.sessions import LostTime
from tests.support.otlp_requests import trace_request

START_MS = 1_795_255_200_000
BOUNDS = Bounds.of_ms(gap_ms=30_000, lateness_ms=600_000, max_duration_ms=HOUR_MS)
TEXT = """
// "Access is logged"
// kind: conditional
when { pii.access } always { audit.log }
"""


def rules(text: str = TEXT) -> RuleSet:
    """A rule set."""
    return compile_texts({"test.rules": text})[0]


def request(name: str, trace: int = 1, span: int = 1) -> bytes:
    """A record with one span."""
    return trace_request(Span(trace_id=bytes([trace]) * 16, span_id=bytes([span]) * 8, name=name))


def write(url: str, *records: tuple[int, int, bytes], first_offset: int = 0, topic: str = "otlp_spans") -> None:
    """Archives records, each an offset, a time in ms after the start, and a value."""
    writer = PartitionWriter(store=Store.at(url), topic=topic, partition=0, first_offset=first_offset, topic_id="id")
    for offset, after_ms, value in records:
        writer.add(RawRecord(topic, 0, offset, START_MS + after_ms, None, value))
    writer.cut(records[-1][0] + 1)


def verdicts(answer: Answer, of: RuleSet) -> list[tuple[int, str]]:
    """Returns trace and verdict, both of traces with only a verdict and of those in full."""
    return sorted([*((at.trace_id[0], at.verdict.value) for at in answer.verdicts), *_judged(answer, of)])


def _judged(answer: Answer, of: RuleSet) -> Iterator[tuple[int, str]]:
    for close in answer.closes:
        yield from ((close.trace_id[0], at.verdict.value) for at in judge(of, close.chain.facts, whole=close.whole))


@pytest.fixture
def archive_request() -> ArchiveRequest:
    """The rule above, with the default windows."""
    return ArchiveRequest(projector=Projector(rules()), bounds=BOUNDS)


@pytest.fixture(params=["directory", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A directory, and a file system that DuckDB reads through fsspec."""
    return str(tmp_path) if request.param == "directory" else f"memory://query-{tmp_path.name}"


def test_brief_and_full_answers(url: str, archive_request: ArchiveRequest) -> None:
    """A trace that holds is only counted; one that breaks the rule comes with its facts if they are requested."""
    write(url, (0, 0, request("pii.access", 1)), (1, 50, request("audit.log", 1, 2)), (2, 60, request("pii.access", 2)))

    full, brief = judge_archive(url, archive_request), judge_archive(url, replace(archive_request, in_full=False))

    assert [(b"\1" * 16, Verdict.HELD, START_MS, START_MS)] == [
        (at.trace_id, at.verdict, at.first_ms, at.last_ms) for at in full.verdicts
    ]
    [close] = full.closes
    assert (b"\2" * 16, CloseReason.END_OF_INPUT) == (close.trace_id, close.reason)
    assert [(1, "held"), (2, "broken")] == verdicts(brief, archive_request.projector.rules)
    assert len(brief.verdicts) == 2


def test_empty_archive(url: str, archive_request: ArchiveRequest) -> None:
    """An empty archive has no verdicts."""
    assert verdicts(judge_archive(url, archive_request), archive_request.projector.rules) == []


def test_range_of_time(url: str, archive_request: ArchiveRequest) -> None:
    """Records outside the range do not count: neither an access nor its audit log."""
    write(
        url,
        (0, 0, request("pii.access", 1)),
        (1, 10_000, request("pii.access", 2)),
        (2, 20_000, request("audit.log", 2)),
    )

    ranged = replace(archive_request, from_ms=START_MS + 10_000, to_ms=START_MS + 20_000)

    assert [(2, "broken")] == verdicts(judge_archive(url, ranged), archive_request.projector.rules)
    assert [(1, "broken"), (2, "held")] == verdicts(
        judge_archive(url, archive_request), archive_request.projector.rules
    )


def test_topics(url: str, archive_request: ArchiveRequest) -> None:
    """Only the requested topics are read."""
    write(url, (0, 0, request("pii.access")))
    write(url, (0, 0, request("audit.log")), topic="more_spans")

    assert [(1, "held")] == verdicts(judge_archive(url, archive_request), archive_request.projector.rules)
    assert [(1, "broken")] == verdicts(
        judge_archive(url, replace(archive_request, topics=("otlp_spans",))), archive_request.projector.rules
    )


def test_clock(url: str, archive_request: ArchiveRequest) -> None:
    """A window that is quiet when the clock stops closes as quiet."""
    write(url, (0, 0, request("pii.access")))

    [quiet] = judge_archive(url, replace(archive_request, clock_ms=START_MS + 31_000)).closes
    [ended] = judge_archive(url, replace(archive_request, clock_ms=START_MS + 29_000)).closes

    assert (CloseReason.QUIET, CloseReason.END_OF_INPUT) == (quiet.reason, ended.reason)


@pytest.mark.parametrize("value", [request("other", 2), b"no request"])
def test_later_record_moves_the_clock(url: str, archive_request: ArchiveRequest, value: bytes) -> None:
    """A window that was quiet when the last record came, of another trace or unreadable, closes as quiet."""
    write(url, (0, 0, request("pii.access")), (1, 31_000, value))

    [close] = judge_archive(url, archive_request).closes

    assert (CloseReason.QUIET, START_MS + 30_000) == (close.reason, close.closed_ms)


def test_hole_makes_a_trace_incomplete(url: str, archive_request: ArchiveRequest) -> None:
    """If offsets are missing between two cuts, traces of that time are incomplete."""
    write(url, (0, 0, request("pii.access", 1)))
    write(url, (7, 5_000, request("pii.access", 2)), (8, 1_000_000, request("pii.access", 3)), first_offset=7)

    assert [(1, "undetermined"), (2, "undetermined"), (3, "broken")] == verdicts(
        judge_archive(url, archive_request), archive_request.projector.rules
    )
    store = Store.at(url)
    assert [LostTime("otlp_spans", 0, START_MS - 2_000, START_MS + 7_000)] == lost(store, store.listing(), 2_000)


def test_overlapping_cuts_count_once(url: str) -> None:
    """A span that two archivers wrote is one span."""
    counting = rules("// id: two\n// kind: pattern\ncount(pii.access) >= 1 and not trace.has(audit.log)")
    log = request("audit.log", 1, 9)
    write(url, (0, 0, request("pii.access", 1)), (1, 0, request("pii.access", 2)))
    write(url, (1, 0, log), (2, 0, request("pii.access", 3)), first_offset=1)

    answer = judge_archive(url, ArchiveRequest(projector=Projector(counting), bounds=BOUNDS))

    assert [(1, "broken"), (2, "broken"), (3, "broken")] == verdicts(answer, counting)


def test_times_that_go_back_are_refused(url: str, archive_request: ArchiveRequest) -> None:
    """If record times go back further than out-of-order, the engine's clock matters: only the engine can answer."""
    write(url, (0, 9_000, request("pii.access")), (1, 0, request("audit.log")))

    with pytest.raises(RefusedError, match=r"go back by 9000ms, more than out-of-order \(2000ms\)"):
        judge_archive(url, archive_request)
    assert [(1, "held")] == verdicts(
        judge_archive(url, replace(archive_request, out_of_order_ms=9_000)), archive_request.projector.rules
    )


def test_record_that_makes_too_many_facts_is_refused(url: str) -> None:
    """Where a record may take more than its budget the engine must judge: it refuses the record, SQL would not."""
    texts = [f"// id: r{number}\n// kind: pattern\npii.access.where(n != {number}) and b" for number in range(600)]
    span = Span(trace_id=b"1" * 16, span_id=b"1" * 8, name="pii.access")
    span.attributes.append(KeyValue(key="n", value=AnyValue(int_value=-1)))
    write(url, (0, 0, request("pii.access", 2)), (1, 1_000, trace_request(span)))

    with pytest.raises(RefusedError, match="the facts of the record at offset 1 may exceed its budget"):
        judge_archive(url, ArchiveRequest(projector=Projector(rules("\n".join(texts))), bounds=BOUNDS))


def test_files_of_another_format_are_refused(
    url: str, archive_request: ArchiveRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Columns of an unknown version are refused."""
    with monkeypatch.context() as patched:
        patched.setattr(schema, "FORMAT", "4")
        write(url, (0, 0, request("pii.access")))

    with pytest.raises(StateError, match="files of format 4, this version reads format 3"):
        judge_archive(url, archive_request)


@pytest.mark.parametrize("older", ["1", "2"])
def test_files_of_an_older_format_are_for_the_engine(
    older: str, url: str, archive_request: ArchiveRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Columns of an older version describe some spans differently: the engine reads the records themselves."""
    with monkeypatch.context() as patched:
        patched.setattr(schema, "FORMAT", older)
        write(url, (0, 0, request("pii.access")))

    with pytest.raises(RefusedError, match=f"files of format {older}"):
        judge_archive(url, archive_request)


def test_damaged_file(tmp_path: Path, archive_request: ArchiveRequest) -> None:
    """A truncated file is an error."""
    write(str(tmp_path), (0, 0, request("pii.access")))
    [path] = tmp_path.rglob("*.parquet")
    path.write_bytes(path.read_bytes()[:-1])

    with pytest.raises(StateError, match="cannot be queried"):
        judge_archive(str(tmp_path), archive_request)


@pytest.mark.parametrize("name", ["it's", 'a"b', "a\\b", "a\nb", "a\0b", "é\U0001f600", "%s{}$1"])
def test_any_name_is_quoted(url: str, name: str) -> None:
    """A name is always quoted, whatever it contains."""
    quoted = name.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\0", "\\u0000")
    asking = rules(f'// id: any\n// kind: pattern\ntrace.has("{quoted}").where("{quoted}" != "{quoted}")')
    bare = rules(f'// id: any\n// kind: pattern\ntrace.has("{quoted}")')
    write(url, (0, 0, request(name)), (1, 0, request(name + "x", 2)))

    assert [(1, "broken")] == verdicts(
        judge_archive(url, ArchiveRequest(projector=Projector(bare), bounds=BOUNDS)), bare
    )
    assert verdicts(judge_archive(url, ArchiveRequest(projector=Projector(asking), bounds=BOUNDS)), asking) == []


def test_counts_beyond_the_limit(tmp_path: Path) -> None:
    """More spans than are distinguished leave a comparison of two counts undetermined, as in the engine."""
    comparing = rules("// id: more\n// kind: pattern\ncount(pii.access) > count(audit.log)")
    spans = [
        Span(trace_id=b"\1" * 16, span_id=number.to_bytes(8, "big"), name=name)
        for name in ("pii.access", "audit.log")
        for number in range(1, 10_100)
    ]
    write(str(tmp_path), (0, 0, trace_request(*spans)))

    assert [(1, "undetermined")] == verdicts(
        judge_archive(str(tmp_path), ArchiveRequest(projector=Projector(comparing), bounds=BOUNDS)), comparing
    )
