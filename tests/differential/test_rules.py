"""The language against a reference that puts every question to every span: the same verdicts."""

from __future__ import annotations

import json
from itertools import combinations

from hypothesis import event, given
from hypothesis import strategies as st

from dsl import Judgement, Span, compile_texts
from dsl.compile.review import judge_trace
from dsl.syntax import nodes
from dsl.syntax.printer import body_text, cond_text
from tests.differential import naive_rules
from tests.differential.naive_rules import Trace
from tests.differential.strategies import conditions, rules, spans


@given(rules, st.lists(conditions, max_size=2), st.lists(spans, min_size=1, max_size=4))
def test_verdict_is_that_of_the_reference(
    rule: tuple[nodes.RuleBody, str], exceptions: list[nodes.Cond], spans: list[Span]
) -> None:
    """Atoms, facts and formulas say of any of some spans, whole or cut, what asking each question of all spans says."""
    form, kind = rule
    excepted = [{"where": cond_text(cond)} for cond in exceptions]
    said = {"id": "r", "kind": kind, "condition": body_text(form), "exceptions": excepted}
    compiled, _ = compile_texts({"t.yaml": json.dumps({"rules": [said]})})
    chosen = [list(some) for size in range(len(spans)) for some in combinations(spans, size + 1)]
    traces = [Trace(some, is_whole, tuple(exceptions)) for some in chosen for is_whole in (True, False)]

    found = [_verdict(judge_trace(compiled, trace.spans, whole=trace.is_whole)) for trace in traces]

    for verdict in set(found):
        event(f"{kind}: {verdict}")
    assert [naive_rules.verdict(form, kind, trace) for trace in traces] == found


def _verdict(judgements: list[Judgement]) -> str:
    for judgement in judgements:
        return "excepted" if judgement.excepted else judgement.verdict.value
    return "not_applicable"
