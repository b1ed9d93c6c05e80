"""Rules explained to people."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from dsl.compile.compile import CompiledRule, build_rule_set, compile_files, load_compiled
from dsl.explain.explain import explain
from dsl.judge.atoms import Use, key_text
from dsl.syntax.source import from_texts
from tests.support import paths
from tests.support.fixtures import ROOT, Block, outcome, verdict_blocks

_LIBRARY = paths.LIBRARY


def _compiled(name: str, text: str) -> list[CompiledRule]:
    files, _ = from_texts({name: text})
    compiled, _ = compile_files(files)
    return compiled


def _explained() -> Iterator[object]:
    for part in re.split(r"(?m)^--- ", (ROOT / "explained.txt").read_text(encoding="utf-8"))[1:]:
        title, _, rest = part.partition("\n@file ")
        name, _, rest = rest.partition("\n")
        text, _, expected = rest.partition(">>>\n")
        yield pytest.param(name, text, expected, id=title)


@pytest.mark.parametrize(("name", "text", "expected"), list(_explained()))
def test_rule_is_explained_as_in_the_fixture(name: str, text: str, expected: str) -> None:
    """An explanation says when a rule applies, is broken and is held, and lists exceptions, attributes and atoms."""
    (rule,) = _compiled(name, text)

    assert expected == explain(rule, ["user.id", "tenant.id"])


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(block, id=f"{path.stem}: {block.title}")
        for path in sorted((ROOT / "verdicts").glob("*.txt"))
        for block in verdict_blocks(path)
    ],
)
def test_all_exported_attributes_are_listed(block: Block) -> None:
    """Every attribute that a witness shows, and every atom, is listed in the explanation."""
    header = "// id: r\n" if block.text.startswith("when") else "// id: r\n// kind: pattern\n"
    compiled = _compiled("t.rules", header + block.text)
    rules, _ = build_rule_set([], compiled, [])

    explained = explain(compiled[0], [])

    named = re.search(r"the attributes that the rule names: (.*)", explained)
    spans = [span for line in block.outcomes for span in outcome(line)[2]]
    shown = {name for span in spans for atom in rules.hits(span) for name in atom.witness(span)}
    assert named is not None
    assert shown <= set(named[1].split(", "))
    keys = {
        each: (
            f" {atom.use.value} {', '.join(map(key_text, atom.keys))}".rstrip()
            if atom.keys or atom.use is not Use.COMPARED
            else ""
        )
        + (f" linked by {', '.join(link.value for link in atom.links)}" if atom.links else "")
        for each, atom in rules.atoms.items()
    }
    lines = {f"  {each.hex()} {atom.text}{keys[each]}" for each, atom in rules.atoms.items()}
    assert lines <= set(explained.splitlines())


def test_every_rule_of_the_library_is_explained_on_lines_of_its_own() -> None:
    """No part of an explanation is empty or has control characters."""
    explained = [explain(rule, ["user.id"]) for rule in load_compiled([_LIBRARY])]

    assert len(explained) > 60
    assert all(line == "" or line.strip() for text in explained for line in text.splitlines())
    assert all(line.isprintable() for text in explained for line in text.split("\n"))
