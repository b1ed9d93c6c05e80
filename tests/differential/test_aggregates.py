"""Aggregates against a reference that computes them from all spans: the same verdicts, in any order of facts."""

from __future__ import annotations

import json
from random import Random

from hypothesis import event, given
from hypothesis import strategies as st

from dsl import Event, RuleSet, Span, Value, compile_texts, judge
from dsl.compile.review import judge_trace
from dsl.judge.atoms import Use
from dsl.judge.span import Attributes
from dsl.syntax import nodes
from dsl.syntax.printer import body_text, cond_text
from streams.projection.project import Projector
from streams.projection.redact import NOT_REDACTED, Redaction, Treatment
from tests.differential import naive_rules
from tests.differential.naive_rules import Trace
from tests.differential.test_pairs import merged, one_verdict

_names = st.sampled_from(["x", "y"]).map(nodes.Name)
_is_one = nodes.Comparison(nodes.Name("x"), "==", nodes.Number(1))
_subjects = st.builds(nodes.Has, st.sampled_from(["a", "b", "span"]).map(nodes.Name), st.none() | st.just(_is_one))
_measured = _subjects | st.just(nodes.HasAttribute(_is_one))
_counts = st.builds(nodes.Count, _subjects) | st.builds(nodes.Aggregate, st.just("count by"), _subjects, _names)
_functions = st.sampled_from([nodes.DISTINCT, *nodes.MEASURES])
_aggregates = _counts | st.builds(nodes.Aggregate, _functions, _measured, _names)
_signs = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
_numbers = st.sampled_from([0, 1, 2, 3, 1.5, -3, 0.3]).map(nodes.Number)
_durations = st.integers(-4, 6).map(nodes.Duration)
_duration = st.just(nodes.TraceDuration())
_comparisons = (
    st.builds(nodes.CountComparison, _aggregates, _signs, _numbers | _aggregates)
    | st.builds(nodes.CountComparison, _numbers, _signs, _aggregates)
    | st.builds(nodes.CountComparison, _duration, _signs, _durations)
    | st.builds(nodes.CountComparison, _durations, _signs, _duration)
)
_exprs = _comparisons | _comparisons.map(nodes.Not)
_one, _none = st.tuples(_exprs), st.just(())
_rules = (
    st.tuples(_exprs, st.just("pattern"))
    | st.tuples(st.builds(nodes.AllOf, st.tuples(_subjects, _exprs)), st.sampled_from(["pattern", "invariant"]))
    | st.tuples(
        st.builds(nodes.When, _subjects | _exprs, _one, _none | _one) | st.builds(nodes.When, _exprs, _none, _one),
        st.just("conditional"),
    )
)
_exceptions = st.lists(st.sampled_from([_is_one, nodes.Exists(nodes.Name("y"))]), max_size=1)

_values: st.SearchStrategy[Value] = st.sampled_from(
    [1, 2, "1", 1.0, [1, 2], True, None, [], float("nan"), "01", b"1", 2.5, -3, 0.1, 0.2, "0.3", 3]
)
_attributes: st.SearchStrategy[Attributes] = st.dictionaries(
    st.sampled_from(["x", "y", "a.x", "b"]), _values, max_size=2
)
_spans = st.builds(
    Span,
    name=st.sampled_from(["a", "b", "d"]),
    start_ns=st.sampled_from([None, 1, 2, 3, 4]),
    end_ns=st.sampled_from([None, 1, 3, 5, 9]),
    attributes=_attributes,
    events=st.lists(
        st.builds(Event, st.sampled_from(["a", "b"]), _attributes, st.sampled_from([None, 1, 9])), max_size=2
    ).map(tuple),
    identity=st.integers(1, 5).map(lambda number: bytes([number]) * 8),
)
_REDACTED = Redaction({"x": Treatment.HASH}, b"0123456789abcdef")


@given(_rules, _exceptions, st.lists(_spans, min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_verdict_is_that_of_the_reference(
    rule: tuple[nodes.RuleBody, str], exceptions: list[nodes.Cond], spans: list[Span], random: Random
) -> None:
    """Whole or cut, from spans or from facts in any order and number, an aggregate says what the reference says."""
    form, kind = rule
    rules = _compiled(form, kind, exceptions)
    takes_numbers = any(atom.use is Use.NUMBERS for atom in rules.atoms.values())
    projector = Projector(rules, redaction=NOT_REDACTED if takes_numbers else _REDACTED)
    facts = [*projector.facts_of(spans)] * 2
    random.shuffle(facts)
    window = merged(rules, facts[: len(spans)], facts[len(spans) :])

    for is_whole in (True, False):
        expected = naive_rules.verdict(form, kind, Trace(spans, is_whole, tuple(exceptions)))
        event(f"{'whole' if is_whole else 'cut'}: {expected}")

        assert expected == one_verdict(judge_trace(rules, spans, whole=is_whole))
        assert expected == one_verdict(judge(rules, window, whole=is_whole))


def _compiled(form: nodes.RuleBody, kind: str, exceptions: list[nodes.Cond]) -> RuleSet:
    excepted = [{"where": cond_text(cond)} for cond in exceptions]
    said = {"id": "r", "kind": kind, "condition": body_text(form), "exceptions": excepted}
    return compile_texts({"t.yaml": json.dumps({"rules": [said]})})[0]
