"""What is said to somebody who nearly wrote a rule: every line of tests/fixtures/dsl/meant.txt is a test."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from lark import Token

from dsl import RulesError, compile_texts
from dsl.check.semconv import nearest_name
from dsl.files.fields import HEADER_KEYS
from dsl.files.spans import KEYS as SPAN_KEYS
from dsl.files.yaml_rules import _EXAMPLE_KEYS, _EXCEPTION_KEYS, _RULE_KEYS, _TEST_KEYS
from dsl.judge.builtin import BUILTINS
from dsl.judge.predicate import _CHECKS
from dsl.syntax.suggestions import RESERVED, advice
from tests.support.fixtures import ROOT

_LINE = re.compile(r"(?:(t\.\w+): )?(.*\S) +=> (.*)")
_OPERATOR_WORDS = sorted(name for name in (*_CHECKS, "exists") if len(name) > len("in"))


def _said() -> Iterator[object]:
    for line in (ROOT / "suggestions.txt").read_text(encoding="utf-8").splitlines():
        name, written, meant = (_LINE.fullmatch(line) or pytest.fail(line)).groups()
        header = "// id: r\n" if "{" in written else "// id: r\n// kind: pattern\n"
        text = header + written if name is None else written.replace("\\n", "\n")
        yield pytest.param(name or "t.rules", text, meant, id=line)


def _helps(name: str, text: str) -> list[str]:
    """The help lines of all problems of a file."""
    try:
        _, found = compile_texts({name: text})
    except RulesError as error:
        found = error.problems
    return [problem.help for problem in found]


@pytest.mark.parametrize(("name", "text", "meant"), list(_said()))
def test_slip_of_the_pen_is_told_from_what_was_meant(name: str, text: str, meant: str) -> None:
    """Words, signs, keys, built-in values and known attributes that are nearly right are named first."""
    assert meant == _helps(name, text)[0]


@pytest.mark.parametrize("key", HEADER_KEYS)
def test_key_of_a_header_with_a_letter_too_many_is_told(key: str) -> None:
    """Every key that a header takes is recognised behind a slip."""
    assert f"did you mean `{key}:`?" in _helps("t.rules", f'// "T"\n// {key}s: x\na and b')


def _yaml(rule: str = "", exception: str = "where: a", test: str = "spans: [], expect: held", span: str = "") -> str:
    tests = f"tests: [{{{test}}}, {{spans: [{{name: a, {span}}}], expect: broken}}]"
    return f"rules: [{{id: r, kind: pattern, condition: a, exceptions: [{{{exception}}}], {tests}, {rule}}}]"


@pytest.mark.parametrize(
    ("key", "text"),
    [
        *((key, _yaml(rule=f"{key}x: 1")) for key in _RULE_KEYS),
        *((key, _yaml(exception=f"{key}x: 1")) for key in _EXCEPTION_KEYS),
        *((key, _yaml(test=f"{key}x: 1")) for key in _TEST_KEYS),
        *((key, _yaml(rule=f"example_violation: {{{key}x: 1}}")) for key in _EXAMPLE_KEYS),
        *((key, _yaml(span=f"{key}x: 1")) for key in SPAN_KEYS),
    ],
)
def test_key_of_yaml_with_a_letter_too_many_is_told(key: str, text: str) -> None:
    """Every key of a rule, an exception, a test, an example and a span is recognised behind a slip."""
    assert f"did you mean `{key}`?" in _helps("t.yaml", text)


@pytest.mark.parametrize("operator", _OPERATOR_WORDS)
def test_operator_with_a_letter_too_few_is_told(operator: str) -> None:
    """Every operator that is a word is recognised behind a slip."""
    written = operator.replace(" ", "_")[:-1]

    [told] = _helps("t.rules", f"// id: r\n// kind: pattern\na.where(x {written} y)")

    assert "did you mean `" in told


@pytest.mark.parametrize("name", sorted(name for name in BUILTINS if "." in name))
def test_built_in_name_with_a_letter_too_many_is_told(name: str) -> None:
    """Every built-in name is recognised behind a slip."""
    assert name == nearest_name(f"{name}z")


def test_advice_never_repeats_what_fits_on_no_line() -> None:
    """A name of thousands of letters is not said back."""
    previous, word = Token("NAME", "a" * 5000 + ".before"), Token("LPAR", "(")

    told = advice(word, [previous], frozenset({"AND", "OR"}))

    assert "expected and, or" == told


def test_words_of_the_language_are_never_advised_against_themselves() -> None:
    """A word of the language in a place for names is said to be one."""
    told = {word: _helps("t.rules", f"// id: r\n// kind: pattern\ntrace.has({word})")[0] for word in RESERVED}

    assert "write `exists` behind the name: x exists" == told.pop("exists")
    assert {word: f'`{word}` is a word of the language; to mean a name, write "{word}"' for word in told} == told
