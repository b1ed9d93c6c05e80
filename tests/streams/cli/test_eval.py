"""Tests `betrace eval`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from streams.cli import main

RULES = """\
// "PII access is audited"
// severity: critical
pii.access and audit.log

// Signal: TOO_MANY_TOOLS (high)
count(agent.tool) > 2

// id: checked
// kind: conditional
when { data.access } always { auth.check before data.access }
"""
TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """A file of rules."""
    path = tmp_path / "a.rules"
    path.write_text(RULES)
    return path


def call(rules: Path, *spans: object, path: Path | None = None) -> Result:
    """Runs `betrace eval` on spans, each an object or a line of text; without a path they are on stdin."""
    text = "".join((span if isinstance(span, str) else json.dumps(span)) + "\n" for span in spans)
    if path is None:
        return CliRunner().invoke(main, ["eval", str(rules), "--spans", "-"], input=text)
    path.write_text(text)
    return CliRunner().invoke(main, ["eval", str(rules), "--spans", str(path)])


def lines(result: Result) -> list[dict[str, Any]]:
    """The lines on stdout."""
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_broken_rule_is_a_line_with_its_matches(rules: Path, tmp_path: Path) -> None:
    """A line names the rule, the trace, what was matched and what was missing; the exit code is 1."""
    span = {"trace_id": TRACE, "name": "pii.access", "service": "checkout", "attributes": {"user.id": "u", "x": 1}}

    result = call(rules, span, path=tmp_path / "spans.jsonl")

    witness = {
        "subject": "pii.access",
        "span_id": "0000000000000001",
        "name": "pii.access",
        "service": "checkout",
        "start": "2026-01-05T12:00:00.000000000Z",
        "attributes": {"service.name": "checkout", "user.id": "u"},
    }
    expected = {
        "rule": "pii-access-is-audited",
        "trace_id": TRACE,
        "verdict": "broken",
        "witnesses": [witness],
        "missing": ["audit.log"],
        "present": [],
    }
    assert (1, [expected], "") == (result.exit_code, lines(result), result.stderr)


def test_held_rule_is_a_line_and_exit_0(rules: Path) -> None:
    """A rule that held has a line too: it proves a control."""
    result = call(rules, {"name": "pii.access"}, {"name": "audit.log"})

    [line] = lines(result)
    assert (0, "held", [], []) == (result.exit_code, line["verdict"], line["missing"], line["present"])
    assert ["pii.access", "audit.log"] == [witness["subject"] for witness in line["witnesses"]]


def test_inapplicable_rules_have_no_line(rules: Path) -> None:
    """Without an applicable rule there is no line, and the command succeeds."""
    result = call(rules, {"name": "GET /health"})

    assert (0, "", "") == (result.exit_code, result.stdout, result.stderr)


def test_empty_file_has_no_lines(rules: Path) -> None:
    """Without spans there are no lines."""
    assert (0, "") == (call(rules).exit_code, call(rules).stdout)


def test_lines_are_by_trace_and_rule(rules: Path) -> None:
    """Every rule judges every trace separately; lines are by trace id, then rule id."""
    names = ("pii.access", "agent.tool", "agent.tool", "agent.tool", "data.access")
    spans = [{"trace_id": trace * 32, "name": name} for trace in "ba" for name in names]

    result = call(rules, *spans)

    expected = [
        (trace * 32, rule, "broken")
        for trace in "ab"
        for rule in ("TOO_MANY_TOOLS", "checked", "pii-access-is-audited")
    ]
    assert expected == [(line["trace_id"], line["rule"], line["verdict"]) for line in lines(result)]


def test_order_is_that_of_the_spans_starts(rules: Path) -> None:
    """`before` means an earlier start, not an earlier line."""
    check = {"name": "auth.check", "start": "2026-01-05T11:00:00Z"}

    result = call(rules, {"name": "data.access", "start": "2026-01-05T11:00:01Z"}, check)

    assert ["held"] == [line["verdict"] for line in lines(result)]


def test_otlp_lines_are_read_too(rules: Path) -> None:
    """A file may contain requests from the Collector's file exporter beside simple spans."""
    span = {"traceId": TRACE, "spanId": "00" * 7 + "01", "name": "pii.access", "startTimeUnixNano": "1"}
    request = {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}

    result = call(rules, request, {"trace_id": TRACE, "name": "audit.log"})

    assert [(TRACE, "held")] == [(line["trace_id"], line["verdict"]) for line in lines(result)]


@pytest.mark.parametrize("bad", ['{"name": 5}', "{", '{"name": "a", "typo": 1}', "[]", "\x00", "[" * 100_000])
def test_bad_line_is_named(rules: Path, bad: str, tmp_path: Path) -> None:
    """A line that cannot be read exits with 2 and its number; the other lines are judged nevertheless."""
    path = tmp_path / "spans.jsonl"

    result = call(rules, {"name": "pii.access"}, bad, path=path)

    assert (2, ["broken"]) == (result.exit_code, [line["verdict"] for line in lines(result)])
    assert result.stderr.startswith(f"{path}:2: ")


