"""Finds what is at the cursor: the rule, and where a name is defined.

In: an analysis and the place of the cursor. Out: a compiled rule, or the spot of a definition.
"""

from __future__ import annotations

from pathlib import Path

from dsl.compile.compile import CompiledRule
from dsl.editor.analysis import Analysis
from dsl.files.draft import Draft
from dsl.problems import Spot
from dsl.syntax.continuation import named_pattern
from dsl.syntax.source import YAML_SUFFIXES, SourceFile


def rule_at(analysis: Analysis, document: Path, line: int) -> CompiledRule | None:
    """Return the rule on a line of a file; None when there is none, or it has an error."""
    if (file := analysis.files.get(document)) is None:
        return None
    for compiled in analysis.review.compiled:
        draft = compiled.draft
        if draft.spot.location.path == file.path and _contains(file, draft, line):
            return compiled
    return None


def definition_at(analysis: Analysis, document: Path, line: int, column: int) -> Spot | None:
    """Return where the name at a place is defined; None when no name is there, or it is not defined."""
    if (file := analysis.files.get(document)) is None:
        return None
    found = named_pattern().finditer(file.lines[line]) if line < len(file.lines) else ()
    name = next((each[0][1:] for each in found if each.start() <= column <= each.end()), None)
    defined = [(each.name, each.spot) for draft in analysis.review.drafts for each in draft.lists]
    defined += [(each.name, each.spot) for draft in analysis.review.drafts for each in draft.subjects]
    return next((spot for known, spot in defined if known == name), None)


def _contains(file: SourceFile, draft: Draft, line: int) -> bool:
    first = draft.spot.location.line - 1
    if not file.path.endswith(YAML_SUFFIXES):
        return first <= line < draft.condition.line + draft.condition.text.count("\n")
    if not first <= line < len(file.lines):
        return False
    indent = _indent(file.lines[first])
    below = (each for each in file.lines[first + 1 : line + 1] if each.strip() and not each.lstrip().startswith("#"))
    return all(_indent(each) > indent for each in below)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))
