"""The identity of an atom does not depend on spelling or on the other rules of its set."""

from __future__ import annotations

import json

import pytest

from dsl import RuleSet, Span, compile_texts
from dsl.compile.review import judge_trace


def _rules(*conditions: str, **texts: str) -> RuleSet:
    rules = [
        {"id": f"r{number}", "kind": "pattern", "condition": condition} for number, condition in enumerate(conditions)
    ]
    rules[-1].update(texts)
    hits, _ = compile_texts({"t.yaml": json.dumps({"rules": rules})})
    return hits


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x == 5", "x == 5.0"),
        ("x > 1000", "x > 1e3"),
        ("x == 0", "x == -0.0"),
        ("x in [5, 6]", "x in [5.0, 60e-1]"),
        ("x contains 5", "x contains 5.0"),
        ("x == 18446744073709551616", "x == 18446744073709551616.0"),
        ("x == 10000000000000000000000", "x == 1e22"),
        ("span.duration > 1ns", "span.duration > 1e-9s"),
        ("span.duration > 1500us", "span.duration > 1.5ms"),
        ("span.duration == 0s", "span.duration == 0.0ms"),
        ("x == 'a'", "x == a"),
    ],
)
def test_values_that_are_equal_are_one_atom(one: str, other: str) -> None:
    """The fingerprint covers the value, not its notation."""
    left, right = _rules(f"a.where({one})"), _rules(f"a.where({other})")

    assert set(left.atoms) == set(right.atoms)
    assert left.rules[0].fingerprint == right.rules[0].fingerprint
    assert 1 == len(_rules(f"a.where({one})", f"a.where({other})").atoms)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x == 5", "x == '5'"),
        ("x == 5", "x == 5.5"),
        ("x == 10000000000000000", "x == 10000000000000001"),
        ("x == 36893488147419103233", "x == 36893488147419103232.0"),
        ("x == true", "x == 'true'"),
        ("span.duration > 1ns", "span.duration > 1us"),
    ],
)
def test_values_that_differ_are_two_atoms(one: str, other: str) -> None:
    """Unequal values, and values of different types, have different fingerprints."""
    assert 2 == len(_rules(f"a.where({one})", f"a.where({other})").atoms)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("pay.where(amount > 1000) and not pay.where(amount > 1000.0)", []),
        ("pay.where(amount == 5) and not pay.where(amount == 5.0)", []),
        ("pay.where(amount == 5.0) and pay.where(amount == 5)", ["r0"]),
    ],
)
def test_one_rule_that_spells_a_number_in_two_ways(condition: str, expected: list[str]) -> None:
    """Both subjects of the rule are hit by the same span."""
    rules = _rules(condition)

    hits = judge_trace(rules, [Span("pay", b"1", attributes={"amount": 5}, identity=b"1")])

    assert expected == [each.rule.id for each in hits if each.verdict.value == "broken"]


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
@pytest.mark.parametrize("other", ["pay", "count(pay) >= 1", "count(pay) >= 9", "not pay"])
def test_a_count_next_to_a_rule_in_another_zone(zone: str, other: str) -> None:
    """Two payments are counted whatever a later rule requires of payments, in any time zone."""
    rules = _rules("count(pay) >= 2", other, timezone=zone)

    hits = judge_trace(rules, [Span("pay", bytes([at]), identity=bytes([at])) for at in (1, 2)])

    assert "broken" in [each.verdict.value for each in hits if each.rule.id == "r0"]
    assert 2 <= next(atom.counted for atom in rules.atoms.values() if atom.text == "pay")


def test_only_subjects_that_read_the_time_depend_on_the_zone() -> None:
    """An hour in Berlin is not an hour in UTC; a payment is the same in both."""
    hits = _rules("pay and timestamp.hour >= 18", "pay and timestamp.hour >= 18", timezone="Europe/Berlin")

    assert ["pay", "timestamp.hour >= 18", "timestamp.hour >= 18"] == sorted(each.text for each in hits.atoms.values())