def test_every_problem_of_the_rules_is_shown(rules: Path) -> None:
    """Rules with errors exit with 2, and every problem is shown with its code."""
    rules.write_text(RULES + "\n// id: bad\n// kind: pattern\na matches '('\n\n// id: worse\nb\n")

    result = call(rules, {"name": "pii.access"})

    assert (2, "") == (result.exit_code, result.stdout)
    assert 2 == sum(line.startswith("E") and "a.rules:" in line for line in result.stderr.splitlines()[1:])


@pytest.mark.parametrize("arguments", [[], ["a.rules"], ["a.rules", "--spans", "does-not-exist"]])
def test_missing_argument_is_a_usage_error(arguments: list[str]) -> None:
    """Without rules or spans the command names the missing argument."""
    result = CliRunner().invoke(main, ["eval", *arguments])

    assert (2, "") == (result.exit_code, result.stdout)
    assert "Usage: " in result.stderr


def test_hostile_values_are_judged_as_any_other(rules: Path) -> None:
    """Whatever an attribute contains, the line is valid JSON."""
    hostile = '{"name": "pii.access", "attributes": {"user.id": "\\ud800", "enduser.id": 1e308, "tenant.id": [[{}]]}}'

    result = call(rules, hostile)

    [line] = lines(result)
    assert (1, "broken") == (result.exit_code, line["verdict"])


def test_traces_are_printed_as_tests(tmp_path: Path) -> None:
    """With --as-test each trace that the rule applies to is a test of it, redacted, which `betrace check` passes."""
    file = tmp_path / "rules.yaml"
    file.write_text(
        "rules:\n  - id: audited\n    condition: when { pii.access.where(user.id exists) } always { log }\n"
    )
    spans = [
        {"trace_id": "a" * 32, "name": "pii.access", "attributes": {"user.id": "u-17", "card": "4111"}},
        {"trace_id": "b" * 32, "name": "pii.access", "attributes": {"user.id": "u-18"}},
        {"trace_id": "b" * 32, "name": "log"},
        {"trace_id": "c" * 32, "name": "other"},
    ]
    text = "".join(json.dumps(span) + "\n" for span in spans)
    options = ["--as-test", "--redact", "user.id=mask"]

    printed = CliRunner().invoke(main, ["eval", str(file), "--spans", "-", *options], input=text)
    file.write_text(file.read_text() + printed.stdout)
    checked = CliRunner().invoke(main, ["check", str(file)])

    assert (0, ["broken", "held"]) == (printed.exit_code, re.findall("expect: (.*)", printed.stdout))
    assert (0, "1 rule, 2 tests: 0 errors, 0 warnings\n") == (checked.exit_code, checked.stderr)
    assert not re.search("u-1|4111", printed.stdout)


def test_rule_of_a_test_must_be_named(rules: Path) -> None:
    """Where there are several rules, --as-test needs --rule."""
    unnamed = CliRunner().invoke(main, ["eval", str(rules), "--spans", "-", "--as-test"], input="")
    named = CliRunner().invoke(main, ["eval", str(rules), "--spans", "-", "--as-test", "--rule", "checked"], input="")

    assert (2, "Error: say which rule with --rule: the ids are TOO_MANY_TOOLS, checked, pii-access-is-audited\n") == (
        unnamed.exit_code,
        unnamed.stderr,
    )
    assert (0, "    tests: []\n") == (named.exit_code, named.stdout)


def test_one_rule_is_judged(rules: Path) -> None:
    """With --rule only this rule is judged; an id that no rule has is refused."""
    spans = "".join(json.dumps({"trace_id": TRACE, "name": name}) + "\n" for name in ("pii.access", "data.access"))
    results = [
        CliRunner().invoke(main, ["eval", str(rules), "--spans", "-", "--rule", rule_id], input=spans)
        for rule_id in ("checked", "nothing")
    ]

    assert ["checked"] == [line["rule"] for line in lines(results[0])]
    assert (2, "") == (results[1].exit_code, results[1].stdout)
    assert "no rule has the id nothing: " in results[1].stderr


@pytest.mark.parametrize("option", ["--redact", "--redact-key-file"])
def test_option_of_tests_needs_as_test(rules: Path, option: str) -> None:
    """Without --as-test values are shown as they are: an option to redact them is refused."""
    refused = CliRunner().invoke(main, ["eval", str(rules), "--spans", "-", option, "x"], input="")
    of_run = {"BETRACE_REDACT": "user.id=mask", "BETRACE_REDACT_KEY_FILE": "key"}
    ignored = CliRunner(env=of_run).invoke(main, ["eval", str(rules), "--spans", "-"], input="")

    assert (2, "") == (refused.exit_code, refused.stdout)
    assert f"{option} needs --as-test" in refused.stderr
    assert (0, "") == (ignored.exit_code, ignored.stderr)
