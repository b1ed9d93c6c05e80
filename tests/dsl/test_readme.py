"""What the language's README says is what happens: its examples are run, its tables are the code's.

A block's language says what it is: `console` is commands with their output, `verdicts` is a rule and the verdicts of
traces as in `tests.support.fixtures`, `yaml` and `rules` are whole files, `python` is one session of doctest.
"""

from __future__ import annotations

import doctest
import json
import re
import subprocess
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

import dsl
from dsl import Kind, Mode, RuleSeverity, Verdict, compile_texts, problems
from dsl.check.check import MAX_SUBJECTS
from dsl.check.pairs import MAX_KEYS
from dsl.compile.review import judge_trace, review
from dsl.files import yaml_rules
from dsl.files.fields import HEADER_KEYS
from dsl.files.spans import KEYS
from dsl.judge import predicate
from dsl.judge.atoms import MAX_COUNTED
from dsl.judge.builtin import BUILTINS, CLOSED_SETS
from dsl.show import render_text
from dsl.syntax.suggestions import RESERVED
from dsl.syntax.tokens import MAX_BYTES, MAX_NESTING
from tests.support.documents import blocks, dialogues, environment
from tests.support.fixtures import outcome

_PATH = Path(dsl.__file__).with_name("README.md")
_README = _PATH.read_text(encoding="utf-8")
_PROSE = " ".join(_README.split())
_VERDICT = re.compile(r"(cut )?(broken|held|undetermined|not_applicable|yes|no) ")


def _rows(heading: str) -> list[list[str]]:
    """The cells of the one table whose first column has this heading."""
    [table] = re.findall(rf"^\| {heading} \|.*\n\| ---.*\n((?:\|.*\n?)+)", _README, re.MULTILINE)
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in table.splitlines()]


def _named(cell: str) -> list[str]:
    """The code spans in a cell."""
    return re.findall(r"`([^`]+)`", cell)


def _first_column(heading: str) -> set[str]:
    return {name for row in _rows(heading) for name in _named(row[0])}


def test_every_block_is_of_a_kind_that_is_run() -> None:
    """Every example is executed."""
    languages = re.findall(r"^```(\S+)$", _README, re.MULTILINE)

    assert {"console", "verdicts", "yaml", "rules", "python"} == set(languages)
    assert 2 * len(languages) == len(re.findall(r"^```", _README, re.MULTILINE))


def test_console_blocks_print_what_they_show(tmp_path: Path) -> None:
    """Every command of a console block prints exactly the lines below it."""
    listed = dialogues(_README)

    done = [
        subprocess.run(
            command, shell=True, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
        ).stdout
        for command, _ in listed
    ]

    assert len(listed) >= 8
    assert [output for _, output in listed] == done


