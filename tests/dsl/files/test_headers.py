"""The metadata of a rule, in comment headers and in YAML."""

from __future__ import annotations

import json
from datetime import date

import pytest

from dsl.compile.compile import compile_texts
from dsl.judge.ruleset import Kind, Mode, Rule, RuleException, RuleSeverity

_FULL_HEADER = """\
// Signal: SECURITY_INCIDENT (critical)
// id: incident-1
// kind: pattern
// controls: SOC2/CC6.1, ISO27001/A.8.2
// owner: secops
// tags: night,  shift
// description: contractors: at night
// references: https://example.com/a, b
// enabled: false
// mode: shadow
// timezone: Europe/Berlin
a and b
"""


def _rule(text: str, name: str = "t.rules") -> Rule:
    rules, _ = compile_texts({name: text})
    return rules.rules[0]


def _metadata(rule: Rule) -> tuple[object, ...]:
    return (
        *(rule.id, rule.title, rule.severity, rule.kind, rule.controls, rule.owner, rule.tags, rule.description),
        *(rule.references, rule.enabled, rule.mode, rule.timezone),
    )


def test_every_key_of_a_header_is_read() -> None:
    """A header gives a rule its id, severity, kind and all other metadata."""
    rule = _rule(_FULL_HEADER)

    expected = (
        *("incident-1", "SECURITY_INCIDENT", RuleSeverity.CRITICAL, Kind.PATTERN, ("SOC2/CC6.1", "ISO27001/A.8.2")),
        *("secops", ("night", "shift"), "contractors: at night", ("https://example.com/a", "b")),
        *(False, Mode.SHADOW, "Europe/Berlin"),
    )
    assert expected == _metadata(rule)


def test_yaml_gives_the_same_rule() -> None:
    """A YAML rule with the same keys is the same rule."""
    metadata = {
        "id": "incident-1",
        "name": "SECURITY_INCIDENT",
        "severity": "critical",
        "kind": "pattern",
        "compliance_frameworks": ["SOC2/CC6.1", "ISO27001/A.8.2"],
        "owner": "secops",
        "tags": ["night", "shift"],
        "description": "contractors: at night",
        "references": "https://example.com/a, b",
        "enabled": False,
        "mode": "shadow",
        "timezone": "Europe/Berlin",
        "condition": "a and b\n",
    }

    rule = _rule(json.dumps({"rules": [metadata]}), "t.yaml")

    assert _rule(_FULL_HEADER) == rule


def test_defaults() -> None:
    """A rule that has only a title is live, high, enabled and in UTC."""
    rule = _rule('// "Audit: every access"\na and b')

    expected = ("audit-every-access", "Audit: every access", RuleSeverity.HIGH, Kind.INVARIANT, (), None, ())
    assert (*expected, None, (), True, Mode.LIVE, "UTC") == _metadata(rule)


@pytest.mark.parametrize(
    ("title", "controls"),
    [
        ("SOC2 CC6.7: PII access must be logged", ("SOC2/CC6.7",)),
        ("HIPAA 164.312(b): PHI access", ("HIPAA/164.312(b)",)),
        ("ISO27001 A.8.2: x", ("ISO27001/A.8.2",)),
        ("SOC2 CC: x", ()),
        ("SOC2 CC6.7 x", ()),
        ("Step 2: x", ()),
        ("PII access: logged", ()),
    ],
)
def test_title_names_a_control(title: str, controls: tuple[str, ...]) -> None:
    """A title that starts with a framework and a control sets the controls."""
    assert controls == _rule(f'// "{title}"\na and b').controls


def test_controls_that_are_given_win_over_the_title() -> None:
    """A title sets the controls only when the header has none."""
    assert ("X/1",) == _rule('// "SOC2 CC6.7: x"\n// controls: X/1\na and b').controls


@pytest.mark.parametrize(
    ("title", "rule_id"),
    [
        ("SOC2 CC6.7: PII access must be logged", "soc2-cc6-7-pii-access-must-be-logged"),
        ("  Zugriff prüfen!  ", "zugriff-prufen"),
        ("x" * 300, "x" * 128),
    ],
)
def test_id_is_the_title_as_a_slug(title: str, rule_id: str) -> None:
    """The id of a rule without one is its title, in the characters that ids have."""
    assert rule_id == _rule(f'// "{title}"\na and b').id


def test_signal_without_severity_is_high() -> None:
    """A Signal line may omit the severity."""
    rule = _rule("// Signal: LEAK\na")

    assert ("LEAK", RuleSeverity.HIGH, Kind.PATTERN) == (rule.id, rule.severity, rule.kind)


def test_text_of_a_rule_is_between_headers() -> None:
    """The text is kept as written, without the blank lines and comments around it."""
    rules, _ = compile_texts(
        {"t.rules": "//Signal: A (low)\n\n// note\na // why\n  and b\n// note\n\n// id: B\n// kind: pattern\nc"}
    )

    assert ["a // why\n  and b", "c"] == [rule.text for rule in rules.rules]


def test_header_is_the_whole_unbroken_run_of_comments() -> None:
    """A comment directly above the title belongs to the header; one above a blank line does not."""
    rule = _rule('// owner: a\n// "T"\n// tags: x\n\n// description: d\na and b')

    assert ("a", ("x",), None) == (rule.owner, rule.tags, rule.description)


def test_exceptions_have_owner_and_reason() -> None:
    """A rule has its exceptions with their metadata."""
    exception = {"where": 'x == "a"', "owner": "me", "reason": "ticket 1", "expires": "2027-01-31"}
    metadata = {"id": "r", "kind": "pattern", "condition": "a", "exceptions": [exception]}

    rule = _rule(json.dumps({"rules": [metadata]}), "t.yaml")

    assert (RuleException("x == a", "me", "ticket 1", date(2027, 1, 31)),) == rule.exceptions
