"""What `check` finds in the tests of rule files."""

from __future__ import annotations

import json
from dataclasses import replace

from dsl.compile.compile import compile_files
from dsl.compile.review import as_rule_set, run_tests
from dsl.judge.ruleset import RuleSet
from dsl.syntax import source

_TEST = {"name": "twice", "spans": [{"name": "pay"}, {"name": "pay"}], "expect": "broken"}
_RULES = [
    {"id": "twice", "kind": "pattern", "condition": "count(pay) >= 2", "tests": [_TEST]},
    {
        "id": "late",
        "timezone": "Europe/Berlin",
        "condition": "when { pay } always { audit }",
        "enabled": False,
        "tests": [{**_TEST, "expect": "broken"}],
    },
]


def test_tests_are_judged_beside_the_other_rules() -> None:
    """A rule of another time zone that names the same subject changes nothing, enabled or not."""
    compiled, _ = compile_files(source.from_texts({"t.yaml": json.dumps({"rules": _RULES})})[0])

    found = [problem for rule in compiled for problem in run_tests(rule, as_rule_set(compiled))]

    assert [] == found


def test_rules_with_one_id_are_told_apart() -> None:
    """Two rules of one id are one problem, not a failed test as well."""
    tests = [{**_TEST, "expect": "held", "name": "two are not three"}]
    rules = [_RULES[0], {"id": "twice", "kind": "pattern", "condition": "count(pay) >= 3", "tests": tests}]
    compiled, _ = compile_files(source.from_texts({"t.yaml": json.dumps({"rules": rules})})[0])

    found = [problem for rule in compiled for problem in run_tests(rule, as_rule_set(compiled))]

    assert [] == found


def test_a_verdict_that_depends_on_other_rules_is_a_problem() -> None:
    """Where the whole set keeps too little for a count, the test says so although the rule alone is right."""
    [twice, _], _ = compile_files(source.from_texts({"t.yaml": json.dumps({"rules": _RULES})})[0])
    every = as_rule_set([twice])
    forgetful = RuleSet.of(every.rules, [replace(atom, counted=0) for atom in every.atoms.values()], {})

    [problem] = run_tests(twice, forgetful)

    message = "in test `twice` the verdict is broken of this rule alone, and held beside the other rules"
    assert ("E331", message) == (problem.code, problem.message)
