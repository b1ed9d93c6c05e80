"""Tests how signals are grouped by the dedup of their rule."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from dsl import Event, RuleSet, Span, Value
from tests.support.trace_life import Life, compiled, span
from topics.signals.finding import Dedup, Finding

SECOND_NS = 10**9
RULE = "when { export } always { approval before export }"


def rule(by: str = "user.id", period: str = "5s", condition: str = RULE) -> RuleSet:
    """A rule with a dedup."""
    return compiled(f"// id: r\n// dedup: {by} for {period}\n{condition}")


def finding(rules: RuleSet, *spans: Span, tick: int = 100) -> Finding:
    """The finding about a trace of these spans."""
    life = Life(rules)
    life.arrive(tick, *spans)
    [found] = life.findings(tick + 100)
    return found


def group(rules: RuleSet, *spans: Span, tick: int = 100) -> Dedup:
    """The group of that finding."""
    dedup = finding(rules, *spans, tick=tick).dedup
    assert dedup is not None
    return dedup


def export(number: int = 1, start_ns: int | None = 20 * SECOND_NS, **attributes: Value) -> Span:
    """A span that breaks the rule; `user_id` stands for `user.id`."""
    return span("export", number, start_ns, {name.replace("_", "."): value for name, value in attributes.items()})


def test_a_group_is_of_values_and_period() -> None:
    """The group names the attributes and the period."""
    dedup = group(rule("user.id, tenant.id"), export(user_id="u-17"))

    assert (dedup.by, dedup.from_ms, dedup.to_ms) == (("tenant.id", "user.id"), 10_000, 15_000)


def test_equal_values_are_one_group() -> None:
    """Traces with the same values are of one group; each of the attributes counts, and so does a missing one."""
    rules = rule("user.id, tenant.id")
    of_one = group(rules, export(user_id="u-17", other=1))

    assert of_one == group(rules, export(2, user_id="u-17", other=2))
    others = [
        group(rules, export(user_id="u-18")),
        group(rules, export(tenant_id="u-17")),
        group(rules, export(user_id="u-17", tenant_id="t")),
        group(rules, export(user_id="u-17", tenant_id="")),
        group(rules, export()),
    ]
    assert len({each.uid for each in (of_one, *others)}) == 6


@pytest.mark.parametrize(
    ("one", "other"), [(7, "7"), (7.0, 7), (True, "true"), (["a", "b"], ["b", "a", "a"]), (["a"], "a")]
)
def test_values_are_compared_as_join_keys(one: Value, other: Value) -> None:
    """A value is its canonical text; the order of an array's elements does not count."""
    assert group(rule(), export(user_id=one)) == group(rule(), export(user_id=other))


@pytest.mark.parametrize("value", [None, float("nan"), {"a": 1}, ["x"] * 65])
def test_values_that_join_keys_cannot_have_are_missing(value: Value) -> None:
    """Neither a value that is no text, number or boolean nor a long array can be compared."""
    assert group(rule(), export(user_id=value)) == group(rule(), export())


def test_names_are_looked_up_as_in_the_where() -> None:
    """The attribute may have the subject's name before it, and of an event its own attributes count."""
    expected = group(rule(), export(user_id="u-17"))
    event = Span("work", b"1" * 8, start_ns=1, end_ns=None, events=(Event("export", {"user.id": "u-17"}),))
    resource = Span("export", b"1" * 8, start_ns=1, end_ns=None, resource={"user.id": "u-17"})

    assert expected == group(rule(), export(export_user_id="u-17", user_id="u-18"))
    assert expected == group(rule(), event)
    assert expected == group(rule(), resource)


def test_the_first_witness_decides() -> None:
    """The value is that of the subject that comes first in the rule, and of it that of the span that starts first."""
    rules = rule(condition="when { export } never { refund }")
    refund = span("refund", 3, 1 * SECOND_NS, {"user.id": "u-1"})
    first, second = export(1, 10 * SECOND_NS, user_id="u-2"), export(2, 9 * SECOND_NS, user_id="u-3")

    assert group(rules, refund, first, second) == group(rules, export(user_id="u-3"), refund)
    assert group(rules, refund, export()) == group(rules, export(user_id="u-1"), span("refund", 3))


def test_order_and_copies_do_not_count() -> None:
    """Records in any order and any number lead to the same group."""
    spans = [export(1, 10 * SECOND_NS, user_id="u-2"), export(2, 9 * SECOND_NS, user_id="u-3"), export(3, None)]

    assert group(rule(), *spans) == group(rule(), *reversed(spans), *spans)


@pytest.mark.parametrize(("tick", "from_ms"), [(100, 10_000), (149, 10_000), (150, 15_000), (99, 5_000), (0, 0)])
def test_period_has_the_first_fact(tick: int, from_ms: int) -> None:
    """Periods begin at multiples of `for`; a trace is of the period of the first record that concerns the rule."""
    life = Life(rule())
    life.arrive(tick, export())
    life.arrive(tick + 9, export(2))

    [found] = life.findings(tick + 100)

    assert found.dedup is not None
    assert (found.dedup.from_ms, found.dedup.to_ms) == (from_ms, from_ms + 5_000)


def test_another_rule_or_dedup_is_another_group() -> None:
    """A group is of one rule; a push that changes the rule or the length of a period begins others."""
    spans = export(user_id="u-17")
    sets = [
        rule(),
        rule(period="10s"),
        rule(condition="when { export } always { approval }"),
        compiled(f"// id: q\n// dedup: user.id for 5s\n{RULE}"),
    ]

    assert len({group(each, spans).uid for each in sets}) == 4


def test_revisions_stay_in_their_group() -> None:
    """A finding that late spans repair, or to which the rule no longer applies, has the group that it had."""
    life = Life(rule(condition="when { export and not refund } always { approval }"))
    life.arrive(100, export(user_id="u-17"))
    life.arrive(120, span("approval"))
    life.arrive(140, span("refund"))

    found = life.findings(300)

    assert ["broken", "held", "not_applicable"] == [each.verdict for each in found]
    assert 1 == len({each.dedup for each in found})


def test_a_late_first_witness_moves_the_finding() -> None:
    """A late span that starts before all others may have another value; its revision has the group of that."""
    life = Life(rule(condition="when { export } always { approval }"))
    life.arrive(100, export(user_id="u-17"))
    life.arrive(120, export(2, 1, user_id="u-18"), span("approval"))

    first, second = life.findings(300)

    assert (first.uid, True) == (second.uid, first.dedup != second.dedup)


def test_verdicts_and_witnesses_do_not_depend_on_dedup() -> None:
    """A dedup, of the rule or of another one with the same subjects, changes nothing else of a finding."""
    spans = export(user_id="u-17", order="o-1")
    plain = compiled(f"// id: r\n{RULE}")
    beside = compiled(f"// id: r\n{RULE}\n", f"// id: q\n// mode: shadow\n// dedup: order for 1h\n{RULE}")

    expected = finding(plain, spans)

    assert expected.dedup is None
    assert expected == finding(beside, spans)
    assert expected == replace(finding(rule("order"), spans), dedup=None)
