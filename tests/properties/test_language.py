"""Laws of the rule language."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsl import Event, RulesError, RuleSet, Span, Value, compile_texts
from dsl.compile.review import judge_trace
from dsl.syntax import nodes
from dsl.syntax.parse import parse_rule
from dsl.syntax.printer import body_text, expr_text
from dsl.syntax.soft_keywords import SOFT_KEYWORDS
from dsl.syntax.source import SourceText, source_file
from dsl.syntax.suggestions import RESERVED

_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_NAME = r"[a-z_][a-zA-Z0-9_-]{0,3}(\.([a-z][a-z0-9-]{0,3}|[0-9]{1,2})){0,2}"
_NO_NAMES = RESERVED | {"trace", "trace.has", "trace.count"}
_plain_names = st.from_regex(_NAME, fullmatch=True).filter(
    lambda name: name not in _NO_NAMES and not name.endswith(".where")
)
_names = st.builds(nodes.Name, _plain_names | _texts | st.sampled_from(sorted(RESERVED | SOFT_KEYWORDS)))
_numbers = st.builds(nodes.Number, st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False))
_durations = st.builds(
    nodes.Duration, st.integers(-(10**20), 10**20) | st.floats(-1e9, 1e9).filter(lambda ns: ns != int(ns))
)
_literals = (
    st.builds(nodes.Text, _texts | _plain_names) | _numbers | _durations | st.builds(nodes.Boolean, st.booleans())
)
_operands = (
    _literals
    | st.builds(nodes.Reference, _names)
    | st.builds(nodes.ListLiteral, st.lists(_literals, min_size=1, max_size=3).map(tuple))
)
_operators = st.sampled_from(
    ["==", "!=", "<", "<=", ">", ">=", "in", "not in", "in_cidr", "contains", "matches", "starts_with", "ends_with"]
)
_comparisons = st.builds(nodes.Comparison, _names, _operators, _operands) | st.builds(nodes.Exists, _names)
_steps = _plain_names | _texts | st.integers(0, 999_999_999) | st.just(nodes.Elements.ALL)
_paths = st.builds(nodes.Name, _plain_names | _texts, path=st.lists(_steps, min_size=1, max_size=3).map(tuple))
_reaching = st.builds(nodes.Comparison, _paths, _operators, _operands) | st.builds(nodes.Exists, _paths)


def _joined(items: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    several = st.lists(items, min_size=2, max_size=3).map(tuple)
    return st.builds(nodes.Not, items) | st.builds(nodes.AllOf, several) | st.builds(nodes.AnyOf, several)


_conds = st.recursive(
    _comparisons | _reaching | st.builds(nodes.IsTruthy, st.builds(nodes.Name, _plain_names)), _joined, max_leaves=6
)
_has = st.builds(nodes.Has, _names, st.none() | _conds)
_subjects = _has | st.builds(nodes.HasAttribute, _comparisons)
_counts = (
    st.builds(nodes.Count, _has)
    | st.builds(nodes.Aggregate, st.just("count by"), _has, _names)
    | st.builds(nodes.Aggregate, st.sampled_from([nodes.DISTINCT, *nodes.MEASURES]), _subjects, _names)
    | st.just(nodes.TraceDuration())
)
_order_signs = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
_words = st.sampled_from(["before", "after", "above", "directly below", "beside"]).map(nodes.RelationWord) | st.builds(
    nodes.RelationWord, st.just("within"), st.sampled_from([nodes.Duration(90 * 10**9), nodes.Duration(0.5)])
)
_keys = st.builds(nodes.JoinKey, st.sampled_from(["same", "different"]), _names) | st.builds(
    nodes.JoinKey, st.sampled_from(["==", "!="]), _names, _names
)
_occurring = _subjects | st.sampled_from(sorted(SOFT_KEYWORDS)).map(lambda word: nodes.Has(nodes.Name(word)))
_relations = st.builds(
    nodes.Relations,
    st.lists(_words, max_size=2).map(tuple),
    st.lists(_keys, max_size=2).map(tuple),
    st.lists(st.builds(nodes.Without, _occurring, st.booleans()), max_size=1).map(tuple),
)
_narrowing = st.builds(nodes.Partner, _occurring, _relations)
_partners = st.builds(nodes.Partner, _occurring, _relations, st.booleans())
_leaves = (
    _subjects
    | st.builds(nodes.Order, _subjects, st.sampled_from(["before", "after"]), _subjects)
    | st.builds(
        nodes.Pair,
        quantifier=st.sampled_from(["each", "some"]),
        subject=_occurring,
        that=st.none() | _narrowing,
        partner=_partners,
    )
    | st.builds(nodes.CountComparison, _counts, _order_signs, _counts | _numbers)
    | st.builds(nodes.CountComparison, _numbers, _order_signs, _counts)
)
_exprs = st.recursive(_leaves, _joined, max_leaves=6)
_clauses = st.lists(_exprs, max_size=1).map(tuple)
_forms = _exprs | st.builds(nodes.When, _exprs, _clauses, _clauses)


@given(_forms)
@settings(deadline=None)
def test_printing_and_parsing_is_the_identity(form: nodes.When) -> None:
    """A rule that is printed parses back to equal nodes, hence to the same atoms and formula."""
    text = body_text(form)

    parsed, found = parse_rule(SourceText(file=source_file("t.rules", text), text=text, line=1))

    assert [] == found
    assert form == parsed


_signs = list("(){}[],.$\"'\\/:= \n")
_parts = ["//", "==", "<=", "trace.has(", "count(", ".where(", "a", "a.b", "1", "5ms", "\n\n", "é", "\ud800", "\0"]
_lines = ["// id: r", '// "T"', "// Signal: X (high)", "// kind: pattern", "rules:", "- ", "condition: |\n"]
_pieces = st.sampled_from([*sorted(RESERVED | SOFT_KEYWORDS), *_signs, *_parts, *_lines])
_anything = (
    st.text(max_size=40) | st.lists(_pieces, max_size=30).map(" ".join) | st.lists(_pieces, max_size=30).map("".join)
)


@given(
    st.sampled_from(["t.rules", "t.yaml"]),
    st.sampled_from(["", "// id: r\n// kind: pattern\n", "rules:\n- id: r\n  condition: "]),
    _anything,
)
@settings(deadline=None)
def test_no_text_makes_loading_raise_anything_but_problems(name: str, start: str, text: str) -> None:
    """Whatever a file holds, it loads or gives a list of problems that have places."""
    try:
        _, found = compile_texts({name: start + text})
    except RulesError as error:
        found = error.problems

    assert all(problem.location.line >= 1 and problem.location.column >= 1 for problem in found)


_NAMES = ["a", "b", "a.x", "x", "y"]
_CONDITIONS = [
    *(
        "x != $y",
        "x not in $y",
        'x contains [1, "a", true]',
        'x ends_with ["a", "b"]',
        'x in_cidr "::/0"',
        "not x",
        "x >= 1.5",
    ),
    *("a", "b.where(x == 1)", "x", "a.where(x == $y)", "a.where(x in $y and not y)", "x > 1", "a.x contains b", "span"),
    *('a.where(x matches "^a|1")', 'x in_cidr "10.0.0.0/8"', "a.where(x not in [1, b, true])", "y exists", "x < $y"),
    *(
        "b.where(y starts_with a or y ends_with 'b')",
        "span.duration > 1s",
        "timestamp.hour > 3",
        "a.where(not (x != b))",
    ),
]


def _nested(depth: int) -> Value:
    value: Value = "x"
    for index in range(depth):
        value = [value] if index % 2 else {"x": value}
    return value


_HOSTILE: list[Value] = [10**5000, -(10**5000), "9" * 5000, _nested(1000), b"\xff", True, -0.0, 2**64, "\udfff"]
_values: st.SearchStrategy[Value] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=3)
    | st.sampled_from(["a", "b", "1", "true", "10.1.2.3", "\ud800", 1])
    | st.integers(0, len(_HOSTILE) - 1).map(lambda index: _HOSTILE[index]),  # Hypothesis cannot print them
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=3), values, max_size=3),
    max_leaves=5,
)  # fmt: skip
_attributes: st.SearchStrategy[Mapping[str, Value]] = st.dictionaries(st.sampled_from(_NAMES), _values, max_size=3)
_times = st.none() | st.integers(0, 2**64 - 1)
_spans = st.builds(
    Span,
    name=st.sampled_from(["a", "b", "c", ""]),
    start_ns=_times,
    end_ns=_times,
    attributes=_attributes,
    events=st.lists(st.builds(Event, st.sampled_from(_NAMES), _attributes), max_size=2).map(tuple),
    resource=_attributes,
    scope=_attributes,
    is_log=st.booleans(),
)


def _rule_set(conditions: Sequence[str]) -> RuleSet:
    texts = [f"// id: r{index}\n// kind: pattern\n{condition}\n" for index, condition in enumerate(conditions)]
    rules, _ = compile_texts({"t.rules": "\n".join(texts)})
    return rules


_RULES = _rule_set(_CONDITIONS)


@given(_spans)
@settings(deadline=None)
def test_hits_are_the_atoms_that_hold(span: Span) -> None:
    """The index by names finds exactly the atoms that hold, and no value makes one raise."""
    expected = [atom for atom in _RULES.atoms.values() if atom.holds(span)]

    assert expected == _RULES.hits(span)
    assert all(set(atom.witness(span)) <= atom.attributes | {"span.duration", "timestamp.hour"} for atom in expected)


@given(_spans, _attributes)
@settings(deadline=None)
def test_attributes_outside_the_interest_change_nothing(span: Span, more: Mapping[str, Value]) -> None:
    """A decoder may leave out every attribute that no rule names."""
    before = _RULES.hits(span)

    span.attributes = {**span.attributes, **{f"other.{key}": value for key, value in more.items()}}

    assert before == _RULES.hits(span)


_known = st.sampled_from([nodes.Has(nodes.Name("a")), nodes.Has(nodes.Name("b")), nodes.Has(nodes.Name("c"))])
_one_order = st.tuples(st.sampled_from(["before", "after"]).map(nodes.RelationWord))
_known_between = st.lists(st.builds(nodes.Without, _known, st.booleans()), max_size=1).map(tuple)
_known_relations = st.builds(nodes.Relations, _one_order, st.just(()), _known_between) | st.builds(nodes.Relations)
_known_narrowing = st.builds(nodes.Partner, _known, _known_relations)
_known_partners = st.builds(nodes.Partner, _known, _known_relations, st.booleans())
_known_aggregates = st.builds(
    nodes.Aggregate,
    st.sampled_from([nodes.DISTINCT, nodes.COUNT_BY, *nodes.MEASURES]),
    _known,
    st.just(nodes.Name("timestamp.hour")),
)
_facts = (
    _known
    | st.builds(nodes.Order, _known, st.sampled_from(["before", "after"]), _known)
    | st.builds(
        nodes.Pair,
        quantifier=st.sampled_from(["each", "some"]),
        subject=_known,
        that=st.none() | _known_narrowing,
        partner=_known_partners,
    )
    | st.builds(
        nodes.CountComparison, st.builds(nodes.Count, _known), _order_signs, st.builds(nodes.Number, st.integers(0, 3))
    )
    | st.builds(nodes.CountComparison, st.builds(nodes.Count, _known), _order_signs, st.builds(nodes.Count, _known))
    | st.builds(nodes.CountComparison, _known_aggregates, _order_signs, st.builds(nodes.Number, st.integers(0, 3)))
    | st.builds(
        nodes.CountComparison,
        st.just(nodes.TraceDuration()),
        _order_signs,
        st.builds(nodes.Duration, st.integers(0, 3)),
    )
)
_conditions = st.recursive(_facts, _joined, max_leaves=4).map(expr_text)
_rules = _conditions | st.builds(
    "when {{ {} }} always {{ {} }} never {{ {} }}".format, _conditions, _conditions, _conditions
)
_traces = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 5)), max_size=6)


@given(_rules, _traces, _traces)
@settings(deadline=None)
def test_verdict_on_a_cut_trace_is_never_taken_back(
    rule: str, seen: list[tuple[str, int]], missing: list[tuple[str, int]]
) -> None:
    """Held or broken on what was seen of a cut trace is what the whole trace gets, whatever was missing."""
    header = "// id: r\n" + ("" if rule.startswith("when") else "// kind: pattern\n")
    rules, _ = compile_texts({"t.rules": header + rule})
    spans = [
        Span(name, start_ns=start_ns, identity=bytes([index]))
        for index, (name, start_ns) in enumerate([*seen, *missing])
    ]

    cut = {judgement.verdict.value for judgement in judge_trace(rules, spans[: len(seen)], whole=False)}
    whole = {judgement.verdict.value for judgement in judge_trace(rules, spans)}

    assert cut <= {"undetermined"} or cut == whole


@given(_rules, _traces)
@settings(deadline=None)
def test_undetermined_is_said_only_of_cut_traces(rule: str, seen: list[tuple[str, int]]) -> None:
    """A trace that is known whole, and small enough to count, gets held or broken."""
    header = "// id: r\n" + ("" if rule.startswith("when") else "// kind: pattern\n")
    rules, _ = compile_texts({"t.rules": header + rule})
    spans = [Span(name, start_ns=start_ns, identity=bytes([index])) for index, (name, start_ns) in enumerate(seen)]

    judgements = judge_trace(rules, spans)

    assert {judgement.verdict.value for judgement in judgements} <= {"held", "broken"}


@pytest.mark.parametrize("depth", [10, 100])
def test_deep_rules_are_judged(depth: int) -> None:
    """A rule that is nested as deep as allowed compiles, prints and is judged."""
    groups = depth // 2
    nested = "(b and not " * groups + "b" + ")" * groups
    rules = _rule_set([nested, "a.where(" + "(y or " * (depth - 1) + "x" + ")" * depth])

    judgements = judge_trace(rules, [Span("a", attributes={"x": 1}, identity=b"1"), Span("b", identity=b"2")])

    assert ["r0", "r1"] == [judgement.rule.id for judgement in judgements]
    assert "broken" == judgements[1].verdict.value
