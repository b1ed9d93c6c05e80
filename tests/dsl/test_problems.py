"""What is said of wrong rules: every block of tests/fixtures/dsl/problems is a test."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from dsl import problems
from dsl.problems import Problem
from dsl.review import review
from dsl.show import render_json, render_text
from tests.dsl.fixtures import ROOT, Block, problem_blocks

_TODAY = date(2026, 11, 21)
_HEADER = "// id: r\n// kind: pattern\n"


def _blocks() -> list[object]:
    paths = sorted((ROOT / "problems").glob("*.txt"))
    return [pytest.param(block, id=f"{path.stem}: {block.title}") for path in paths for block in problem_blocks(path)]


@pytest.mark.parametrize("block", _blocks())
def test_problems_are_those_of_the_fixture(block: Block, tmp_path: Path) -> None:
    """A file has the problems that its block names, in the order of their places."""
    name = block.setting("file")
    header = "" if name else "// id: r\n" if block.text.lstrip().startswith("when") else _HEADER
    path = tmp_path / (name or "t.rules")
    path.write_text(header + block.text, encoding="utf-8")

    found = review([path], _TODAY)

    assert block.outcomes == [_line(problem, header.count("\n")) for problem in found]


def _line(problem: Problem, above: int) -> str:
    message = re.sub(r"at \S*/", "at ", problem.message)
    return f"{problem.code} {problem.place.line - above}:{problem.place.column} {message}"


def test_every_code_has_a_fixture() -> None:
    """No problem can be said of which no fixture shows an example; sizes and paths have tests of their own."""
    wording = Path(problems.__file__).read_text(encoding="utf-8")
    codes = set(re.findall(r'_(?:error|warning)\(\s*"([EW]\d+)"', wording))
    paths = (ROOT / "problems").glob("*.txt")
    shown = {line[:4] for path in paths for block in problem_blocks(path) for line in block.outcomes}

    missing = codes - shown - {"E109", "E301", "E302", "E303", "E304"}

    assert set() == missing


def _rendered() -> Iterator[object]:
    for part in re.split(r"(?m)^--- ", (ROOT / "rendered.txt").read_text(encoding="utf-8"))[1:]:
        title, _, rest = part.partition("\n")
        text, _, expected = rest.partition(">>>\n")
        yield pytest.param(text, expected.rstrip("\n") + "\n", id=title)


@pytest.mark.parametrize(("text", "expected"), list(_rendered()))
def test_problems_are_shown_with_line_caret_and_help(text: str, expected: str, tmp_path: Path) -> None:
    """A problem is shown as its code and place, the line, a caret below what is meant, and what to do."""
    path = tmp_path / "t.rules"
    path.write_text(text, encoding="utf-8")

    shown = render_text(review([path], _TODAY))

    assert expected == shown.replace(str(path), "t.rules")


def test_json_has_the_documented_keys(tmp_path: Path) -> None:
    """A problem for programs has code, severity, path, line, column, message and help."""
    path = tmp_path / "t.rules"
    path.write_text(_HEADER + 'x > "1"', encoding="utf-8")

    shown = render_json(review([path], _TODAY))

    message = "`x` is compared with text, but `>` needs a number"
    expected = {"code": "E204", "severity": "error", "path": str(path), "line": 3, "column": 5}
    assert [expected | {"message": message, "help": "write 1 without quotes"}] == shown


def test_control_characters_never_reach_the_terminal(tmp_path: Path) -> None:
    """What is shown of a file holds no control character but the line break."""
    path = tmp_path / "t.rules"
    path.write_text(_HEADER + "a\t== \x1b[31mb\x07", encoding="utf-8")

    shown = render_text(review([path], _TODAY))

    assert "E104" in shown
    assert all(character.isprintable() or character == "\n" for character in shown)


def test_a_long_line_is_shown_around_the_caret(tmp_path: Path) -> None:
    """Of a line that no terminal holds, only the part around the mistake is shown."""
    path = tmp_path / "t.rules"
    path.write_text(_HEADER + "a or " * 2000 + "= b", encoding="utf-8")

    head, excerpt, caret, _ = render_text(review([path], _TODAY)).splitlines()

    assert head.startswith(f"E104 {path}:3:10001 ")
    assert len(excerpt) < 130
    assert "=" == excerpt[caret.index("^")]
