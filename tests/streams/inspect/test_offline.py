"""Tests verdicts without Kafka."""

from __future__ import annotations

import pytest

from dsl import RuleSet, Span, Verdict, compile_texts
from streams.decode.decoder import TraceSpans
from streams.inspect.offline import FILE, judge_spans
from streams.windows.close import CloseReason

A, B = b"a" * 16, b"b" * 16
AUDITED = '// "Access is audited"\npii.access and audit.log\n'
FEW = "// id: few\n// kind: pattern\ncount(agent.tool) > 2\n"


def compiled(text: str) -> RuleSet:
    """The rules in a text."""
    rules, _ = compile_texts({"a.rules": text})
    return rules


def trace(*names: str, first: int = 1) -> TraceSpans:
    """Spans of a trace, by name; their ids are numbers from `first` on."""
    spans = [Span(name, number.to_bytes(8, "big"), start_ns=number) for number, name in enumerate(names, first)]
    return TraceSpans(len(spans), root_seen=False, spans=spans)


def test_traces_are_gathered_from_all_records() -> None:
    """A trace is judged once, with the spans of all its records, whatever their order."""
    rules = compiled(AUDITED)

    judged = list(judge_spans([{A: trace("audit.log")}, {B: trace("pii.access")}, {A: trace("pii.access")}], rules))

    assert [(A, Verdict.HELD), (B, Verdict.BROKEN)] == [(close.trace_id, said.verdict) for close, said in judged]


def test_input_that_ends_is_whole() -> None:
    """The end of the input closes every window, and nothing is missing: no verdict is undetermined because of it."""
    [(close, _)] = judge_spans([{A: trace("pii.access", "noise")}], compiled(AUDITED))

    assert (CloseReason.END_OF_INPUT, True, 2) == (close.reason, close.whole, close.window.span_count)
    assert [(FILE, 0, 0, 0)] == [
        (at.topic, at.partition, at.first_offset, at.last_offset) for at in close.chain.sources
    ]


def test_judgements_are_in_the_order_of_traces_and_rules() -> None:
    """Judgements come by trace id, then by rule id."""
    rules = compiled(AUDITED + "\n" + FEW)
    record = trace("pii.access", "agent.tool")

    judged = list(judge_spans([{B: record}, {A: record}], rules))

    assert [(A, "access-is-audited"), (A, "few"), (B, "access-is-audited"), (B, "few")] == [
        (close.trace_id, said.rule.id) for close, said in judged
    ]


@pytest.mark.parametrize(("first", "verdict"), [(1, Verdict.HELD), (3, Verdict.BROKEN)])
def test_spans_are_counted_once(first: int, verdict: Verdict) -> None:
    """Copies of a span in two records count once, other spans count."""
    records = [{A: trace("agent.tool", "agent.tool")}, {A: trace("agent.tool", "agent.tool", first=first)}]

    [(_, judgement)] = judge_spans(records, compiled(FEW))

    assert verdict is judgement.verdict


def test_traces_without_a_hit_are_not_judged() -> None:
    """A trace that no rule applies to has no window."""
    assert [] == list(judge_spans([{A: trace("noise")}], compiled(AUDITED)))


def test_only_allowed_attributes_are_shown() -> None:
    """A witness shows only the given allow-list beyond what rules name."""
    span = Span("pii.access", bytes(8), start_ns=1, attributes={"user.id": "u", "tenant.id": "t"})

    [(close, _)] = judge_spans([{A: TraceSpans(1, root_seen=True, spans=[span])}], compiled(AUDITED), ("tenant.id",))

    [facts] = close.chain.facts.values()
    assert [{"tenant.id": "t"}] == [seen.witness.attributes for seen in facts.witnesses]
