"""A rule's verdict and uid never depend on the other rules of its set."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple, TypeAlias

from hypothesis import event, given
from hypothesis import strategies as st

from dsl import RuleSet, Span, compile_texts
from dsl.compile.review import judge_trace
from streams.decode.decoder import TraceSpans
from streams.inspect import offline
from streams.projection.project import Projector
from streams.windows.chain import Bounds
from streams.windows.outcomes import evaluate_close
from streams.windows.reorder import Arrival
from streams.windows.sessions import Sessions, counted_atoms
from tests.support.builders import TOPIC, TRACE
from topics.records.facts import TICK_MS, Entry, Touch, pack_touches

# Long enough that no chain is cut: of those the law does not speak.
BOUNDS = Bounds(gap=5, lateness=20, max_duration=100_000)
REACH_MS = (BOUNDS.gap + BOUNDS.lateness) * TICK_MS

CONDITIONS = (
    "when { pay } always { audit }",
    "when { pay.where(amount > 5) } always { audit } never { refund }",
    "pay.where(amount > 5.0) and not audit",
    "pay.where(amount == 5) and not pay.where(amount == 5e0)",
    "count(pay) >= 2",
    "count(pay) == 1 and not audit",
    "when { pay } always { count(audit) >= count(pay) }",
    "when { audit } always { pay before audit }",
    "when { pay and timestamp.hour >= 12 } always { audit }",
    "when { not pay } always { audit }",
    "when { pay.where(amount in [5, 7]) } always { refund.where(amount in [5.0, 7]) }",
)
ZONES = ("UTC", "Europe/Berlin", "Asia/Kolkata")
EXCEPTIONS = (None, None, "amount == 5", "amount == 5.0")

Drawn: TypeAlias = tuple[str, str, str | None]
"""A rule: condition, time zone, exception."""

rules = st.lists(
    st.tuples(st.sampled_from(CONDITIONS), st.sampled_from(ZONES), st.sampled_from(EXCEPTIONS)), min_size=2, max_size=5
)
spans = st.builds(
    lambda name, number, hour, amount: Span(
        name,
        bytes([number]),
        start_ns=hour * 3600 * 10**9,
        attributes={} if amount is None else {"amount": amount},
        identity=bytes([number]),
    ),
    st.sampled_from(("pay", "audit", "refund", "noise", "noise")),
    st.integers(1, 4),
    st.integers(0, 23),
    st.sampled_from((None, 5, 5.0, 7)),
)
histories = st.lists(
    st.tuples(st.sampled_from((0, 1, 5, 6, 20, 25, 26, 60)), st.lists(spans, min_size=1, max_size=2)), max_size=12
)


class Said(NamedTuple):
    """What is said of a rule when a window closes, without what is the window's."""

    first_ms: int
    verdict: str
    previous: str | None
    excepted: int
    signal: tuple[object, ...] | None


@cache
def rule_set(*drawn: tuple[int, Drawn]) -> RuleSet:
    """The rules with their numbers as ids."""
    written = [
        {
            "id": f"r{number}",
            "condition": condition,
            "timezone": zone,
            "exceptions": [] if exception is None else [{"where": exception}],
            **({} if condition.startswith("when") else {"kind": "pattern"}),
        }
        for number, (condition, zone, exception) in drawn
    ]
    found, _ = compile_texts({"t.yaml": json.dumps({"rules": written})})
    return found


def said(found: RuleSet, history: list[tuple[int, list[Span]]]) -> Iterator[tuple[str, Said]]:
    """All that is said of a trace's windows, by rule id."""
    projector = Projector(found)
    sessions = Sessions(BOUNDS, counted_atoms((atom.fingerprint, atom.counted) for atom in found.atoms.values()))
    tick = 0
    for step, came in history:
        tick += step
        if facts := projector.facts(TraceSpans(len(came), root_seen=False, spans=came)):
            entry = Entry(TRACE, tick, tick, tick, len(came), False, facts)  # noqa: FBT003, as on the topic
            sessions.buffer.add(tick, Arrival(TOPIC, 0, entry), 0)
        else:
            sessions.buffer.add_touches(tick, pack_touches([Touch(TRACE, tick, len(came))]), 0)
    judged_by = frozenset(rule.fingerprint for rule in found.rules)
    for close in sessions.advance((tick + 1_000) * TICK_MS):
        for outcome in evaluate_close(close, found, judged_by, reach_ms=REACH_MS):
            finding = outcome.finding
            signal = (
                None
                if finding is None
                else (
                    *(finding.uid, finding.revision, finding.verdict, finding.late, finding.closed_ms, finding.last_ms),
                    *(finding.first_published_ms, finding.missing, finding.present, finding.witnesses),
                )
            )
            yield (
                outcome.rule.id,
                Said(outcome.first_ms, outcome.verdict, outcome.previous, outcome.excepted, signal),
            )


@given(rules, histories)
def test_a_rule_alone_is_the_rule_among_others(drawn: list[Drawn], history: list[tuple[int, list[Span]]]) -> None:
    """Verdicts, revisions, uids, lateness and witnesses of a rule are the same whatever other rules are judged."""
    together = list(said(rule_set(*enumerate(drawn)), history))

    for number, rule in enumerate(drawn):
        alone = [each for _, each in said(rule_set((number, rule)), history)]

        assert alone == [each for rule_id, each in together if rule_id == f"r{number}"]
    event(f"{sum(each.signal is not None for _, each in together)} signals")


@given(rules, st.lists(spans, max_size=6), st.booleans())
def test_eval_and_check_agree_on_a_rule_alone_and_among_others(
    drawn: list[Drawn],
    trace: list[Span],
    is_whole: bool,  # noqa: FBT001, Hypothesis draws it
) -> None:
    """So it is where a file is judged, and where the tests in rule files are; a trace that is cut is no exception."""
    every = rule_set(*enumerate(drawn))
    by_check = {each.rule.id: each.verdict for each in judge_trace(every, trace, whole=is_whole)}
    record = {TRACE: TraceSpans(len(trace), root_seen=False, spans=trace)}
    by_eval = {each.rule.id: each.verdict for _, each in offline.judge_spans([record], every)}

    for number, rule in enumerate(drawn):
        alone = rule_set((number, rule))
        checked = {each.rule.id: each.verdict for each in judge_trace(alone, trace, whole=is_whole)}
        evaluated = {each.rule.id: each.verdict for _, each in offline.judge_spans([record], alone)}

        assert checked.get(f"r{number}") == by_check.get(f"r{number}")
        assert evaluated.get(f"r{number}") == by_eval.get(f"r{number}")
    assert by_eval == by_check or not is_whole
