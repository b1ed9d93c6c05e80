"""What `check` reports about the tests of rule files."""

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
    """A rule in another time zone with the same subject changes nothing, enabled or not."""
    compiled, _ = compile_files(source.from_texts({"t.yaml": json.dumps({"rules": _RULES})})[0])

    reported = [problem for rule in compiled for problem in run_tests(rule, as_rule_set(compiled))]

    assert [] == reported


def test_rules_with_the_same_id_are_tested_separately() -> None:
    """Two rules with the same id are one problem, and no failed test."""
    tests = [{**_TEST, "expect": "held", "name": "two are not three"}, {**_TEST, "spans": 3 * [{"name": "pay"}]}]
    rules = [_RULES[0], {"id": "twice", "kind": "pattern", "condition": "count(pay) >= 3", "tests": tests}]
    compiled, _ = compile_files(source.from_texts({"t.yaml": json.dumps({"rules": rules})})[0])

    reported = [problem for rule in compiled for problem in run_tests(rule, as_rule_set(compiled))]

    assert [] == reported


def test_a_verdict_that_depends_on_other_rules_is_a_problem() -> None:
    """Where the whole set counts too few spans, the test reports it although the rule alone is right."""
    [twice, _], _ = compile_files(source.from_texts({"t.yaml": json.dumps({"rules": _RULES})})[0])
    all_rules = as_rule_set([twice])
    forgetful = RuleSet.of(all_rules.rules, [replace(atom, counted=0) for atom in all_rules.atoms.values()], {})

    [problem] = run_tests(twice, forgetful)

    message = "in test `twice` the verdict is broken for the rule alone, but held with the other rules"
    assert ("E331", message) == (problem.code, problem.message)
