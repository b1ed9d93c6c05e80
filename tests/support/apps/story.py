"""A story is one trace that an application tells, and the rules that it breaks by the way it was written.

In: the stories of an application. Out: its telemetry, and the truth: which trace breaks which rule. The truth is known
from how each story is made; nothing of BeTrace takes part in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from opentelemetry.trace import format_trace_id

from tests.support.apps.telemetry import Service

DAY = datetime(2026, 11, 16, tzinfo=UTC)

PII_AUDITED = "soc2-cc6-7-pii-access-must-be-logged"
PII_VERIFIED = "COMPLIANCE_VIOLATION"
TOOL_POLICY = "POLICY_VIOLATION"
AGENT_GOAL = "AGENT_GOAL_DEVIATION"
DATA_AUTHORIZED = "SOC2_CC6_1_VIOLATION"
PHI_AUDITED = "HIPAA_164_312_b_VIOLATION"
NIGHT_CONTRACTOR = "SECURITY_INCIDENT"
DEMO_RULES = (
    PII_AUDITED,
    PII_VERIFIED,
    TOOL_POLICY,
    AGENT_GOAL,
    DATA_AUTHORIZED,
    PHI_AUDITED,
    NIGHT_CONTRACTOR,
)

PAYMENT_CHECKED = "payments-over-1000-need-a-fraud-check"
ROLE_CHANGE_APPROVED = "role-changes-need-an-approval"
LATER_RULES = (PAYMENT_CHECKED, ROLE_CHANGE_APPROVED)

Truth: TypeAlias = dict[str, list[str]]
"""Rule id to the trace ids, 32 hex digits each, that break it."""


@dataclass(frozen=True)
class Story:
    """One request to an application's front service.

    `at` is the time of the day at which it comes in, `request` its HTTP method and route, `tell` does the work and
    `breaks` names the rules that the trace breaks.
    """

    at: timedelta
    request: tuple[str, str]
    tell: Callable[[], None]
    breaks: frozenset[str] = frozenset()


def broken(applicable: bool, kept: Mapping[str, bool]) -> frozenset[str]:  # noqa: FBT001 a claim and what follows
    """The rules of `kept` that are not kept, none when what they are about did not happen.

    >>> sorted(broken(True, {"a": True, "b": False})), sorted(broken(False, {"b": False}))
    (['b'], [])
    """
    return frozenset(rule for rule, is_kept in kept.items() if applicable and not is_kept)


def clock_ns(at: timedelta) -> int:
    """The time of the day `at`, on the day of all stories, in Unix nanoseconds.

    >>> clock_ns(timedelta(0)) == int(DAY.timestamp()) * 10**9
    True
    """
    return int(DAY.timestamp()) * 1_000_000_000 + at // timedelta(microseconds=1) * 1000


def tell(front: Service, stories: Iterable[Story]) -> Truth:
    """Tells the stories in the order of their times; returns which traces break which rule."""
    truth: Truth = {}
    for story in sorted(stories, key=lambda story: story.at):
        front.telemetry.clock.set(clock_ns(story.at))
        with front.serve(*story.request) as root:
            story.tell()
        for rule in story.breaks:
            truth.setdefault(rule, []).append(format_trace_id(root.get_span_context().trace_id))
    return truth
