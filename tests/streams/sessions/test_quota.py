"""The hourly limit of new signals of a rule, with findings as values."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from streams.config.settings import Settings
from streams.sessions.quota import SignalQuota
from tests.support.findings import AMENDED, FINDING
from topics.signals.finding import HOUR_MS, Finding


def finding(number: int, *, rule: str = "a", hours: int = 0) -> Finding:
    """Create the finding of a trace, closed some hours after the first."""
    return replace(
        FINDING,
        rule=replace(FINDING.rule, id=rule),
        trace_id=number.to_bytes(16, "big"),
        closed_ms=FINDING.closed_ms + hours * HOUR_MS,
    )


def admitted(quota: SignalQuota, *findings: Finding, replay: int = 0) -> list[bool]:
    """Return which of them may be published."""
    return [quota.admit(each, replay) for each in findings]


def test_without_a_limit_all_signals_are_admitted() -> None:
    """Without the setting nothing is counted or withheld."""
    quota = SignalQuota(None)

    assert [True, True] == admitted(quota, finding(1), finding(2))
    assert quota.hourly_signals is None


def test_signals_beyond_the_limit_are_withheld() -> None:
    """As many as the limit are admitted, and none after them."""
    assert [True, True, False, False] == admitted(SignalQuota(2), *(finding(number) for number in range(1, 5)))


def test_each_rule_and_hour_counts_for_itself() -> None:
    """Rules do not affect each other, and each hour of record time starts over."""
    quota = SignalQuota(1)

    seen = admitted(quota, finding(1), finding(2, rule="b"), finding(3), finding(4, hours=1), finding(5, hours=1))

    assert [True, True, False, True, False] == seen


def test_hours_decrease_only_after_a_reset() -> None:
    """A close as of the previous hour, at the end of input, counts in the current one; a reset starts over."""
    quota = SignalQuota(1)

    seen = admitted(quota, finding(1, hours=1), finding(2))
    hour = quota.hour
    again = admitted(quota, finding(3), finding(4, hours=1), replay=7)

    assert ([True, False], [True, True]) == (seen, again)
    assert [(0, FINDING.closed_ms // HOUR_MS + 1), (7, FINDING.closed_ms // HOUR_MS + 1)] == [hour, quota.hour]


def test_amendments_always_pass() -> None:
    """A SIEM that has a finding learns of its repair, whatever the limit."""
    quota = SignalQuota(1)
    admitted(quota, finding(1), finding(2), finding(3))

    assert quota.admit(AMENDED, 0)


@pytest.mark.parametrize("cut", range(6))
def test_resumed_quota_admits_the_same_signals(cut: int) -> None:
    """Wherever another worker takes over, the same signals are published."""
    findings = [finding(number, hours=number // 4) for number in range(6)]
    whole = admitted(SignalQuota(2), *findings, replay=7)

    first = SignalQuota(2)
    parts = admitted(first, *findings[:cut], replay=7) + admitted(
        SignalQuota(2, first.hourly_signals), *findings[cut:], replay=7
    )

    assert whole == parts


@pytest.mark.parametrize("whole", [1, 11, 12, 23, 24, 1200])
def test_limit_is_shared_among_facts_partitions(whole: int) -> None:
    """The shares of 12 facts partitions add up to the limit, but each is at least one signal."""
    settings = Settings(bootstrap="localhost:9092", state_dir=Path("state"), signals_per_hour=whole)
    quotas = [SignalQuota.shared(settings, number, None) for number in range(12)]

    passed = [sum(admitted(quota, *(finding(number % 250) for number in range(whole)))) for quota in quotas]

    assert max(whole, 12) == sum(passed)
    assert max(passed) - min(passed) <= 1
