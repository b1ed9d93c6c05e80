"""The outcomes of closed windows."""

from __future__ import annotations

import pytest

from dsl import Event, Mode, Span, Value
from streams.windows.outcomes import rule_text
from tests.support.trace_life import REACH_MS, TOPIC, TRACE, Life, compiled, span
from topics.signals.finding import Finding, SourceRange

AUDITED = '// "SOC2 CC6.7: PII access must be logged"\ntrace.has(pii.access) and trace.has(audit.log)\n'
UNCHECKED = "// Signal: UNCHECKED (critical)\ndata.access and not auth.check\n"
EXCEPTED = """
rules:
  - id: excepted
    kind: invariant
    condition: pii.access and audit.log
    exceptions: [{where: batch == true, owner: privacy, reason: migration}]
    MODE
"""


def verdicts_of(finding: Finding) -> tuple[int, str | None, str]:
    """Return revision, previous verdict and verdict."""
    return finding.revision, finding.previous_verdict, finding.verdict


def test_broken_rule_is_a_finding() -> None:
    """The first broken verdict of a chain is published as revision 1, with all data of the window."""
    life = Life(compiled(AUDITED))
    life.arrive(100, span("pii.access", 5, attributes={"user.id": "u-17", "secret": "x"}))
    life.arrive(103, span("noise"))

    [finding] = life.findings(200)

    assert verdicts_of(finding) == (1, None, "broken")
    assert (
        finding.first_fact_ms,
        finding.first_ms,
        finding.last_ms,
        finding.closed_ms,
        finding.first_published_ms,
    ) == (10_000, 10_000, 10_300, 11_300, 11_300)
    assert (
        finding.trace_id,
        finding.close_reason,
        finding.spans,
        finding.root_seen,
        finding.late,
    ) == (TRACE, "quiet", 2, True, False)
    assert (finding.missing, finding.present) == (("audit.log",), ())
    assert (SourceRange(TOPIC, 1, 7, 7),) == finding.sources


def test_witness_carries_only_what_may_leave() -> None:
    """A witness names its subject and has only the attributes that a rule or the allow-list names."""
    life = Life(compiled(AUDITED))
    life.arrive(100, span("pii.access", 5, attributes={"user.id": "u-17", "secret": "x"}))

    [finding] = life.findings(200)

    [witness] = finding.witnesses
    assert ("pii.access", (5).to_bytes(8, "big"), {"user.id": "u-17"}) == (
        witness.subject,
        witness.span_id,
        witness.attributes,
    )
    assert not witness.is_log


def test_a_subject_that_is_compared_in_several_ways_is_shown_once() -> None:
    """A pair, a sum and a count by have atoms of their own; each span is a witness once, with all that they show."""
    rule = (
        "// id: r\nwhen { payment } always { each payment has approval with same order.id } "
        "never { sum(payment, amount) > 9 or count(payment by payee) > 9 or payment.where(x == 1) }"
    )
    life = Life(compiled(rule))
    attributes: dict[str, Value] = {"order.id": 17, "amount": 5, "payee": "acme"}
    life.arrive(100, span("payment", 2, 2, attributes), span("payment", 1, 3, attributes))

    [finding] = life.findings(200)

    assert [("payment", 2), ("payment", 1)] == [
        (witness.subject, int.from_bytes(witness.span_id)) for witness in finding.witnesses
    ]
    assert [attributes, attributes] == [witness.attributes for witness in finding.witnesses]


def test_log_record_is_a_witness_of_its_own_kind() -> None:
    """The longer identity marks a log record."""
    life = Life(compiled(UNCHECKED))
    life.arrive(100, Span("data.access", bytes(8), start_ns=1, is_log=True, identity=b"sixteen bytes id"))

    [finding] = life.findings(200)

    assert [witness.is_log for witness in finding.witnesses] == [True]


def test_event_is_a_witness_with_its_own_time() -> None:
    """It is found under the id of its span, whose duration is not its own."""
    life = Life(compiled(UNCHECKED))
    events = (Event("data.access", {}, 7), Event("data.access", {}, 6))
    life.arrive(100, Span("agent", bytes(8), start_ns=1, end_ns=9, identity=bytes(8), events=events))

    [finding] = life.findings(200)

    assert [(bytes(8), "agent", 6, None, False), (bytes(8), "agent", 7, None, False)] == [
        (each.span_id, each.name, each.start_ns, each.duration_ns, each.is_log) for each in finding.witnesses
    ]


def test_span_without_an_id_is_shown_without_one() -> None:
    """The hash that identifies such a span is not shown as a span id, and the span is not a log record."""
    life = Life(compiled(UNCHECKED))
    life.arrive(100, Span("data.access", start_ns=1, identity=b"twelve bytes"))

    [finding] = life.findings(200)

    assert [(b"", False)] == [(witness.span_id, witness.is_log) for witness in finding.witnesses]


