"""A signal has the same digest in every format."""

from __future__ import annotations

import pytest
from hypothesis import given
from msgspec.structs import replace

from tests.support.findings import AMENDED, FINDING, GROUPED, findings
from topics.records.signals import SignalFormat, record
from topics.signals import cef
from topics.signals.digest import NotASignalError, digest
from topics.signals.finding import Finding
from topics.signals.sentence import sentence

FORMATS = pytest.mark.parametrize("format", SignalFormat)


@FORMATS
@pytest.mark.parametrize("finding", [FINDING, AMENDED, GROUPED])
def test_typical_signals(finding: Finding, format: SignalFormat) -> None:  # noqa: A002, as the argument
    """The digest has the data of the finding, in each format."""
    actual = digest(record(finding, logged_ms=7, source="s", format=format).value)

    assert (actual.uid, actual.revision, actual.time_ms) == (finding.uid, finding.revision, finding.closed_ms)
    assert (actual.happened_ms, 1_767_614_340_123) == (finding.happened_ms, finding.happened_ms)
    assert finding.first_ms == actual.first_ms
    assert (actual.rule_id, actual.title, actual.severity) == (finding.rule.id, finding.rule.title, "high")
    assert (actual.verdict, actual.trace_id) == (finding.verdict, finding.trace_id.hex())
    assert (actual.message, actual.missing, actual.present) == (sentence(finding), finding.missing, finding.present)
    assert actual.sources == finding.sources
    assert actual.dedup == finding.dedup


@pytest.mark.parametrize("format", [SignalFormat.OCSF, SignalFormat.ECS])
def test_witnesses_of_json(format: SignalFormat) -> None:  # noqa: A002, as above
    """JSON has the witnesses, with their spans."""
    actual = digest(record(FINDING, logged_ms=7, source="s", format=format).value)

    [witness], [expected] = actual.witnesses, FINDING.witnesses
    assert witness.attributes["user.id"] == "u-17"
    assert replace(witness, attributes={}) == replace(expected, attributes={})


def test_window_of_an_earlier_cef() -> None:
    """A line without the window is read; its start is unknown."""
    line = cef.encode(FINDING, message="m").replace(b"deviceCustomDate1=", b"flexDate1=")

    assert digest(line).first_ms is None


@FORMATS
@given(finding=findings)
def test_any_signal_is_read(format: SignalFormat, finding: Finding) -> None:  # noqa: A002, as above
    """Any signal is read, and identifies its finding."""
    actual = digest(record(finding, logged_ms=7, source="s", format=format).value)

    assert (actual.uid, actual.revision, actual.severity) == (finding.uid, finding.revision, finding.rule.severity)
    assert finding.first_ms == actual.first_ms


@pytest.mark.parametrize(
    "value",
    [b"", b"{}", b'{"@timestamp":"x"}', b"CEF:0|a|b|c|d|e|8|", b"CEF:0|a|b|c|d|e|7|cn1=1", b"\xff", b"[]", b"CEF:\xff"],
)
def test_value_that_is_not_a_signal(value: bytes) -> None:
    """Any other value on the topic is an error with the reason."""
    with pytest.raises(NotASignalError, match=r"."):
        digest(value)
