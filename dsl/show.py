"""Renders problems for people and for programs.

In: problems, sorted by location. Out: text with the line and a caret, or plain values for JSON. Control characters in
rule files never reach the terminal.
"""

from __future__ import annotations

from collections.abc import Iterable

from dsl.problems import Problem, Severity

_WIDTH = 120
_SHOWN_PLACES = 10


def render_text(problems: Iterable[Problem]) -> str:
    """Render the problems as text, separated by blank lines; "" when there is none."""
    return "\n".join(_block(problem) for problem in problems)


def render_grouped(problems: Iterable[Problem]) -> str:
    """Render the problems as text; warnings with the same advice become one, with all their locations."""
    groups: dict[object, list[Problem]] = {}
    for problem in problems:
        is_warning = problem.severity is Severity.WARNING
        groups.setdefault((problem.code, problem.help) if is_warning else problem, []).append(problem)
    return "\n".join(_block(first) + _also_at(others) for first, *others in groups.values())


def render_json(problems: Iterable[Problem]) -> list[dict[str, str | int | tuple[str, ...]]]:
    """Return the problems as plain values: code, severity, path, line, column, message, help, notes."""
    return [
        {
            "code": problem.code,
            "severity": problem.severity.value,
            "path": problem.location.path,
            "line": problem.location.line,
            "column": problem.location.column,
            "message": problem.message,
            "help": problem.help,
            "notes": problem.notes,
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
    lines = [head, *_caret(problem), *(f"  note: {note}" for note in problem.notes), f"  help: {problem.help}"]
    return "".join(printable(line) + "\n" for line in lines)


def _also_at(others: list[Problem]) -> str:
    """Return a line with the other locations of a problem; "" when there is none."""
    if not others:
        return ""
    locations = [problem.location for problem in others]
    shown = ", ".join(f"{at.path}:{at.line}:{at.column}" for at in locations[:_SHOWN_PLACES])
    more = len(locations) - _SHOWN_PLACES
    return printable(f"  also: {shown}" + (f", and {more} more" if more > 0 else "")) + "\n"


def _caret(problem: Problem) -> list[str]:
    if problem.excerpt is None:
        return []
    column = problem.location.column - 1
    start = 0 if len(problem.excerpt) <= _WIDTH else max(0, column - _WIDTH // 2)
    excerpt = problem.excerpt[start : start + _WIDTH]
    length = max(1, min(problem.length, len(excerpt) - (column - start)))
    number = str(problem.location.line)
    return [f"  {number} | {excerpt}".rstrip(), f"  {' ' * len(number)} | {' ' * (column - start)}{'^' * length}"]
