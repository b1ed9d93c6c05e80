"""The spans of a pair in a signal, from spans to the sentence."""

from __future__ import annotations

import pytest

from dsl import compile_texts
from streams.decode.records import TraceSpans
from streams.inspect import offline
from streams.windows.outcomes import evaluate_close
from tests.support.builders import TRACE
from tests.support.fixtures import outcome
from topics.signals.sentence import sentence


def sentence_of(condition: str, trace: str) -> str:
    """Return the sentence of the signal of a trace."""
    rules, _ = compile_texts({"t.rules": f"// id: r\n{condition}"})
    _, _, spans = outcome(trace)
    record = {TRACE: TraceSpans(len(spans), root_seen=True, spans=spans)}
    [(close, _)] = offline.judge_spans([record], rules, identity=())
    known = frozenset(rule.fingerprint for rule in rules.rules)
    [found] = evaluate_close(close, rules, known, reach_ms=0)
    assert found.finding is not None
    return sentence(found.finding)


@pytest.mark.parametrize(
    ("condition", "trace", "expected"),
    [
        (
            "when { payment } always { each payment has own approval before with same order }",
            'broken approval{"order": 17} payment{"order": 17} payment{"order": 18} payment{"order": 17}',
            (
                "it is not true that each payment has own approval before with same order (2 of 3 payment have no "
                "approval of their own: order 18 at 2026-01-05T12:00:02.000Z, order 17 at 2026-01-05T12:00:03.000Z)"
            ),
        ),
        (
            "when { payment } always { each payment has own approval before with same order }",
            (
                'broken {"name": "agent", "start": 1, "events": ['
                '{"name": "approval", "time": 2000000, "attributes": {"order": 17}}, '
                '{"name": "payment", "time": 3000000, "attributes": {"order": 17}}, '
                '{"name": "payment", "time": 4000000, "attributes": {"order": 18}}, '
                '{"name": "payment", "time": 1000000, "attributes": {"order": 17}}]}'
            ),
            (
                "it is not true that each payment has own approval before with same order (2 of 3 payment have no "
                "approval of their own: order 17 at 1970-01-01T00:00:00.001Z, order 18 at 1970-01-01T00:00:00.004Z)"
            ),
        ),
        (
            "when { fail } never { some tool has fail before with same session }",
            'broken fail{"session": "a"} tool{"session": "a"} tool{"session": "b"}',
            (
                "some tool has fail before with same session, which the rule forbids, was seen (1 of 2 tool has such "
                "fail: session a at 2026-01-05T12:00:01.000Z with fail at 2026-01-05T12:00:00.000Z)"
            ),
        ),
        (
            "when { fail } never { some tool has fail before with by == owner, different node }",
            'broken fail{"owner": 7, "node": "n"} tool{"by": 7, "node": "m"}',
            (
                "(1 of 1 tool has such fail: by 7 node m at 2026-01-05T12:00:01.000Z with fail node n owner 7 at "
                "2026-01-05T12:00:00.000Z)"
            ),
        ),
        (
            "when { payment } never { sum(payment, amount) > 100 }",
            'broken payment{"amount": 99.5} payment{"amount": 0.75}',
            (
                'payment was seen (span "payment") and sum(payment, amount) > 100, which the rule forbids, was seen '
                "(sum(payment, amount) is 100.25)"
            ),
        ),
        (
            "when { a } always { distinct(a, x) == count(a) and trace.duration < 1s }",
            'broken {"name": "a", "start": 1, "end": 1500000001} a{"x": 1}',
            (
                "it is not true that distinct(a, x) == count(a) (distinct(a, x) is 1 and count(a) is 2) and it is not "
                "true that trace.duration < 1s (trace.duration is 1500ms)"
            ),
        ),
        (
            "when { a } always { each a has own b }",
            "broken a a a a a a a",
            (
                "it is not true that each a has own b (7 of 7 a have no b of their own: at 2026-01-05T12:00:00.000Z, "
                "at 2026-01-05T12:00:01.000Z, at 2026-01-05T12:00:02.000Z, at 2026-01-05T12:00:03.000Z, at "
                "2026-01-05T12:00:04.000Z, 2 more)"
            ),
        ),
        (
            "when { a } always { each a has own b after }",
            'broken {"name": "a", "start": null, "span_id": "00000000000000aa"}',
            "it is not true that each a has own b after (1 of 1 a has no b of their own: span 00000000000000aa)",
        ),
        (
            "when { a } always { each a has b before }",
            "broken a b",
            "it is not true that each a has b before",
        ),
        (
            "when { a } always { each a has b with same k }",
            'broken a{"k": "x) and all is well ("}',
            (
                'it is not true that each a has b with same k (1 of 1 a has no b: k "x) and all is well (" at '
                "2026-01-05T12:00:00.000Z)"
            ),
        ),
    ],
)
def test_the_sentence_names_the_spans_of_a_pair(condition: str, trace: str, expected: str) -> None:
    """It states how many lack or have a partner, and which ones, by their compared values and start."""
    assert expected in sentence_of(condition, trace)
