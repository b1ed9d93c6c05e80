"""What is said to somebody who nearly wrote a rule: every line of tests/fixtures/dsl/meant.txt is a test."""

from __future__ import annotations

import pytest

from dsl import RulesError, compile_texts
from tests.dsl.fixtures import ROOT

_PAIRS = [
    [side.strip() for side in line.split(" => ")]
    for line in (ROOT / "meant.txt").read_text(encoding="utf-8").splitlines()
]


@pytest.mark.parametrize(("written", "advice"), _PAIRS)
def test_slip_of_the_pen_is_told_from_what_was_meant(written: str, advice: str) -> None:
    """Words of the language, built-in values and known attributes that are nearly right are named."""
    header = "// id: r\n" if "{" in written else "// id: r\n// kind: pattern\n"

    try:
        _, found = compile_texts({"t.rules": header + written})
    except RulesError as error:
        found = error.problems

    assert advice == found[0].help


@pytest.mark.parametrize(
    ("name", "text", "advice"),
    [
        ("t.rules", "// id: r\n// kind: pattern\n// severty: low\na", "did you mean `severity`?"),
        ("t.rules", "// id: r\n// kind: patern\na", "did you mean `pattern`?"),
        ("t.rules", "// signal: R (high)\n// id: r\n// kind: pattern\na", "did you mean `Signal: NAME (severity)`?"),
        ("t.yaml", "rules: [{id: r, kind: pattern, condition: a, tets: []}]", "did you mean `tests`?"),
        ("t.yaml", "rules: [{id: r, kind: pattern, condition: a, severity: hihg}]", "did you mean `high`?"),
        (
            "t.yaml",
            "rules: [{id: r, kind: pattern, condition: a, exceptions: [{where: a, expirse: 2099-01-01}]}]",
            "did you mean `expires`?",
        ),
        ("t.yaml", "rulez: []", "did you mean `rules`?"),
    ],
)
def test_key_that_is_nearly_right_is_named(name: str, text: str, advice: str) -> None:
    """So are keys, and the values of those that have a closed set."""
    try:
        _, found = compile_texts({name: text})
    except RulesError as error:
        found = error.problems

    assert advice == found[0].help
