"""YAML as rule files read it."""

from __future__ import annotations

import math

import pytest

from dsl.files.yaml_nodes import YamlMapping, YamlScalar, plain_value, read_yaml, source_text
from dsl.judge.span import Value
from dsl.syntax.nodes import TextRange
from dsl.syntax.source import source_file


def _value(text: str) -> Value:
    node, reported = read_yaml(source_file("t.yaml", text))
    assert node is not None, reported
    return plain_value(node)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("NO", "NO"),
        ("yes", "yes"),
        ("on", "on"),
        ("2027-01-31", "2027-01-31"),
        ("12:30:45", "12:30:45"),
        ("0x1F", 31),
        ("0o17", 15),
        ("0x1G", "0x1G"),
        ("0b1", "0b1"),
        ("1_000", "1_000"),
        ("", None),
        ("~", None),
        ("null", None),
        ("True", True),
        ("false", False),
        ("'true'", "true"),
        ("012", 12),
        ("-7", -7),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("-.inf", -math.inf),
        ("9" * 5000, math.inf),
        ('"\\ud800"', "\ufffd"),
        ('"\\ud83d\\ude00"', "\N{GRINNING FACE}"),
        ('"\\ude00\\ud83d"', "\ufffd\ufffd"),
    ],
)
def test_scalars_follow_the_core_schema(text: str, value: Value) -> None:
    """A plain scalar is what YAML 1.2 defines, and text where YAML 1.1 differs."""
    assert {"x": value} == _value(f"x: {text}")


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [("rules: []\n# \x07", 2, 3), ("a: b\0", 1, 5), ('a: b\nc: "d\\U00110000"', 2, 6)],
)
def test_character_that_yaml_does_not_allow_is_located(text: str, line: int, column: int) -> None:
    """A control character, or an escape beyond the last character, is reported at its location."""
    _, [problem] = read_yaml(source_file("t.yaml", text))

    assert ("E320", line, column) == (problem.code, problem.location.line, problem.location.column)


def test_collections_are_lists_and_mappings() -> None:
    """Block and flow style read the same."""
    assert {"a": [1, {"b": "c"}], "d": []} == _value("a:\n  - 1\n  - b: c\nd: []")


@pytest.mark.parametrize(("depth", "codes"), [(99, []), (150, ["E108"]), (100_000, ["E108"])])
def test_nesting_is_limited(depth: int, codes: list[str]) -> None:
    """Lists nested too deep are rejected before they cost stack or time."""
    _, reported = read_yaml(source_file("t.yaml", "x: " + "[" * depth + "]" * depth))

    assert codes == [problem.code for problem in reported]


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("x: find me", 1, 9),
        ("x:   'find me'", 1, 12),
        ('x: "find me"', 1, 10),
        ("x: |\n    find\n      a me", 3, 9),
        ("x: |2-\n    find me", 2, 10),
        ("x: |\n\n  find\n\n  me", 5, 3),
        ("x: >\n  find\n  me", 1, 4),
        ("x: find\n   me", 1, 4),
        ('x: "\\u0066ind me"', 1, 4),
    ],
)
def test_source_text_locates_its_words(text: str, line: int, column: int) -> None:
    """A word of a text is located where the file writes it, or else at the start of the text."""
    file = source_file("t.yaml", text)
    node, _ = read_yaml(file)
    assert isinstance(node, YamlMapping)
    scalar = node.entries["x"].node
    assert isinstance(scalar, YamlScalar)
    source = source_text(file, scalar)
    start = source.text.index("me")

    location = source.spot(TextRange(start, start + 2)).location

    assert (line, column) == (location.line, location.column)
