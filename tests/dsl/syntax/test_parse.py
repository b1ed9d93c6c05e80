"""Text to nodes; the text fixtures cover rejected texts and meanings."""

from __future__ import annotations

import pytest

from dsl.syntax import nodes
from dsl.syntax.parse import parse_cond, parse_rule, unquote
from dsl.syntax.source import SourceText, source_file


def _source(text: str) -> SourceText:
    return SourceText(file=source_file("t.rules", text), text=text, line=1)


@pytest.mark.parametrize(
    ("text", "grouped"),
    [
        ("a and (b and c) and d", [False, True, False]),
        ("(a and b)", [False, False]),
        ("a and ((b or c))", [False, True]),
        ("a and (b)", [False, False]),
    ],
)
def test_group_of_several_is_one_operand(text: str, grouped: list[bool]) -> None:
    """Parentheses around `and` or `or` are kept; those around one subject or the whole rule are not."""
    body, _ = parse_rule(_source(text))

    assert isinstance(body, nodes.AllOf)
    assert grouped == [isinstance(item, nodes.AllOf | nodes.AnyOf) for item in body.items]


def test_wheres_in_a_row_are_one() -> None:
    """Chained wheres of a subject and of a count are joined by `and`."""
    body, _ = parse_rule(_source("count(a.where(x == 1)).where(y).where(z) > 1"))

    assert isinstance(body, nodes.CountComparison)
    assert isinstance(body.left, nodes.Count)
    assert isinstance(body.left.subject.where, nodes.AllOf)
    assert 3 == len(body.left.subject.where.items)


@pytest.mark.parametrize("text", ["a before b", "count(a) > 1", "trace.has(a)", "a.where(x)", "", "x ==", "(" * 500])
def test_condition_of_where_is_no_rule(text: str) -> None:
    """A condition in a where has no subjects; an invalid one gives no tree and at least one problem."""
    cond, reported = parse_cond(_source(text))

    assert cond is None
    assert reported


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (r"'it\'s'", "it's"),
        (r'"\"\\\n\t"', '"\\\n\t'),
        (r'"\d\u00e9\u12"', "\\dé\\u12"),
        (r'"\ud83d\ude00"', "😀"),
        (r'"\ud800x"', "\N{REPLACEMENT CHARACTER}x"),
        (r'"\u0000"', "\0"),
    ],
)
def test_quoted_text_is_unescaped(written: str, expected: str) -> None:
    """Six escapes are recognised, other backslashes are kept, and a lone surrogate becomes U+FFFD."""
    assert expected == unquote(written)