@pytest.mark.parametrize(
    ("text", "names"), [(AUDITED, ["pii.access", "audit.log"]), (UNCHECKED, ["data.access", "auth.check"])]
)
def test_held_rule_is_no_finding(text: str, names: list[str]) -> None:
    """A rule that held is an outcome that counts, without a signal."""
    life = Life(compiled(text))
    life.arrive(100, *(span(name, number) for number, name in enumerate(names)))

    [outcome] = life.until(200)

    assert (outcome.verdict, outcome.previous, outcome.finding) == ("held", None, None)


def test_inapplicable_rule_has_no_outcome() -> None:
    """A rule whose subject is not in the trace has no outcome."""
    life = Life(compiled(AUDITED, UNCHECKED))
    life.arrive(100, span("audit.log"))

    assert life.until(200) == []


def test_late_span_repairs_a_finding() -> None:
    """A missing span arrives: the same uid, the next revision, and the verdict that it replaces."""
    life = Life(compiled(AUDITED))
    life.arrive(100, span("pii.access"))
    [first] = life.findings(120)
    life.arrive(130, span("audit.log", 2))

    [second] = life.findings(200)

    assert verdicts_of(second) == (2, "broken", "held")
    assert (first.uid, first.closed_ms) == (second.uid, second.first_published_ms)
    assert (second.first_ms, second.closed_ms) == (13_000, 14_000)
    assert second.is_resolved


def test_late_span_breaks_what_held() -> None:
    """The first signal of a chain is revision 1 even if the rule held before."""
    life = Life(
        compiled(
            UNCHECKED,
            AUDITED.replace("and trace.has", "and not trace.has").replace(
                '"SOC2 CC6.7: PII access must be logged"', "kind: invariant\n// id: unlogged"
            ),
        )
    )
    life.arrive(100, span("pii.access"))
    [before] = life.until(120)
    life.arrive(130, span("audit.log", 2))

    [after] = life.findings(200)

    assert (before.verdict, before.finding) == ("held", None)
    assert verdicts_of(after) == (1, "held", "broken")
    assert after.closed_ms == after.first_published_ms


def test_unchanged_verdict_sends_no_signal() -> None:
    """A later window that changes no verdict sends no signal."""
    life = Life(compiled(AUDITED))
    life.arrive(100, span("pii.access"))
    life.findings(120)
    life.arrive(130, span("pii.access", 2))

    [outcome] = life.until(200)

    assert (outcome.verdict, outcome.previous, outcome.finding) == ("broken", "broken", None)


def test_broken_again_is_the_third_revision() -> None:
    """Broken, repaired, broken again: three revisions of one uid."""
    life = Life(compiled("// id: counted\n// kind: invariant\npii.access and count(pii.access) <= count(audit.log)\n"))
    found = []
    for tick, name in ((100, "pii.access"), (120, "audit.log"), (140, "pii.access")):
        life.arrive(tick, span(name, tick))
        found += life.findings(tick + 15)

    assert [verdicts_of(finding) for finding in found] == [
        (1, None, "broken"),
        (2, "broken", "held"),
        (3, "held", "broken"),
    ]
    assert len({finding.uid for finding in found}) == 1


def test_finding_of_an_inapplicable_pattern_is_closed() -> None:
    """A verdict that becomes not applicable closes its finding, even though no rule judges the trace any more."""
    life = Life(
        compiled("// id: alone\n// kind: conditional\nwhen { pii.access and not bulk.job } always { audit.log }\n")
    )
    life.arrive(100, span("pii.access"))
    [first] = life.findings(120)
    life.arrive(130, span("bulk.job", 2))

    [second] = life.findings(200)

    assert verdicts_of(second) == (2, "broken", "not_applicable")
    assert first.uid == second.uid


def test_incomplete_window_is_undetermined_and_then_broken() -> None:
    """A window closed early cannot prove that a span is missing; what it saw can still break a rule."""
    life = Life(compiled(AUDITED, "// Signal: BOTH (low)\npii.access and data.access\n"))
    for tick in range(100, 200, 10):
        life.arrive(tick, span("pii.access"))
    life.arrive(199, span("data.access", 2))

    found = life.findings(200)

    assert {("BOTH", "broken"), ("soc2-cc6-7-pii-access-must-be-logged", "undetermined")} == {
        (finding.rule.id, finding.verdict) for finding in found
    }
    assert {"max_duration"} == {finding.close_reason for finding in found}
    assert {20_000} == {finding.closed_ms for finding in found}


def test_chain_that_comes_late_says_so() -> None:
    """A chain whose earliest fact starts more than gap + lateness before its record time is marked late."""
    life = Life(compiled(AUDITED))
    first_ms = 20_000
    on_time_ns, late_ns = (first_ms - REACH_MS) * 1_000_000, (first_ms - REACH_MS - 1) * 1_000_000
    life.arrive(200, span("pii.access", start_ns=on_time_ns))
    [on_time] = life.findings(220)
    later = Life(compiled(AUDITED))
    later.arrive(200, span("pii.access", start_ns=late_ns))

    [late] = later.findings(220)

    assert (on_time.late, late.late) == (False, True)


