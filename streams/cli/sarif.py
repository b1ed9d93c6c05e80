"""Renders the problems of rules as SARIF 2.1.0, which code-scanning services and editors show in the files.

In: problems, sorted by location. Out: a log with one run, as plain values. Relative paths stay relative to where the
command runs.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import TypeAlias
from urllib.parse import quote

from dsl.problems import Problem, Severity

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"

Json: TypeAlias = "str | int | bool | list[Json] | dict[str, Json]"

_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning"}


def log(problems: Iterable[Problem]) -> dict[str, Json]:
    """Return the log: a result for each problem, and a rule of the analysis for each code among them."""
    problems = list(problems)
    levels = {problem.code: _LEVELS[problem.severity] for problem in problems}
    codes = sorted(levels)
    rules: list[Json] = [{"id": code, "defaultConfiguration": {"level": levels[code]}} for code in codes]
    results: list[Json] = [_result(problem, codes.index(problem.code)) for problem in problems]
    driver: dict[str, Json] = {"name": "BeTrace", "semanticVersion": version("betrace"), "rules": rules}
    run: Json = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _result(problem: Problem, rule_index: int) -> Json:
    location = problem.location
    text = "\n".join([problem.message, *(f"note: {note}" for note in problem.notes), f"help: {problem.help}"])
    region: Json = {
        "startLine": location.line,
        "startColumn": location.column,
        "endColumn": location.column + problem.length,
    }
    return {
        "ruleId": problem.code,
        "ruleIndex": rule_index,
        "level": _LEVELS[problem.severity],
        "message": {"text": text},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": _uri(location.path)}, "region": region}}],
    }


def _uri(path: str) -> str:
    """Return a path as a URI reference.

    >>> _uri("rules/a b.yaml"), _uri("/rules/a.yaml"), _uri("a:b.yaml")
    ('rules/a%20b.yaml', 'file:///rules/a.yaml', 'a%3Ab.yaml')
    """
    return Path(path).as_uri() if Path(path).is_absolute() else quote(Path(path).as_posix(), errors="surrogateescape")
