"""The pages of the tree: their links, their contents, and that their commands, options and targets are there.

What the commands do is in the tests that `RUN_BY` names.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest

from streams.cli import main
from tests.support.documents import anchor, blocks, headings, inline_code, links, shell_commands
from tests.support.paths import ROOT
from topics.errors import RefusalReason

FOLDERS = ("dsl", "helm", "streams", "tests", "topics")
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(page for name in FOLDERS for page in (ROOT / name).rglob("*.md"))]
"""Every page that a reader may open."""

RUN_BY = {
    "CONTRIBUTING.md": "tests/test_ci.py",
    "README.md": "tests/test_readme.py",
    "dsl/README.md": "tests/dsl/test_readme.py",
    "helm/README.md": "tests/helm/test_given.py",
    "streams/archive/README.md": "tests/test_readme.py",
    "streams/evidence/README.md": "tests/test_readme.py",
    "streams/ingest/README.md": "tests/test_readme.py",
    "streams/inspect/README.md": "tests/test_readme.py",
    "streams/replay/README.md": "tests/test_readme.py",
    "streams/rules/README.md": "tests/test_readme.py",
    "tests/bench/README.md": "tests/bench/test_readme.py",
    "topics/README.md": "tests/test_readme.py",
    "topics/collector/README.md": "tests/broker/test_collector_configs.py",
}
"""Each page with commands, and the test that runs them."""

SHORT_LINES = 150
FEW_SECTIONS = 2

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def name(page: Path) -> str:
    """Where a page is in the tree."""
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_have_targets(page: Path) -> None:
    """Every link to a page, a file or a section of this tree has a target."""
    dangling = []
    for link in links(page.read_text()):
        path, _, section = link.partition("#")
        target = page if not path else (page.parent / path).resolve()
        if ":" in path:
            continue
        if not target.exists() or (section and section not in map(anchor, headings(target.read_text()))):
            dangling.append(link)

    assert [] == dangling


@pytest.mark.parametrize("page", [page for page in PAGES if page.name in {"README.md", "CONTRIBUTING.md"}], ids=name)
def test_contents_name_every_section(page: Path) -> None:
    """A page of several sections begins with links to them, in their order."""
    text = page.read_text()
    sections = [f"#{anchor(heading)}" for heading in headings(text, 2) if heading != "Licence"]

    listed = [link for link in links(text.partition("\n## ")[0]) if link.startswith("#")]

    assert len(sections) <= FEW_SECTIONS or sections == listed


def test_first_page_is_short() -> None:
    """README.md has only the first steps; everything else is on the pages that it links to."""
    text = (ROOT / "README.md").read_text()
    pages = [page for page in PAGES if page.name == "README.md" and page.is_relative_to(ROOT / "streams")]

    assert SHORT_LINES >= len(text.splitlines())
    assert set() == {name(page) for page in pages} - set(links(text))


def test_each_page_with_commands_has_a_test_that_runs_them() -> None:
    """No page has commands that no test runs."""
    with_commands = {
        name(page) for page in PAGES if shell_commands(page.read_text()) or "```console" in page.read_text()
    }

    assert RUN_BY.keys() == with_commands
    assert [] == [test for test in RUN_BY.values() if not (ROOT / test).is_file()]


def betrace_lines() -> set[str]:
    """What the pages say of the program `betrace`; the benches' page calls what it measures so, too."""
    lines = {line for page in PAGES for line in shell_commands(page.read_text())}
    lines |= {code for page in PAGES if page.parent.name != "bench" for code in inline_code(page.read_text())}
    return {line for line in lines if line.startswith("betrace ") and not {"…", "COMMAND"} & {*line.split()}}


@pytest.mark.parametrize("line", sorted(betrace_lines()))
def test_commands_and_options_exist(line: str) -> None:
    """Each command of betrace, in a block or in a sentence, exists and takes the options given there."""
    command: click.Command = main
    words = shlex.split(line)[1:]
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(click.Context(command), words.pop(0))
        assert found is not None
        command = found

    options = {"--help"} | {text for each in command.params for text in (*each.opts, *each.secondary_opts)}
    assert set() == {word for word in words if word.startswith("--")} - options


def test_make_targets_exist() -> None:
    """Each target of make, in a block or in a sentence, exists."""
    lines = {line for page in PAGES for line in (*shell_commands(page.read_text()), *inline_code(page.read_text()))}
    named = {word for line in lines if line.startswith("make ") for word in line.split()[1:]}
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    assert len(named) > 10
    assert set() == named - targets


def test_extras_are_those_of_the_package() -> None:
    """README.md lists each extra that is for users."""
    [table] = re.findall(r"^\| extra \|.*\n\| ---.*\n((?:\|.*\n)+)", (ROOT / "README.md").read_text(), re.MULTILINE)

    assert PROJECT["project"]["optional-dependencies"].keys() - {"dev", "test"} == set(
        re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    )


def test_layers_are_those_of_the_contract() -> None:
    """The architecture's page draws the layers that import-linter holds."""
    [layers] = [
        contract["layers"]
        for contract in PROJECT["tool"]["importlinter"]["contracts"]
        if contract.get("containers") == ["streams"]
    ]
    [drawn] = blocks((ROOT / "streams" / "README.md").read_text(), "text")

    assert [layer.replace(" | ", " · ") for layer in layers] == drawn.splitlines()


def test_reasons_of_dead_letters_are_explained() -> None:
    """The page on dead letters has a row for each reason, in the order of the enum, and no other row."""
    page = (ROOT / "streams" / "ingest" / "README.md").read_text()
    [table] = re.findall(r"^\| reason \|.*\n\| ---.*\n((?:\|.*\n)+)", page, re.MULTILINE)

    assert [reason.value for reason in RefusalReason] == re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_drawings_are_self_contained(page: Path) -> None:
    """A drawing has a description for those who cannot see it, is readable on a dark background, and loads nothing."""
    drawings = [page.parent / link for link in links(page.read_text()) if link.endswith(".svg")]

    for drawing in drawings:
        text = drawing.read_text()
        assert "<title" in text
        assert "<desc" in text
        assert "prefers-color-scheme: dark" in text
        assert [] == re.findall(r"href|url\((?!#)|<script|<image", text)
