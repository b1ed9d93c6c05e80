"""The Kafka record of a signal."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.support.findings import ACCESS, AMENDED, FINDING, findings
from tests.support.ocsf_schema import problems
from topics.records.signals import LIMIT_BYTES, SignalFormat, record
from topics.signals.finding import Finding


def test_key_is_the_uid() -> None:
    """All revisions of a finding have one key, so they stay in order and compaction keeps the last."""
    first, second = (record(finding, logged_ms=7, source="s") for finding in (FINDING, AMENDED))

    assert first.key == second.key == FINDING.uid.encode()


def test_headers_are_a_cloudevent() -> None:
    """The headers alone describe the signal to a router, in CloudEvents' binary mode."""
    actual = record(AMENDED, logged_ms=7, source="betrace/prod").headers

    assert actual == [
        ("content-type", b"application/json"),
        ("ce_specversion", b"1.0"),
        ("ce_type", b"betrace.signal.v1"),
        ("ce_source", b"betrace/prod"),
        ("ce_id", f"{FINDING.uid}.2".encode()),
        ("ce_time", b"2026-01-05T11:59:31.500Z"),
        ("ce_subject", b"4bf92f3577b34da6a3ce929d0e0e4736"),
        ("betrace_revision", b"2"),
    ]


@pytest.mark.parametrize("closed_ms", [1 << 62, 253_402_300_800_000, -(1 << 62)])
def test_time_beyond_the_calendar(closed_ms: int) -> None:
    """A record time beyond the calendar is omitted from the headers and stays a number in the document."""
    actual = record(replace(FINDING, closed_ms=closed_ms), logged_ms=7, source="s")

    assert "ce_time" not in dict(actual.headers)
    assert json.loads(actual.value)["time"] == closed_ms


def test_value_has_the_sentence() -> None:
    """The document's message is the sentence for people."""
    document = json.loads(record(FINDING, logged_ms=7, source="s").value)

    assert document["message"] == (
        'pii.access was seen (checkout, span "export users", user u-17) and no audit.log was recorded in the trace'
    )


@pytest.mark.parametrize(
    ("format", "content_type", "start"),
    [
        (SignalFormat.OCSF, b"application/json", b'{"class_uid":2003,'),
        (SignalFormat.ECS, b"application/json", b'{"@timestamp":"2026-01-05T11:59:31.500Z",'),
        (SignalFormat.CEF, b"text/plain; charset=utf-8", b"CEF:0|BeTrace|BeTrace|"),
    ],
)
def test_format(format: SignalFormat, content_type: bytes, start: bytes) -> None:  # noqa: A002, as the argument
    """Each format has its document and its media type; the key and the other headers are equal."""
    expected = record(FINDING, logged_ms=7, source="s")

    actual = record(FINDING, logged_ms=7, source="s", format=format)

    assert actual.value.startswith(start)
    assert actual.headers[0] == ("content-type", content_type)
    assert (actual.key, actual.headers[1:]) == (expected.key, expected.headers[1:])


@given(findings)
def test_any_record_is_utf8_json_within_the_limit(finding: Finding) -> None:
    """The value of any finding is one JSON document, and encoding it again gives the same bytes."""
    first, second = (record(finding, logged_ms=7, source="s") for _ in range(2))

    assert first == second
    assert len(first.value) <= LIMIT_BYTES
    assert json.loads(first.value.decode("utf-8"))["metadata"]["uid"] == finding.revision_uid


@given(st.integers(0, 400), st.integers(0, 4096), st.sampled_from(["x", "\x00", "€", '"']))
def test_huge_witnesses_stay_within_the_limit(count: int, length: int, char: str) -> None:
    """However large the witnesses are, the signal fits, is OCSF, and states whether something is missing."""
    witness = replace(ACCESS, attributes={"text": char * length, "user.id": "u-17"})
    finding = replace(FINDING, witnesses=(witness,) * count)

    value = record(finding, logged_ms=7, source="s").value

    document = json.loads(value)
    is_truncated = document["metadata"].get("is_truncated", False)
    assert len(value) <= LIMIT_BYTES
    assert problems(value) == []
    assert is_truncated == (len(document.get("evidences", [])) < count)
    assert ("untruncated_size" in document["metadata"]) == is_truncated


@pytest.mark.parametrize("format", SignalFormat)
def test_the_worst_finding_fits_every_format(format: SignalFormat) -> None:  # noqa: A002, as above
    """A signal with thousands of witnesses full of control characters fits the limit, and JSON states the omission."""
    witness = replace(ACCESS, attributes={f"name-{n}": "\x01" * 1024 for n in range(20)})
    finding = replace(FINDING, witnesses=(witness,) * 1000, missing=("x" * 100_000,) * 10)

    value = record(finding, logged_ms=7, source="s", format=format).value

    assert len(value) <= LIMIT_BYTES
    assert (b'"is_truncated":true' in value) == (format is not SignalFormat.CEF)


def test_uid_and_message_survive_truncation() -> None:
    """Truncation changes neither the identity of a finding nor its sentence."""
    rule = replace(FINDING.rule, text="x" * LIMIT_BYTES, description="y" * LIMIT_BYTES)
    finding = replace(FINDING, rule=rule, witnesses=(ACCESS,) * 5000)

    document = json.loads(record(finding, logged_ms=7, source="s").value)

    assert document["finding_info"]["uid"] == FINDING.uid
    assert document["message"].startswith("pii.access was seen (checkout")
    assert document["metadata"]["is_truncated"] is True
