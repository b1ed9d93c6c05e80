"""The cap on new signals of a rule in an hour, with findings as values."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from streams.config.settings import Settings
from streams.sessions.quota import SignalQuota
from tests.support.findings import AMENDED, FINDING
from topics.signals.finding import HOUR_MS, Finding
from topics.signals.sentence import sentence


def finding(number: int, *, rule: str = "a", hours: int = 0) -> Finding:
    """The finding of a trace, closed some hours later than the first."""
    return replace(
        FINDING,
        rule=replace(FINDING.rule, id=rule),
        trace_id=number.to_bytes(16, "big"),
        closed_ms=FINDING.closed_ms + hours * HOUR_MS,
    )


def admitted(quota: SignalQuota, *findings: Finding) -> list[tuple[int, bool] | None]:
    """What becomes of each: the number of its trace and whether it is the summary; None where nothing goes out."""
    answers = [quota.admit(each) for each in findings]
    return [None if each is None else (each.trace_id[-1], each.is_summary) for each in answers]


def test_no_limit_lets_all_pass() -> None:
    """Without the setting nothing is counted or withheld."""
    quota = SignalQuota(None)

    assert [(1, False), (2, False)] == admitted(quota, finding(1), finding(2))
    assert quota.said is None


def test_beyond_the_limit_there_is_one_summary() -> None:
    """As many as the limit pass, the next is the summary, and the others are only counted."""
    seen = admitted(SignalQuota(2), *(finding(number) for number in range(1, 6)))

    assert [(1, False), (2, False), (3, True), None, None] == seen


def test_each_rule_and_hour_counts_for_itself() -> None:
    """Another rule is not held up, and with the next hour of record time a rule begins again."""
    quota = SignalQuota(1)

    seen = admitted(quota, finding(1), finding(2, rule="b"), finding(3), finding(4, hours=1), finding(5, hours=1))

    assert [(1, False), (2, False), (3, True), (4, False), (5, True)] == seen


def test_amendments_always_pass() -> None:
    """A SIEM that has a finding hears of its repair, whatever the limit."""
    quota = SignalQuota(1)
    admitted(quota, finding(1), finding(2), finding(3))

    assert AMENDED == quota.admit(AMENDED)


@pytest.mark.parametrize("cut", range(6))
def test_who_goes_on_from_what_was_said_says_the_same(cut: int) -> None:
    """Wherever another worker takes over, the same signals go out."""
    findings = [finding(number, hours=number // 4) for number in range(6)]
    whole = admitted(SignalQuota(2), *findings)

    first = SignalQuota(2)
    parts = admitted(first, *findings[:cut]) + admitted(SignalQuota(2, first.said), *findings[cut:])

    assert whole == parts


@pytest.mark.parametrize(("whole", "share"), [(1, 1), (23, 1), (24, 2), (1200, 100)])
def test_limit_is_shared_among_facts_partitions(whole: int, share: int) -> None:
    """Each of 12 facts partitions lets its share pass, and at least one."""
    settings = Settings("localhost:9092", Path("state"), signals_per_hour=whole)
    quota = SignalQuota.shared(settings, None)

    seen = admitted(quota, *(finding(number % 250) for number in range(share + 1)))

    assert [False] * share + [True] == [each is not None and each[1] for each in seen]


def test_summaries_of_an_hour_have_one_uid() -> None:
    """Whatever trace it is about, a receiver that removes doubles has one summary of a rule and an hour."""
    first, second, later = (replace(finding(number), is_summary=True) for number in (1, 2, 3))
    later = replace(later, closed_ms=later.closed_ms + HOUR_MS)

    assert first.uid == second.uid
    assert 3 == len({first.uid, later.uid, finding(1).uid})


def test_summary_says_what_it_is() -> None:
    """Its sentence names the hour, then says what the first withheld finding would have said."""
    said = sentence(replace(FINDING, is_summary=True))

    assert said == (
        "The limit of signals of this rule in the hour from 2026-01-05T11:00:00.000Z is reached: further ones are "
        f"withheld until that hour ends, verdicts count them; the first withheld: {sentence(FINDING)}"
    )
