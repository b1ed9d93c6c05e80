"""Problems of invalid rules: every block of tests/fixtures/dsl/problems is a test."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from dsl import problems
from dsl.compile.review import review
from dsl.problems import Problem
from dsl.show import render_json, render_text
from tests.support.fixtures import ROOT, Block, problem_blocks

_TODAY = date(2026, 11, 21)
_HEADER = "// id: r\n// kind: pattern\n"
_PATHS: list[tuple[str, bytes | None, str]] = [
    (
        "t.rules",
        f"{_HEADER}\na or b\n{'or c' * 2**14}".encode(),
        (
            "E109 t.rules:4:1  the rule has 65543 bytes; the limit is 65536\n"
            "  4 | a or b\n    | ^\n  help: split the rule\n"
        ),
    ),
    (
        "t.yaml",
        (
            "lists: {l: [" + 2_000 * "abcd, " + "x]}\n"
            "rules:\n- {id: r, kind: pattern, tests: [], condition: "
            "a.where(" + 4 * "x in @l and " + "x)}\n"
        ).encode(),
        (
            "E223 t.yaml:3:61  with its names written out, the rule has about 72090 bytes; the limit is 65536\n"
            f"  3 | - {{id: r, kind: pattern, tests: [], condition: a.where({4 * 'x in @l and '}x)}}\n"
            f"    | {60 * ' '}^^\n"
            "  help: shorten the list, or split it and the rule\n"
        ),
    ),
    (
        "t.rules",
        None,
        ("E301 t.rules:1:1  cannot be read: it does not exist\n  help: correct the path, or make it readable\n"),
    ),
    (
        "t.rules",
        b"// id: r\na == \xfcber\n",
        (
            "E302 t.rules:2:6  the file is not valid UTF-8 from here on\n"
            "  2 | a == \N{REPLACEMENT CHARACTER}ber\n    |      ^\n  help: save it as UTF-8\n"
        ),
    ),
    (
        "rules.txt",
        b"a",
        "E303 rules.txt:1:1  not a rule file\n  help: rule files end in .rules, .yaml or .yml\n",
    ),
    (
        "",
        None,
        "E304 rules:1:1  no rule file in this directory\n  help: rule files end in .rules, .yaml or .yml\n",
    ),
]
"""Problems that no text fixture can have: a name, what stands there, and what is shown."""

_OF_BUGS = {"E331"}
"""Codes that no file can provoke while the program is right; tests/dsl/compile/test_review.py has them."""


def _blocks() -> list[object]:
    paths = sorted((ROOT / "problems").glob("*.txt"))
    return [pytest.param(block, id=f"{path.stem}: {block.title}") for path in paths for block in problem_blocks(path)]


@pytest.mark.parametrize("block", _blocks())
def test_problems_are_those_of_the_fixture(block: Block, tmp_path: Path) -> None:
    """A file has the problems of its block, in the order of their locations."""
    name = block.setting("file")
    header = "" if name else "// id: r\n" if block.text.lstrip().startswith("when") else _HEADER
    path = tmp_path / (name or "t.rules")
    path.write_text(header + block.text, encoding="utf-8")

    reported = review([path], _TODAY)

    assert block.outcomes == [_line(problem, header.count("\n")) for problem in reported]


def _line(problem: Problem, above: int) -> str:
    message = re.sub(r"at \S*/", "at ", problem.message)
    return f"{problem.code} {problem.location.line - above}:{problem.location.column} {message}"


def test_every_code_has_a_fixture() -> None:
    """Every problem has an example in a fixture, and one with everything that is printed."""
    wording = Path(problems.__file__).read_text(encoding="utf-8")
    codes = set(re.findall(r'_(?:error|warning)\(\s*"([EW]\d+)"', wording))
    paths = (ROOT / "problems").glob("*.txt")
    listed = {line[:4] for path in paths for block in problem_blocks(path) for line in block.outcomes}
    rendered = set(re.findall(r"(?m)^[EW][0-9]{3}(?= )", (ROOT / "rendered.txt").read_text(encoding="utf-8")))
    of_paths = {expected[:4] for _, _, expected in _PATHS}

    assert codes == listed | of_paths | _OF_BUGS
    assert codes == rendered | of_paths | _OF_BUGS


def _rendered() -> Iterator[object]:
    for part in re.split(r"(?m)^--- ", (ROOT / "rendered.txt").read_text(encoding="utf-8"))[1:]:
        title, _, rest = part.partition("\n")
        name = "t.rules"
        if rest.startswith("@file "):
            name, _, rest = rest.removeprefix("@file ").partition("\n")
        text, _, expected = rest.partition(">>>\n")
        yield pytest.param(name, text, expected.rstrip("\n") + "\n", id=title)


@pytest.mark.parametrize(("name", "text", "expected"), list(_rendered()))
def test_problems_are_shown_with_line_caret_and_help(name: str, text: str, expected: str, tmp_path: Path) -> None:
    """A problem is shown with its code and location, the line, a caret, and advice."""
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")

    shown = render_text(review([path], _TODAY))

    assert expected == shown.replace(str(path), name)


@pytest.mark.parametrize(("name", "content", "expected"), _PATHS, ids=[expected[:4] for _, _, expected in _PATHS])
def test_problems_of_a_whole_file_are_shown_the_same_way(
    name: str, content: bytes | None, expected: str, tmp_path: Path
) -> None:
    """What a text fixture cannot contain is shown with its code, location and advice, too."""
    if content is not None:
        (tmp_path / name).write_bytes(content)

    shown = render_text(review([tmp_path / name], _TODAY))

    assert expected == shown.replace(f"{tmp_path}/", "").replace(str(tmp_path), "rules")


def test_json_has_the_documented_keys(tmp_path: Path) -> None:
    """A problem for programs has code, severity, path, line, column, message, help and notes."""
    path = tmp_path / "t.rules"
    path.write_text(_HEADER + 'x > "1"', encoding="utf-8")

    shown = render_json(review([path], _TODAY))

    message = "`x` is compared with text, but `>` needs a number"
    expected = {"code": "E204", "severity": "error", "path": str(path), "line": 3, "column": 5}
    assert [expected | {"message": message, "help": "write 1 without quotes", "notes": ()}] == shown


def test_control_characters_never_reach_the_terminal(tmp_path: Path) -> None:
    """The output has no control character but the line break."""
    path = tmp_path / "t.rules"
    path.write_text(_HEADER + "a\t== \x1b[31mb\x07", encoding="utf-8")

    shown = render_text(review([path], _TODAY))

    assert "E104" in shown
    assert all(character.isprintable() or character == "\n" for character in shown)


def test_a_long_line_is_shown_around_the_caret(tmp_path: Path) -> None:
    """Of a very long line, only the part around the mistake is shown."""
    path = tmp_path / "t.rules"
    path.write_text(_HEADER + "a or " * 2000 + "= b", encoding="utf-8")

    head, excerpt, caret, _ = render_text(review([path], _TODAY)).splitlines()

    assert head.startswith(f"E104 {path}:3:10001 ")
    assert len(excerpt) < 130
    assert "=" == excerpt[caret.index("^")]