def test_chain_without_any_start_is_not_late() -> None:
    """Without start times, a chain is never marked late."""
    life = Life(compiled(AUDITED))
    life.arrive(200, span("pii.access", start_ns=None))

    [finding] = life.findings(220)

    assert not finding.late


@pytest.mark.parametrize("mode", [Mode.LIVE, Mode.SHADOW])
def test_shadow_rule_is_judged_and_not_published(mode: Mode) -> None:
    """A rule in shadow mode has verdicts, but neither a first signal nor a repair."""
    life = Life(compiled(EXCEPTED.replace("MODE", f"mode: {mode.value}")))
    life.arrive(100, span("pii.access"))
    [broken] = life.until(120)
    life.arrive(130, span("audit.log", 2))

    [held] = life.until(200)

    assert (broken.verdict, held.verdict, held.previous) == ("broken", "held", "broken")
    published = [outcome.finding is not None for outcome in (broken, held)]
    assert [mode is Mode.LIVE, mode is Mode.LIVE] == published


def test_excepted_trace_is_counted_once() -> None:
    """A trace exempt from an otherwise applicable rule is counted once, not again at its next window."""
    life = Life(compiled(EXCEPTED.replace("MODE", "")))
    life.arrive(100, span("pii.access", attributes={"batch": True}))
    [first] = life.until(120)
    life.arrive(130, span("pii.access", 2, attributes={"batch": True}))

    [second] = life.until(200)

    assert (first.verdict, first.excepted, first.finding) == ("not_applicable", 1, None)
    assert (second.verdict, second.excepted, second.finding) == ("not_applicable", 0, None)


def test_exempt_trace_becomes_applicable() -> None:
    """A second access that no exception covers makes the rule applicable, and the trace no longer counts as exempt."""
    life = Life(compiled(EXCEPTED.replace("MODE", "")))
    life.arrive(100, span("pii.access", attributes={"batch": True}))
    life.until(120)
    life.arrive(130, span("pii.access", 2))

    [outcome] = life.until(200)

    assert (outcome.verdict, outcome.previous, outcome.excepted) == ("broken", "not_applicable", -1)
    assert outcome.finding is not None


def test_rules_that_missed_part_of_a_chain_do_not_judge() -> None:
    """Only rules that saw the whole chain judge it; the verdicts of the others do not change."""
    life = Life(compiled(AUDITED, UNCHECKED))
    life.arrive(100, span("pii.access"), span("data.access", 2))
    [first] = [finding for finding in life.findings(120) if finding.rule.id == "UNCHECKED"]
    life.judged_by -= {first.rule.fingerprint}
    life.arrive(130, span("audit.log", 3), span("auth.check", 4))

    found = life.findings(200)

    assert [finding.rule.id for finding in found] == ["soc2-cc6-7-pii-access-must-be-logged"]


def test_equal_rules_have_separate_findings() -> None:
    """One condition under two ids is two rules; each is published and repaired."""
    life = Life(compiled(UNCHECKED, UNCHECKED.replace("UNCHECKED", "UNCHECKED_TOO")))
    life.arrive(100, span("data.access"))
    first = life.findings(120)
    life.arrive(130, span("auth.check", 2))

    second = life.findings(200)

    assert [finding.rule.id for finding in first] == ["UNCHECKED", "UNCHECKED_TOO"]
    assert [finding.rule.id for finding in second] == ["UNCHECKED", "UNCHECKED_TOO"]
    assert len({finding.uid for finding in first}) == 2


def test_disabled_rule_repairs_nothing() -> None:
    """A rule that has been disabled does not repair its earlier findings."""
    life = Life(compiled(EXCEPTED.replace("MODE", "")))
    life.arrive(100, span("pii.access"))
    life.findings(120)
    life.rules = compiled(EXCEPTED.replace("MODE", "enabled: false"))
    life.arrive(130, span("audit.log", 2))

    assert life.until(200) == []


def test_signal_has_the_text_of_the_rule() -> None:
    """A signal carries what a person must know of its rule."""
    [rule] = compiled(AUDITED).rules

    text = rule_text(rule)

    assert ("SOC2 CC6.7: PII access must be logged", "high", "invariant", ("SOC2/CC6.7",), rule.fingerprint) == (
        text.title,
        text.severity,
        text.kind,
        text.controls,
        text.fingerprint,
    )


def test_finding_has_what_the_rule_states_for_triage() -> None:
    """Every key that a rule has for triage reaches its findings."""
    keys = {
        "author": "me",
        "version": "1.2",
        "date": "2026-01-05",
        "modified": "2026-02-01",
        "related": ("other",),
        "attack": ("T1059.001",),
        "atlas": ("AML.T0051",),
        "runbook": "call them",
        "false_positives": ("at night, exports",),
        "risk_score": 0,
    }
    lines = "".join(f"// {key}: {value[0] if isinstance(value, tuple) else value}\n" for key, value in keys.items())
    life = Life(compiled(f"// id: r\n{lines}when {{ a }} always {{ b }}"))
    life.arrive(100, span("a"))

    [finding] = life.findings(200)

    assert keys == {key: getattr(finding.rule, key) for key in keys}
