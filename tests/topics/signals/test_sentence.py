"""The sentence that describes a finding."""

from __future__ import annotations

import pytest
from hypothesis import given
from msgspec.structs import replace

from tests.support.findings import ACCESS, AMENDED, FINDING, findings, shown
from topics.signals.finding import Finding
from topics.signals.sentence import sentence


def test_broken() -> None:
    """The sentence names what was seen, its service and user, and what is missing."""
    actual = sentence(FINDING)

    assert actual == (
        'pii.access was seen (checkout, span "export users", user u-17) and no audit.log was recorded in the trace'
    )


def test_broken_by_something_present() -> None:
    """A subject that must not be present is called forbidden."""
    finding = replace(FINDING, missing=(), present=("debug.export",), witnesses=(ACCESS, shown("debug.export")))

    actual = sentence(finding)

    assert actual == (
        'pii.access was seen (checkout, span "export users", user u-17) and '
        'debug.export, which the rule forbids, was seen (checkout, span "work")'
    )


def test_broken_pattern() -> None:
    """A pattern forbids no single subject: the sentence names the combination."""
    rule = replace(FINDING.rule, kind="pattern")
    witnesses = (shown("agent.goal"), shown("agent.tool"))
    finding = replace(FINDING, rule=rule, missing=(), present=("agent.goal", "agent.tool"), witnesses=witnesses)

    actual = sentence(finding)

    assert actual == 'agent.goal was seen (checkout, span "work") and agent.tool was seen (checkout, span "work")'


def test_broken_by_order_or_count() -> None:
    """A required subject that was seen, but not as required, is not called absent."""
    finding = replace(FINDING, witnesses=(shown("pii.access"), shown("audit.log")))

    actual = sentence(finding)

    assert actual == (
        'pii.access was seen (checkout, span "work"), audit.log was seen (checkout, span "work") and '
        "audit.log was not recorded as the rule requires"
    )


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("invariant", "what the rule requires was not true of the trace"),
        ("pattern", "what the rule describes was true of the trace"),
    ],
)
def test_broken_without_subjects(kind: str, expected: str) -> None:
    """Without a subject to name there is still a sentence."""
    finding = replace(FINDING, rule=replace(FINDING.rule, kind=kind), missing=(), witnesses=())

    actual = sentence(finding)

    assert actual == expected


@pytest.mark.parametrize(
    ("close_reason", "because"),
    [
        ("max_duration", "the window reached its maximum duration"),
        ("disk_limit", "the window was closed early because windows reached their limit on disk"),
        ("end_of_input", "the input ended while the trace was still active"),
        ("quiet", "the trace is incomplete"),
    ],
)
def test_undetermined(close_reason: str, because: str) -> None:
    """The sentence says what is unknown, and why."""
    finding = replace(FINDING, verdict="undetermined", close_reason=close_reason, missing=("audit.log", "auth.check"))

    actual = sentence(finding)

    assert actual == (
        'pii.access was seen (checkout, span "export users", user u-17), '
        f"but whether audit.log and auth.check were recorded is unknown: {because}"
    )


def test_undetermined_without_subjects() -> None:
    """Without a subject to name the sentence says that the verdict is unknown."""
    finding = replace(FINDING, verdict="undetermined", missing=(), witnesses=())

    assert sentence(finding) == "whether the rule holds is unknown: the trace is incomplete"


def test_held() -> None:
    """The sentence of a repaired finding mentions the late spans."""
    actual = sentence(AMENDED)

    assert actual == (
        'Resolved: pii.access was seen (checkout, span "export users", user u-17) and '
        "with the late spans the rule holds in the trace"
    )


def test_not_applicable() -> None:
    """The sentence says that the rule no longer applies."""
    actual = sentence(replace(AMENDED, verdict="not_applicable"))

    assert actual == "Resolved: with the late spans the rule no longer applies to the trace"


def test_many_subjects() -> None:
    """Beyond three subjects, the sentence has only the number of the others."""
    finding = replace(FINDING, missing=("a", "b", "c", "d", "e"), witnesses=())

    assert sentence(finding) == "no a, no b, no c and 2 more were recorded in the trace"


def test_log_record() -> None:
    """A log record is not called a span."""
    finding = replace(FINDING, witnesses=(replace(ACCESS, is_log=True, service=None, attributes={}),))

    assert (
        sentence(finding)
        == 'pii.access was seen (log record "export users") and no audit.log was recorded in the trace'
    )


def test_span_cannot_forge_the_sentence() -> None:
    """Names, services and users that look like words of the sentence stay inside their quotes."""
    forger = replace(
        shown("a"), name='x") and all is well ("', service="s) fine", attributes={"user.id": "u\n\u202eadmin"}
    )

    actual = sentence(replace(FINDING, witnesses=(forger,)))

    assert actual == (
        'a was seen ("s) fine", span "x\') and all is well (\'", user "u admin") '
        "and no audit.log was recorded in the trace"
    )


@given(findings)
def test_any_finding_has_one_short_line(finding: Finding) -> None:
    """The sentence of any finding is one short, printable line."""
    actual = sentence(finding)

    assert actual.isprintable()
    assert 0 < len(actual) < 4000
