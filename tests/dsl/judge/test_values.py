"""Values that no collector should send, but some do."""

from __future__ import annotations

import math

import pytest

from dsl import RuleSet, Span, Value, compile_texts

_OPERATORS = (
    *(
        "== 1",
        '== "1"',
        "== true",
        "!= 1",
        "< 1",
        ">= 1.5",
        "in [1, a, true]",
        "not in [1]",
        "contains a",
        "contains 1",
    ),
    *(
        'matches "a"',
        "starts_with a",
        'ends_with ["a", "b"]',
        'in_cidr "10.0.0.0/8"',
        "== $y",
        "!= $y",
        "< $y",
        "in $y",
    ),
    *("not in $y", "exists"),
)


def _nested(depth: int) -> Value:
    value: Value = "x"
    for index in range(depth):
        value = [value] if index % 2 else {"k": value}
    return value


_TEXTS: list[Value] = ["\ud800", "9" * 5000, "\0", "é" * 100_000, ""]
_NUMBERS: list[Value] = [10**5000, -(10**400), 2**63, math.inf, -math.inf, math.nan, -0.0]
_OTHERS: list[Value] = [True, b"\xff", _nested(1000), [math.nan], [None], [[]], {}, {"\ud800": "\ud800"}]
_HOSTILE: list[Value] = [*_TEXTS, *_NUMBERS, *_OTHERS, [10**5000, "\udfff"]]


def _rules() -> RuleSet:
    wheres = [f"x {operator}" for operator in _OPERATORS] + ["x", "not x"]
    text = "\n".join(f"// id: r{index}\n// kind: pattern\na.where({where})\n" for index, where in enumerate(wheres))
    rules, _ = compile_texts({"t.rules": text + "\n// id: has\n// kind: pattern\nx"})
    return rules


@pytest.mark.parametrize(
    "value", _HOSTILE, ids=[f"{index} {type(value).__name__}" for index, value in enumerate(_HOSTILE)]
)
def test_no_value_makes_a_rule_raise(value: Value) -> None:
    """Every operator returns a result for every value, on the left and as $name."""
    rules = _rules()

    answers = [
        rules.hits(Span("a", attributes=attributes))
        for attributes in ({"x": value, "y": value}, {"x": "1", "y": value})
    ]

    assert all(len(hits) > 1 for hits in answers[1:])
    assert all(isinstance(atom.witness(Span("a", attributes={"x": value})), dict) for atom in rules.atoms.values())


@pytest.mark.parametrize("value", [None, math.nan, (1, 2), {1, 2}, object(), 1j])
def test_value_of_an_unknown_type_is_missing(value: Value) -> None:
    """None, NaN and types that OTLP does not have count as missing."""
    hits = _rules().hits(Span("a", attributes={"x": value}))

    assert ["a.where(not x)"] == [atom.text for atom in hits]


@pytest.mark.parametrize("start_ns", [None, -1, 0, 10**40, -(10**40)])
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Pacific/Kiritimati"])
def test_no_time_makes_a_rule_raise(start_ns: int | None, zone: str) -> None:
    """A start outside the calendar gives a result."""
    condition = "timestamp.hour < 99 or timestamp.minute < 99 or timestamp.weekday != mon or timestamp.date exists"
    rules, _ = compile_texts({"t.rules": f"// id: r\n// kind: pattern\n// timezone: {zone}\n{condition}"})

    hits = rules.hits(Span("a", start_ns=start_ns, end_ns=5))

    assert (start_ns is None) is (hits == []) or zone != "UTC"
