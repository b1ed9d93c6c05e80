"""Renders problems for people and for programs.

In: problems, sorted by location. Out: text with the line and a caret, or plain values for JSON. Control characters in
rule files never reach the terminal.
"""

from __future__ import annotations

from collections.abc import Iterable

from dsl.problems import Problem

_WIDTH = 120


def render_text(problems: Iterable[Problem]) -> str:
    """Render the problems as text, separated by blank lines; "" when there is none."""
    return "\n".join(_block(problem) for problem in problems)


def render_json(problems: Iterable[Problem]) -> list[dict[str, str | int]]:
    """Return the problems as plain values: code, severity, path, line, column, message, help."""
    return [
        {
            "code": problem.code,
            "severity": problem.severity.value,
            "path": problem.location.path,
            "line": problem.location.line,
            "column": problem.location.column,
            "message": problem.message,
            "help": problem.help,
        }
        for problem in problems
    ]


def printable(line: str) -> str:
    r"""Replace the characters of a line that a terminal would interpret.

    >>> printable("a\tb\x07") == "a b\N{REPLACEMENT CHARACTER}"
    True
    """
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in line.replace("\t", " "))


def _block(problem: Problem) -> str:
    location = problem.location
    head = f"{problem.code} {location.path}:{location.line}:{location.column}  {problem.message}"
    lines = [head, *_caret(problem), f"  help: {problem.help}"]
    return "".join(printable(line) + "\n" for line in lines)


def _caret(problem: Problem) -> list[str]:
    if problem.excerpt is None:
        return []
    column = problem.location.column - 1
    start = 0 if len(problem.excerpt) <= _WIDTH else max(0, column - _WIDTH // 2)
    excerpt = problem.excerpt[start : start + _WIDTH]
    length = max(1, min(problem.length, len(excerpt) - (column - start)))
    number = str(problem.location.line)
    return [f"  {number} | {excerpt}".rstrip(), f"  {' ' * len(number)} | {' ' * (column - start)}{'^' * length}"]
