"""The prose of code and pages: phrases that an editor would strike out."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT

PACKAGES = ("dsl", "streams", "topics")
FILES = [
    *sorted(ROOT.glob("*.md")),
    *sorted(path for name in (*PACKAGES, "helm") for path in (ROOT / name).rglob("*.md")),
    *sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py")),
]

PHRASES = re.compile(
    r"""
      (?<!there\ )\b(?:is|are)\ no\ (?!longer|more|other|one\b|doubt|room|need|good)[a-z]+  # "is no duration"
    | \bof\ which\ none\b
    | \bfor\ who\b
    | \b(?:says?|tells?|speaks?|told|spoken)\ of\b
    | \bstands?\ (?:twice|in\ the\ way)\b
    | \bmust\ not\ know\ of\b
    | \bthe\ (?:longer|more)\ the\b
    | \bwho\ (?:we|somebody)\ (?:is|are)\b
    | \bas\ it\ is\ one\b
    """,
    re.VERBOSE | re.IGNORECASE,
)


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """Every text of a page, or the strings and comments of a module, with the number of its first line."""
    content = path.read_text()
    if path.suffix == ".md":
        yield 1, re.sub(r"```.*?```", lambda block: "\n" * block[0].count("\n"), content, flags=re.DOTALL)
        return
    for node in ast.walk(ast.parse(content)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, node.value
    for number, line in enumerate(content.splitlines(), 1):
        if line.lstrip().startswith("# "):
            yield number, line


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_phrase_needs_a_second_reading(path: Path) -> None:
    """Phrases that are not idiomatic English do not come back."""
    found = []
    for first, text in prose(path):
        joined = " ".join(text.split("\n")) if path.suffix == ".py" else text
        found += [(first + text[: match.start()].count("\n"), match[0]) for match in PHRASES.finditer(joined)]
    assert [] == found


def test_the_phrases_are_found() -> None:
    """Phrases of the old prose are found, and plain English is not."""
    struck = ["'30' is no duration", "a relation of which none was seen", "what the topic says of it"]
    plain = ["there is no topic", "it is no longer read", "the state of the task", "nobody reads them"]
    assert [True] * len(struck) == [bool(PHRASES.search(text)) for text in struck]
    assert [False] * len(plain) == [bool(PHRASES.search(text)) for text in plain]
