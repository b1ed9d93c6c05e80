"""Suggestions for near misses: every line of tests/fixtures/dsl/suggestions.txt is a test."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from lark import Token

from dsl import RulesError, compile_texts
from dsl.check.semconv import nearest_name
from dsl.files.fields import HEADER_KEYS
from dsl.files.spans import KEYS as SPAN_KEYS
from dsl.files.yaml_reader import EXCEPTION_KEYS
from dsl.files.yaml_rules import EXAMPLE_KEYS, RULE_KEYS, TEST_KEYS
from dsl.judge.builtin import BUILTINS
from dsl.judge.predicate import _CHECKS
from dsl.syntax.suggestions import RESERVED, advice
from tests.support.fixtures import ROOT

_LINE = re.compile(r"(?:(t\.\w+): )?(.*\S) +=> (.*)")
_OPERATOR_WORDS = sorted(name for name in (*_CHECKS, "exists") if len(name) > len("in"))


def _suggestions() -> Iterator[object]:
    for line in (ROOT / "suggestions.txt").read_text(encoding="utf-8").splitlines():
        name, written, expected = (_LINE.fullmatch(line) or pytest.fail(line)).groups()
        header = "// id: r\n" if "{" in written else "// id: r\n// kind: pattern\n"
        text = header + written if name is None else written.replace("\\n", "\n")
        yield pytest.param(name or "t.rules", text, expected, id=line)


def _helps(name: str, text: str) -> list[str]:
    """The help lines of all problems of a file."""
    try:
        _, reported = compile_texts({name: text})
    except RulesError as error:
        reported = error.problems
    return [problem.help for problem in reported]


@pytest.mark.parametrize(("name", "text", "expected"), list(_suggestions()))
def test_near_misses_get_a_suggestion(name: str, text: str, expected: str) -> None:
    """Misspelt words, signs, keys, built-in values and known attributes get a suggestion first."""
    assert expected == _helps(name, text)[0]


@pytest.mark.parametrize(
    ("written", "suggested", "corrected"),
    [
        ("each a has b with same k and different l", "with same k, different l", "each a has b {}"),
        ("each a has b with j == k and same l", "with j == k, same l", "each a has b {}"),
        ("each a has b with k == 5", "each A.where(k == 5) has B", "{}"),
        ("each (a) has b", "each a", "{} has b"),
        ("each (a.where(x == 1)) has b", "each a", "{}.where(x == 1) has b"),
        ("each a has own (b)", "own b", "each a has {}"),
        ("each a has b after without (c) between", "without c", "each a has b after {} between"),
        ("each (x == 1 and y == 2) has c", "each A.where(x == 1 and y == 2) has B", "{}"),
        ('trace.duration > "5s"', "trace.duration > 10s", "{}"),
        ('count(a) > "3"', "a number", "count(a) > 3"),
        ("a within 10m", "each a has … within 10m", "each a has b within 10m"),
        ("each a has b within", "each A has B within 10m", "{}"),
        ("each a has b within 10", "a duration such as 10m", "each a has b within 10m"),
        ("each a has b with x < y", "with a == b", "each a has b {}"),
        ("each a has b without c between", "each a has b before without c between", "{}"),
    ],
)
def test_what_is_suggested_compiles(written: str, suggested: str, corrected: str) -> None:
    """Whoever follows the advice of an error has a rule without errors."""
    [helps] = _helps("t.rules", f"// id: r\n// kind: pattern\n{written}")

    compile_texts({"t.rules": f"// id: r\n// kind: pattern\n{corrected.format(suggested)}"})

    assert suggested in helps


@pytest.mark.parametrize(
    "written",
    [
        "when { deploy } always { approval.where(user.id == deploy.user.id) }",
        "when { deploy } always { approval.where(by != deploy.user.id) }",
        "when { deploy } always { approval.where(by in [deploy.by]) }",
        "when { deploy } always { user.id == deploy.user.id and amount == deploy.price }",
        'when { deploy } always { trace.has("own").where(by == deploy.by) }',
        'when { a } always { each a has b with k == "x" }',
        'when { a } always { each a.where(y or z) that has c with k != "x", same l has own b before }',
        'when { a } always { each (k == 1) has (j == 1) with "x y" == l }',
        "when { a } never { b after a }",
        "when { a } always { max(a, x) > 1 }",
    ],
)
def test_what_a_warning_suggests_compiles(written: str) -> None:
    """The form in the advice of a warning has no errors, and no such warning any more."""
    rule = "// id: r\nwhen {{ x }} always {{ {} }}"
    _, reported = compile_texts({"t.rules": f"// id: r\n{written}"})

    assert reported
    for problem in reported:
        suggested = re.findall(r"(?<=write )`?(not .*|some .*|each [^`]*)", problem.help)
        _, left = compile_texts({"t.rules": rule.format(*suggested)})
        assert problem.code not in {each.code for each in left}


@pytest.mark.parametrize("key", HEADER_KEYS)
def test_misspelt_key_of_a_header_gets_a_suggestion(key: str) -> None:
    """Every key of a header is recognised with one letter too many."""
    assert f"did you mean `{key}:`?" in _helps("t.rules", f'// "T"\n// {key}s: x\na and b')


def _yaml(rule: str = "", exception: str = "where: a", test: str = "spans: [], expect: held", span: str = "") -> str:
    tests = f"tests: [{{{test}}}, {{spans: [{{name: a, {span}}}], expect: broken}}]"
    return f"rules: [{{id: r, kind: pattern, condition: a, exceptions: [{{{exception}}}], {tests}, {rule}}}]"


@pytest.mark.parametrize(
    ("key", "text"),
    [
        *((key, _yaml(rule=f"{key}x: 1")) for key in RULE_KEYS),
        *((key, _yaml(exception=f"{key}x: 1")) for key in EXCEPTION_KEYS),
        *((key, _yaml(test=f"{key}x: 1")) for key in TEST_KEYS),
        *((key, _yaml(rule=f"example_violation: {{{key}x: 1}}")) for key in EXAMPLE_KEYS),
        *((key, _yaml(span=f"{key}x: 1")) for key in SPAN_KEYS),
    ],
)
def test_misspelt_key_of_yaml_gets_a_suggestion(key: str, text: str) -> None:
    """Every key of a rule, an exception, a test, an example and a span is recognised with one letter too many."""
    assert f"did you mean `{key}`?" in _helps("t.yaml", text)


@pytest.mark.parametrize("operator", _OPERATOR_WORDS)
def test_misspelt_operator_gets_a_suggestion(operator: str) -> None:
    """Every operator that is a word is recognised with one letter missing."""
    written = operator.replace(" ", "_")[:-1]

    [helps] = _helps("t.rules", f"// id: r\n// kind: pattern\na.where(x {written} y)")

    assert "did you mean `" in helps


@pytest.mark.parametrize("name", sorted(name for name in BUILTINS if "." in name))
def test_misspelt_built_in_name_is_recognised(name: str) -> None:
    """Every built-in name is recognised with one letter too many."""
    assert name == nearest_name(f"{name}z")


def test_advice_never_quotes_a_name_longer_than_a_line() -> None:
    """A name of thousands of letters is not quoted."""
    previous, word = Token("NAME", "a" * 5000 + ".before"), Token("LPAR", "(")

    helps = advice(word, [previous], frozenset({"AND", "OR"}))

    assert "expected and, or" == helps


def test_a_keyword_in_place_of_a_name_is_explained() -> None:
    """A keyword in place of a name is reported as one."""
    helps = {word: _helps("t.rules", f"// id: r\n// kind: pattern\ntrace.has({word})")[0] for word in RESERVED}

    assert "write `exists` after the name: x exists" == helps.pop("exists")
    assert {word: f'`{word}` is a keyword; for a name, write "{word}"' for word in helps} == helps
