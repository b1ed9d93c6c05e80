"""Reads `*.rules` files: comment headers, each followed by the text of its rule.

In: a `SourceFile`. Out: `Draft`s and problems. A header is an unbroken run of full-line comments that includes a title
line, a Signal line or an id line. Any other comment is ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from itertools import pairwise

from dsl import problems
from dsl.files import dedup
from dsl.files.draft import Draft, DraftFile
from dsl.files.field import Field
from dsl.files.fields import HEADER_KEYS, LIST_KEYS
from dsl.judge.ruleset import Kind
from dsl.problems import Problem
from dsl.syntax.source import SourceFile, SourceText

_COMMENT = re.compile(r"\s*//")
# Trailing blanks are stripped first, so that no pattern backtracks over them.
_TITLE = re.compile(r'\s*//\s*"([^"]*)"')
_SIGNAL = re.compile(r"\s*//\s*Signal:\s*([A-Za-z0-9._-]+)\s*(?:\(([^()]*)\))?")
_FIELD = re.compile(r"\s*//\s*([A-Za-z_-]+)\s*:\s*(.*)")
_ID = re.compile(r"\s*//\s*id\s*:.*")

# Comments that look like a line of a header.
_NEAR_FIELD = re.compile(r"\s*//\s*([A-Za-z][A-Za-z _-]{0,40}?) {0,9}[:=].*")
_NEAR_SIGNAL = re.compile(r"\s*//\s*(signal)\b.*\( *(?:info|low|medium|high|critical) *\)", re.IGNORECASE)
_NEAR_TITLE = re.compile(r"\s*//\s*([“”„«\u2018']([^“”„«»\u2018\u2019']+)[“”»\u2019'])")
_CUTOFF = 0.75
_KEYS = (*HEADER_KEYS, "signal")
_FOREIGN_KEYS = {
    **dict.fromkeys(("title", "name"), 'did you mean "TITLE"?'),
    **dict.fromkeys(("condition", "exceptions", "tests", "exampleviolation"), "it is allowed in YAML rule files only"),
    "complianceframeworks": "did you mean `controls:`?",
}


def read_file(file: SourceFile) -> tuple[DraftFile, list[Problem]]:
    """Return the rules of a file."""
    reported: list[Problem] = []
    headers = list(_headers(file, reported))
    edges = [*(header.start for header in headers), len(file.lines)]
    if (stray := _source_text(file, 0, edges[0])) is not None:
        reported.append(problems.text_without_header(file.spot(stray.line, 1, len(file.lines[stray.line - 1]))))
    rules = [_read_draft(file, header, end, reported) for header, end in zip(headers, edges[1:], strict=True)]
    return DraftFile(tuple(rule for rule in rules if rule is not None)), reported


def _headers(file: SourceFile, reported: list[Problem]) -> Iterator[range]:
    """Yield the line numbers, from 0, of each header; warn of comments that are almost a header."""
    lines = file.lines
    edges = [index for index, line in enumerate(lines) if _COMMENT.match(line) is None]
    for before, after in pairwise([-1, *edges, len(lines)]):
        run = range(before + 1, after)
        if any(_starts_rule(lines[index]) for index in run):
            yield run
        else:
            reported += [problem for index in run for problem in _near_misses(file, index, is_header=False)]


def _starts_rule(line: str) -> bool:
    return any(pattern.fullmatch(line.rstrip()) for pattern in (_TITLE, _SIGNAL, _ID))


def _read_draft(file: SourceFile, header: range, end: int, reported: list[Problem]) -> Draft | None:
    fields: dict[str, Field] = {}
    kinds: list[Kind] = []
    for index in header:
        for key, field in _fields(file, index, kinds, reported):
            if key in fields:
                reported.append(problems.duplicate_key(field.spot, key))
            fields.setdefault(key, field)
    spot = file.spot(header.start + 1, 1, len(file.lines[header.start]))
    if (condition := _source_text(file, header.stop, end)) is None:
        reported.append(problems.header_without_rule(spot))
        return None
    return Draft(fields=fields, condition=condition, spot=spot, header_kinds=tuple(dict.fromkeys(kinds)))


def _fields(file: SourceFile, index: int, kinds: list[Kind], reported: list[Problem]) -> Iterable[tuple[str, Field]]:
    """Yield the fields in one line of a header."""
    line = file.lines[index].rstrip()
    if title := _TITLE.fullmatch(line):
        kinds.append(Kind.INVARIANT)
        yield "title", _field(file, index, title, 1)
    elif signal := _SIGNAL.fullmatch(line):
        kinds.append(Kind.PATTERN)
        yield "signal", _field(file, index, signal, 1)
        if signal[2] is not None:
            yield "severity", _field(file, index, signal, 2)
    elif (field := _FIELD.fullmatch(line)) and field[1] == dedup.KEY:
        yield from dedup.header_fields(_field(file, index, field, 2), reported)
    elif field and field[1] in HEADER_KEYS:
        yield field[1], _field(file, index, field, 2, is_list=field[1] in LIST_KEYS)
    else:
        reported += _near_misses(file, index, is_header=True)


def _near_misses(file: SourceFile, index: int, *, is_header: bool) -> Iterator[Problem]:
    """Warn when a comment looks like a line of a header or, outside headers, like a line that starts one."""
    line = file.lines[index].rstrip()
    if title := _NEAR_TITLE.fullmatch(line):
        yield _near_miss(file, index, title, f'did you mean "{title[2]}"?')
    elif signal := _NEAR_SIGNAL.fullmatch(line):
        yield _near_miss(file, index, signal, _spelling("signal"))
    elif field := _NEAR_FIELD.fullmatch(line):
        key = re.sub("[ _-]", "", field[1].lower())
        if is_header and key in _FOREIGN_KEYS:
            yield _near_miss(file, index, field, _FOREIGN_KEYS[key])
        elif (is_header or key in {"id", "signal"}) and (close := get_close_matches(key, _KEYS, n=1, cutoff=_CUTOFF)):
            yield _near_miss(file, index, field, _spelling(close[0]))


def _near_miss(file: SourceFile, index: int, line: re.Match[str], advice: str) -> Problem:
    return problems.near_header(_field(file, index, line, 1).spot, line[1], advice)


def _spelling(key: str) -> str:
    return "did you mean `Signal: NAME (severity)`?" if key == "signal" else f"did you mean `{key}:`?"


def _field(file: SourceFile, index: int, line: re.Match[str], group: int, *, is_list: bool = False) -> Field:
    spot = file.spot(index + 1, line.start(group) + 1, max(1, len(line[group])))
    return Field.listed(line[group], spot) if is_list else Field((line[group].strip(),), spot)


def _source_text(file: SourceFile, start: int, end: int) -> SourceText | None:
    """Return the text of these lines without surrounding blank lines and comments; None when nothing remains."""
    lines = file.lines
    used = [index for index in range(start, end) if lines[index].strip() and not _COMMENT.match(lines[index])]
    return SourceText(file=file, text="\n".join(lines[used[0] : used[-1] + 1]), line=used[0] + 1) if used else None
