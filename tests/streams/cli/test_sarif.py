"""Tests `betrace check --format sarif` with the schema of OASIS."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner

from streams.cli import main
from tests.support.paths import FIXTURES

WRONG = """
rules:
  - id: deploys-are-approved
    condition: when { deploy } always { approval before deploy }
    tests:
      - {name: approved, spans: [{name: deploy}, {name: approval}], expect: held}
  - id: untested
    condition: when { deploy } always { approval }
  - id: plain
    condition: when { deploy } always { audit.where(amount > "1000") }
"""
GOOD = '// "Access is audited"\npii.access and audit.log\n'


def shown(*paths: Path) -> Any:  # noqa: ANN401 - JSON
    """The only run of the log for these paths, which the schema takes."""
    log = json.loads(CliRunner().invoke(main, ["check", *map(str, paths), "--format", "sarif"]).stdout)
    schema = json.loads(gzip.decompress((FIXTURES / "sarif" / "sarif-schema-2.1.0.json.gz").read_bytes()))
    assert [] == [error.message for error in jsonschema.Draft4Validator(schema).iter_errors(log)]
    assert (schema["id"], "2.1.0") == (log["$schema"], log["version"])
    [run] = log["runs"]
    return run


def test_each_problem_is_a_result_with_its_location(tmp_path: Path) -> None:
    """A problem has the code as its rule, its level, its words with notes and help, and what the caret marks."""
    path = tmp_path / "a rule.yaml"
    path.write_text(WRONG)

    run = shown(path)

    results = run["results"]
    assert [("E330", "error"), ("W406", "warning"), ("E204", "error")] == [
        (each["ruleId"], each["level"]) for each in results
    ]
    assert [each["ruleId"] for each in results] == [
        run["tool"]["driver"]["rules"][each["ruleIndex"]]["id"] for each in results
    ]
    place = results[-1]["locations"][0]["physicalLocation"]
    assert {"startLine": 10, "startColumn": 62, "endColumn": 68} == place["region"]
    assert path.as_uri() == place["artifactLocation"]["uri"]
    assert [
        "test `approved` expects held, but the verdict is broken",
        "note: missing: approval before deploy",
        "note: `deploy` matches span 1",
        "note: `approval` matches span 2",
        "help: correct the rule or the test",
    ] == results[0]["message"]["text"].splitlines()


def test_relative_path_stays_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path that was given relative to where the command runs is a relative reference, as code scanning needs it."""
    monkeypatch.chdir(tmp_path)
    Path("rules").mkdir()
    Path("rules/a b.yaml").write_text(WRONG)

    results = shown(Path("rules"))["results"]

    locations = [each["locations"][0]["physicalLocation"]["artifactLocation"] for each in results]
    assert [{"uri": "rules/a%20b.yaml"}] * 3 == locations


def test_no_problem_is_a_run_without_results(tmp_path: Path) -> None:
    """Rules without problems are an analysis that found nothing."""
    path = tmp_path / "a.rules"
    path.write_text(GOOD)

    assert [] == shown(path)["results"]
