"""Reads the language's text fixtures, so that a new case needs no Python.

A file holds blocks. A block begins with `--- what it shows`, then come settings (`@kind invariant`, `@timezone NAME`,
`@except WHERE`, `@until DAY`, `@file NAME`), then a text, then what must come of it:

    verdicts/   lines `VERDICT TRACE`. VERDICT is broken, held, undetermined, not_applicable or excepted; `cut VERDICT`
                judges a trace that is not known whole. TRACE is spans: JSON objects as in `dsl.files.spans`, or `name`
                or `name{attributes}`. A bare expression is a pattern unless @kind says otherwise; `yes` and `no` say
                whether it is broken.
    problems/   after `>>>` one line for each problem: `CODE line:column message`. The text is a condition, or with
                @file a whole file; lines are counted from the start of the text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dsl.files.spans import read_span
from dsl.judge.span import Span, Value
from tests.support import paths

ROOT = paths.FIXTURES / "dsl"

_START_NS = 1_767_614_400 * 10**9
_OUTCOME = re.compile(r"(cut )?(broken|held|undetermined|not_applicable|excepted|yes|no)(?= |$)")
_NAME = re.compile(r"[^\s{]+")


@dataclass(slots=True)
class Block:
    """One block of a fixture file; `outcomes` are the lines that say what must come of `text`."""

    title: str
    settings: list[tuple[str, str]] = field(default_factory=list)
    text: str = ""
    outcomes: list[str] = field(default_factory=list)

    def setting(self, name: str) -> str | None:
        """The value of a setting, None when it is not given."""
        return next((value for key, value in self.settings if key == name), None)


def verdict_blocks(path: Path) -> Iterator[Block]:
    """The blocks of a file under verdicts/."""
    for block, lines in _blocks(path):
        split = next(index for index, line in enumerate([*lines, "yes"]) if _OUTCOME.match(line))
        block.text = "\n".join(lines[:split]).strip()
        block.outcomes = [line for line in lines[split:] if line.strip()]
        yield block


def problem_blocks(path: Path) -> Iterator[Block]:
    """The blocks of a file under problems/."""
    for block, lines in _blocks(path):
        split = lines.index(">>>")
        block.text = "\n".join(lines[:split])
        block.outcomes = [line for line in lines[split + 1 :] if line.strip()]
        yield block


def outcome(line: str) -> tuple[bool, str, list[Span]]:
    """Whether the trace is whole, the verdict, and the spans of a line."""
    said = _OUTCOME.match(line)
    assert said is not None, line
    return said[1] is None, said[2], list(_spans(line[said.end() :]))


def _blocks(path: Path) -> Iterator[tuple[Block, list[str]]]:
    for part in re.split(r"(?m)^--- ", path.read_text(encoding="utf-8"))[1:]:
        title, *lines = part.rstrip("\n").split("\n")
        block = Block(title)
        while lines and lines[0].startswith("@"):
            key, _, value = lines.pop(0)[1:].partition(" ")
            block.settings.append((key, value))
        yield block, lines


def _spans(text: str) -> Iterator[Span]:
    decoder = json.JSONDecoder()
    at, index = 0, 0
    while text[at:].strip():
        at += len(text[at:]) - len(text[at:].lstrip())
        fields: dict[str, Value] = {}
        if name := _NAME.match(text, at):
            fields, at = {"name": name[0]}, name.end()
        if text[at : at + 1] == "{":
            found, at = decoder.raw_decode(text, at)
            fields = {**fields, "attributes": found} if fields else found
        defaults: dict[str, Value] = {"span_id": f"{index + 1:016x}", "start": _START_NS + index * 10**9}
        yield read_span({**defaults, **fields})
        index += 1
