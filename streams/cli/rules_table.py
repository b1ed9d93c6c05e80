"""What `betrace rules list` and `history` print of a rule set and of a push."""

from __future__ import annotations

import msgspec

from streams.config.units import iso_ms
from streams.rules.history import Push, Pushed
from streams.rules.judging import RuleStart

SET_HEAD = ("SET", "ACTIVE", "RULES", "PUSHED", "BY", "IN PLACE OF", "REVISION")
PUSH_HEAD = ("PUSHED", "SET", "HOW", "BY", "IN PLACE OF", "REVISION")


class SetRow(msgspec.Struct, frozen=True):
    """What is listed of a rule set on Kafka; `rules` is None when this version cannot compile it.

    `pushed`, `pushed_by` and `previous`, which was active then, are of its last push. Of the active one the last three
    say since when it is, who made it so, and which was active before: another person and another set than when it was
    pushed where somebody went back to it. Its `judging` says from when each of its rules judges, None where that is not
    known.
    """

    fingerprint: str
    active: bool
    rules: int | None
    pushed: str
    pushed_by: str
    previous: str | None
    revision: str | None
    activated: str | None
    activated_by: str | None
    active_before: str | None
    judging: list[RuleStart] | None = None


class PushRow(msgspec.Struct, frozen=True, kw_only=True):
    """What is listed of a push; `how` is `run`, `push` or `rollback`, None of one by an older version."""

    pushed: str
    fingerprint: str
    how: str | None
    pushed_by: str
    previous: str | None
    revision: str | None


def set_row(each: Pushed, judging: list[RuleStart] | None) -> SetRow:
    """The row of a rule set; `judging` is of the active one."""
    count = None if each.rules is None else len(each.rules.rules)
    last, activation = each.last_push, each.activation
    return SetRow(
        fingerprint=each.fingerprint,
        active=each.is_active,
        rules=count,
        pushed=iso_ms(last.time_ms),
        pushed_by=last.by,
        previous=last.previous,
        revision=each.revision,
        activated=None if activation is None else iso_ms(activation.time_ms),
        activated_by=None if activation is None else activation.by,
        active_before=None if activation is None else activation.previous,
        judging=judging if each.is_active else None,
    )


def set_cells(row: SetRow) -> tuple[str, ...]:
    """Its cells, below `SET_HEAD`."""
    count = "unreadable" if row.rules is None else str(row.rules)
    active = "active" if row.active else ""
    return row.fingerprint, active, count, row.pushed, row.pushed_by, row.previous or "", row.revision or ""


def push_row(push: Push) -> PushRow:
    """The row of a push."""
    return PushRow(
        pushed=iso_ms(push.time_ms),
        fingerprint=push.rule_set,
        how=None if push.origin is None else push.origin.value,
        pushed_by=push.by,
        previous=push.previous,
        revision=push.revision,
    )


def push_cells(row: PushRow) -> tuple[str, ...]:
    """Its cells, below `PUSH_HEAD`."""
    return row.pushed, row.fingerprint, row.how or "", row.pushed_by, row.previous or "", row.revision or ""
