"""The JSON Schema of YAML rule files takes what the program reads, and no key that it does not know."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

import dsl
from dsl.files.schema import rule_file_schema
from dsl.files.yaml_nodes import plain_value, read_yaml
from dsl.judge.span import Value
from dsl.syntax import source
from tests.support.documents import blocks
from tests.support.fixtures import ROOT, Block, problem_blocks

PACKAGE = Path(dsl.__file__).parent
LIBRARY = sorted((PACKAGE / "library").glob("*.yaml"))
SCHEMA = Draft202012Validator(rule_file_schema())


def yaml_blocks() -> Iterator[tuple[str, Block]]:
    """Every fixture that is a YAML file."""
    for path in sorted((ROOT / "problems").glob("*.txt")):
        for block in problem_blocks(path):
            if (block.setting("file") or "").endswith((".yaml", ".yml")):
                yield f"{path.stem}: {block.title}", block


def parsed(text: str) -> Value:
    """What is in a YAML file, typed as the program types it."""
    root, reported = read_yaml(source.source_file("t.yaml", text))
    assert ([], True) == (reported, root is not None)
    return None if root is None else plain_value(root)


def mistakes(text: str) -> list[str]:
    """What the schema has against the text of a file."""
    return [error.message for error in SCHEMA.iter_errors(parsed(text))]


def with_code(code: str) -> list[object]:
    """The fixtures that have a problem with this code."""
    return [
        pytest.param(block.text, id=name)
        for name, block in yaml_blocks()
        if any(line.startswith(code) for line in block.outcomes)
    ]


def loading() -> list[object]:
    """The fixtures that load."""
    return [
        pytest.param(block.text, id=name)
        for name, block in yaml_blocks()
        if "rules:" in block.text.splitlines() and not any(line.startswith("E") for line in block.outcomes)
    ]


def test_schema_is_one() -> None:
    """The schema itself is valid."""
    Draft202012Validator.check_schema(rule_file_schema())


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: path.stem)
def test_library_is_valid(path: Path) -> None:
    """Every file of the library is valid."""
    assert [] == mistakes(path.read_text(encoding="utf-8"))


def test_example_of_the_readme_is_valid() -> None:
    """The example that has every key is valid."""
    [text] = blocks((PACKAGE / "README.md").read_text(encoding="utf-8"), "yaml")

    assert [] == mistakes(text)


@pytest.mark.parametrize("text", loading())
def test_what_loads_is_valid(text: str) -> None:
    """A fixture that loads is valid."""
    assert [] == mistakes(text)


@pytest.mark.parametrize("text", with_code("E322"))
def test_unknown_key_is_a_mistake(text: str) -> None:
    """A fixture with an unknown key is not valid."""
    assert mistakes(text)


@pytest.mark.parametrize("text", [*with_code("E308"), *with_code("E324")])
def test_wrong_value_and_missing_key_are_mistakes(text: str) -> None:
    """So is one with a value that a key cannot have, or without a key that it needs."""
    assert mistakes(text)
