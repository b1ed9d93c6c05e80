"""The captures in the package: complete, small, and consistent with their expected results."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support import paths
from topics.embedded import capture
from topics.embedded.capture import Frame

CAPTURES = paths.CAPTURES
LIMIT_BYTES = 600_000


def spans(frames: Iterable[Frame]) -> set[tuple[bytes, bytes]]:
    """Return (trace id, the span's bytes) of every span."""
    requests = [ExportTraceServiceRequest.FromString(frame.value) for frame in frames]
    scopes = [scope for request in requests for resource in request.resource_spans for scope in resource.scope_spans]
    return {(span.trace_id, span.SerializeToString()) for scope in scopes for span in scope.spans}


def logs(frames: Iterable[Frame]) -> set[tuple[bytes, bytes]]:
    """Return (trace id, the log record's bytes) of every log record."""
    requests = [ExportLogsServiceRequest.FromString(frame.value) for frame in frames]
    scopes = [scope for request in requests for resource in request.resource_logs for scope in resource.scope_logs]
    return {(log.trace_id, log.SerializeToString()) for scope in scopes for log in scope.log_records}


def test_small() -> None:
    """The captures together are small enough for a package."""
    files = list(CAPTURES.glob("*.bin.gz"))

    size_bytes = sum(file.stat().st_size for file in files)

    assert len(files) == 4
    assert size_bytes < LIMIT_BYTES


def test_keyed_and_unkeyed_spans_are_the_same() -> None:
    """Both captures hold the same spans and differ only in keys and batches."""
    keyed = list(capture.read(CAPTURES / "keyed_spans.bin.gz"))
    unkeyed = list(capture.read(CAPTURES / "unkeyed_spans.bin.gz"))

    assert spans(keyed) == spans(unkeyed)
    assert len(keyed) > len(unkeyed)


def test_keyed_and_unkeyed_logs_are_the_same() -> None:
    """Both captures hold the same log records."""
    keyed = capture.read(CAPTURES / "keyed_logs.bin.gz")
    unkeyed = capture.read(CAPTURES / "unkeyed_logs.bin.gz")

    assert logs(keyed) == logs(unkeyed)


@pytest.mark.parametrize(("name", "read"), [("spans", spans), ("logs", logs)])
def test_keys(name: str, read: Callable[[Iterable[Frame]], set[tuple[bytes, bytes]]]) -> None:
    """A keyed record holds only the trace that its key names; an unkeyed one has no key."""
    keyed = capture.read(CAPTURES / f"keyed_{name}.bin.gz")
    unkeyed = capture.read(CAPTURES / f"unkeyed_{name}.bin.gz")

    traces = [(frame.key, {trace.hex().encode() or None for trace, _ in read([frame])}) for frame in keyed]

    assert [(key, {key}) for key, _ in traces] == traces
    assert {frame.key for frame in unkeyed} == {None}


@pytest.mark.parametrize("truth", ["expected.json", "expected_later.json"])
def test_every_rule_is_broken_by_some_traces(truth: str) -> None:
    """Some traces in the captures break each rule, and never all of them."""
    traces = {trace.hex() for trace, _ in spans(capture.read(CAPTURES / "unkeyed_spans.bin.gz"))}

    broken = {rule: set(each["broken"]) for rule, each in json.loads((CAPTURES / truth).read_text()).items()}

    assert broken
    assert all(each and each < traces for each in broken.values())