def test_python_session_prints_what_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Python blocks, one after the other, work on the files of the first rule."""
    for command, _ in dialogues(_README)[:3]:
        if command.startswith("cat >"):
            subprocess.run(command, shell=True, cwd=tmp_path, check=True)
    monkeypatch.chdir(tmp_path)
    session = "\n".join(blocks(_README, "python"))
    example = doctest.DocTestParser().get_doctest(session, {}, "README", str(_PATH), 0)
    told: list[str] = []

    results = doctest.DocTestRunner().run(example, out=told.append)

    assert results.attempted > 5
    assert "" == "".join(told)


def _verdict_lines() -> Iterator[object]:
    """The rule of each verdicts block as YAML, with each line below it."""
    for block in blocks(_README, "verdicts"):
        lines = block.splitlines()
        first = next(index for index, line in enumerate(lines) if _VERDICT.match(line))
        settings = [line for line in lines[:first] if line.startswith("@")]
        text = "\n".join(lines[len(settings) : first])
        rule = {"id": "r", "condition": text} | ({} if text.startswith("when") else {"kind": "pattern"})
        rule |= dict(setting.removeprefix("@").split() for setting in settings)
        for line in lines[first:]:
            yield pytest.param(json.dumps({"rules": [rule]}), line, id=f"{text}: {line}")


@pytest.mark.parametrize(("rule", "line"), list(_verdict_lines()))
def test_traces_get_the_verdicts_shown(rule: str, line: str) -> None:
    """Each line below a rule is the verdict that it gives that trace."""
    is_whole, expected, spans = outcome(line)
    rules, reported = compile_texts({"r.yaml": rule})

    judgements = judge_trace(rules, spans, whole=is_whole)

    # A rule with `above` or `below` is about every trace, of which the page itself warns.
    assert [] == [problem for problem in reported if problem.code != "W408"]
    [actual] = [each.verdict.value for each in judgements] or ["not_applicable"]
    is_true = "yes" if actual == "broken" else "no"
    assert expected == (is_true if expected in {"yes", "no"} else actual)


def test_yaml_files_have_no_problem(tmp_path: Path) -> None:
    """The YAML file loads without problems, and its tests pass."""
    [text] = blocks(_README, "yaml")
    (tmp_path / "r.yaml").write_text(text, encoding="utf-8")

    assert "" == render_text(review([tmp_path], date(2026, 11, 21)))


def test_rule_files_load_as_the_text_says() -> None:
    """The rule file loads without problems; a title makes an invariant, a Signal line a pattern."""
    [text] = blocks(_README, "rules")

    rules, reported = compile_texts({"r.rules": text})

    assert [] == reported
    assert [
        ("DATA_ACCESS_WITHOUT_CHECK", Kind.PATTERN, ("SOC2/CC6.1", "ISO27001/A.8.2")),
        ("contractors-work-by-day", Kind.CONDITIONAL, ()),
        ("soc2-cc6-7-pii-access-must-be-logged", Kind.INVARIANT, ("SOC2/CC6.7",)),
    ] == [(rule.id, rule.kind, rule.controls) for rule in rules.rules]


def test_problem_codes_are_those_of_the_code() -> None:
    """The table has every code that `check` can say, in order, and no other."""
    wording = Path(problems.__file__).read_text(encoding="utf-8")
    codes = set(re.findall(r'_(?:error|warning)\(\s*"([EW]\d+)"', wording))

    assert sorted(codes) == [row[0] for row in _rows("code")]


def test_verdicts_and_kinds_are_those_of_the_code() -> None:
    """The tables of verdicts and kinds are complete."""
    assert {each.value for each in Verdict} == _first_column("verdict")
    assert {each.value for each in Kind} == _first_column("kind")


def test_operators_are_those_of_the_code() -> None:
    """The table of operators is complete."""
    assert {*predicate._CHECKS, "exists"} == _first_column("operator")


def test_built_in_names_are_those_of_the_code() -> None:
    """The table of built-in names is complete, and says which values the closed ones have."""
    rows = {name: row[1] for row in _rows("name") for name in _named(row[0])}

    assert set(BUILTINS) == set(rows)
    assert {name: list(values) for name, values in CLOSED_SETS.items()} == {
        name: _named(rows[name]) for name in CLOSED_SETS
    }


def test_keys_are_those_of_the_code() -> None:
    """The table of keys is complete, says which a header takes, and which values the closed ones have."""
    rows = {name: row for row in _rows("key") for name in _named(row[0])}

    assert set(yaml_rules.RULE_KEYS) == {*rows, "name", "compliance_frameworks"}
    assert set(HEADER_KEYS) == {key for key, row in rows.items() if row[3] == "yes"}
    assert [each.value for each in RuleSeverity] == _named(rows["severity"][1])[:-1]
    assert [each.value for each in Mode] == _named(rows["mode"][1])


def test_keys_of_a_span_are_those_of_the_code() -> None:
    """The list of the keys of a span is complete."""
    [listed] = re.findall(r"Spans have (.*?)\. Only `name`", _PROSE)

    assert set(KEYS) == set(_named(listed)) - {"body", "severity", "time"}


def test_reserved_words_are_those_of_the_code() -> None:
    """The list of keywords is complete."""
    [listed] = re.findall(r"These \*\*keywords\*\* need quotes to be names: (.*?)\. ", _PROSE)

    assert set(RESERVED) == set(_named(listed))


def test_limits_are_those_of_the_code() -> None:
    """The limits in the text are those that are enforced."""
    keys = f"{MAX_KEYS} join keys in each pair"
    assert f"{MAX_BYTES // 1024} KiB, {MAX_SUBJECTS} subjects, {keys}, and {MAX_NESTING} levels" in _PROSE
    assert f"{MAX_COUNTED:,} at most" in _PROSE
