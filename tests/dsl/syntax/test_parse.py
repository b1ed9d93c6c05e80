"""Text to nodes; what is refused, and what it means, is in the text fixtures."""

from __future__ import annotations

import pytest

from dsl.syntax import nodes
from dsl.syntax.parse import parse_cond, parse_rule, unquote
from dsl.syntax.source import SourceText, source_file


def _passage(text: str) -> SourceText:
    return SourceText(source_file("t.rules", text), text, 1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a and (b and c) and d", [False, True, False]),
        ("(a and b)", [False, False]),
        ("a and ((b or c))", [False, True]),
        ("a and (b)", [False, False]),
    ],
)
def test_group_of_several_is_one_operand(text: str, said: list[bool]) -> None:
    """Parentheses around `and` or `or` survive; those around one subject or around the whole mean nothing."""
    form, _ = parse_rule(_passage(text))

    assert isinstance(form, nodes.AllOf)
    assert said == [isinstance(item, nodes.AllOf | nodes.AnyOf) for item in form.items]


def test_wheres_in_a_row_are_one() -> None:
    """Chained wheres of a subject and of a count are joined by `and`."""
    form, _ = parse_rule(_passage("count(a.where(x == 1)).where(y).where(z) > 1"))

    assert isinstance(form, nodes.CountComparison)
    assert isinstance(form.left, nodes.Count)
    assert isinstance(form.left.subject.where, nodes.AllOf)
    assert 3 == len(form.left.subject.where.items)


@pytest.mark.parametrize("text", ["a before b", "count(a) > 1", "trace.has(a)", "a.where(x)", "", "x ==", "(" * 500])
def test_condition_of_where_is_no_rule(text: str) -> None:
    """What stands inside where has no subjects; a text that is none gives no tree and at least one problem."""
    cond, found = parse_cond(_passage(text))

    assert cond is None
    assert found


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (r"'it\'s'", "it's"),
        (r'"\"\\\n\t"', '"\\\n\t'),
        (r'"\d\u00e9\u12"', "\\dé\\u12"),
        (r'"\ud83d\ude00"', "😀"),
        (r'"\ud800x"', "\N{REPLACEMENT CHARACTER}x"),
        (r'"\u0000"', "\0"),
    ],
)
def test_quoted_text_means_what_its_escapes_say(written: str, meant: str) -> None:
    """Six escapes are known, every other backslash stays; a lone surrogate is the replacement character."""
    assert meant == unquote(written)
