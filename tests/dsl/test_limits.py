"""Inputs that cost other languages minutes, or their stack."""

from __future__ import annotations

import contextlib

import pytest

from dsl import RulesError, RuleSet, Span, compile_texts
from dsl.syntax.tokens import MAX_BYTES, MAX_NESTING
from tests.support.growth import LINEAR, growth

_HEADER = "// id: r\n// kind: pattern\n"


def _compiled(condition: str) -> RuleSet:
    rules, _ = compile_texts({"t.rules": _HEADER + condition})
    return rules


@pytest.mark.parametrize("unit", ["(", "not ", ".where(a==1)"])
def test_time_to_refuse_one_word_grows_with_the_text(unit: str) -> None:
    """A rule of maximum size that repeats one word is rejected, with one problem."""

    def refuse(size: int) -> None:
        with pytest.raises(RulesError) as raised:
            _compiled(("a" + unit * size)[:size])
        assert 1 == len(raised.value.problems)

    assert LINEAR > growth(lambda: refuse(MAX_BYTES // 4), lambda: refuse(MAX_BYTES))


def test_time_to_compile_wheres_grows_with_the_text() -> None:
    """Thousands of wheres on one subject are one valid atom."""
    where = ".where(a==1)"

    def compiled(size: int) -> RuleSet:
        return _compiled("a" + where * ((size - 1) // len(where)))

    assert LINEAR > growth(lambda: compiled(MAX_BYTES // 4), lambda: compiled(MAX_BYTES))
    assert 1 == len(compiled(MAX_BYTES).hits(Span("a", attributes={"a": 1})))


_LARGE_BYTES = 200_000


@pytest.mark.parametrize(
    ("name", "start", "unit"),
    [
        ("t.yaml", "rules: []\n", "# comment\n"),
        ("t.yaml", "rules: []\n", "\n"),
        ("t.yaml", "rules: ", "["),
        ("t.yaml", "rules: ", "{a: "),
        ("t.yaml", "rules:\n", "- "),
        ("t.yaml", "", "? "),
        ("t.yaml", "rules: ", "words "),
        ("t.yaml", "rules: '", "''"),
        ("t.yaml", "rules:\n- id: r\n  kind: pattern\n  condition: |\n", "    // comment\n"),
        ("t.rules", '// "T"\na and b\n', "// comment\n"),
        ("t.rules", '// "T"\n', "// severty: low\n"),
        ("t.rules", '// "T"\n// key', " "),
        ("t.rules", '// "T"\n// Signal: ', "("),
        ("t.rules", "", "// signal (\n"),
        ("t.rules", "", "\n"),
    ],
)
def test_time_to_read_a_file_grows_with_its_size(name: str, start: str, unit: str) -> None:
    """Reading a file that repeats one thing takes time linear in its size."""

    def read(size: int) -> None:
        with contextlib.suppress(RulesError):
            compile_texts({name: start + unit * (size // len(unit))})

    assert LINEAR > growth(lambda: read(_LARGE_BYTES // 4), lambda: read(_LARGE_BYTES))


@pytest.mark.parametrize(("opening", "closing", "deepest"), [("(", ")", 100), ("not ", "", 100), ("not (", ")", 50)])
def test_nesting_ends_at_100(opening: str, closing: str, deepest: int) -> None:
    """Nesting of 100 levels is accepted; one more, or 10,000, is rejected."""
    rules = _compiled(opening * deepest + "a" + closing * deepest)

    assert 1 == len(rules.rules)
    for depth in (MAX_NESTING + 1, 10_000):
        with pytest.raises(RulesError) as raised:
            _compiled(opening * depth + "a" + closing * depth)
        assert ["E108"] == [problem.code for problem in raised.value.problems]


@pytest.mark.parametrize(
    "pattern", ["(a+)+$", "(a|a)*$", "(a|aa)+$", "(.*)*x", "^(([a-z])+.)+[A-Z]$", "(a?){50}a{50}$"]
)
def test_evil_pattern_takes_time_linear_in_the_text(pattern: str) -> None:
    """Patterns that make backtracking exponential take time linear in the text."""
    rules = _compiled(f'a.where(x matches "{pattern}")')
    short, long = (Span("a", attributes={"x": "a" * size + "!"}) for size in (50_000, 200_000))

    assert LINEAR > growth(lambda: rules.hits(short), lambda: rules.hits(long))


@pytest.mark.parametrize("pattern", ["((a{100}){100}){100}", r"(\\pL{500}){2}"])
def test_pattern_that_would_fill_memory_is_refused(pattern: str) -> None:
    """A pattern whose automaton is too large is reported when the rule is loaded."""
    with pytest.raises(RulesError) as raised:
        _compiled(f'a.where(x matches "{pattern}")')

    assert ["E205"] == [problem.code for problem in raised.value.problems]
