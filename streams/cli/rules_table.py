"""Defines the output of `betrace rules list` and `history`."""

from __future__ import annotations

import msgspec

from streams.config.units import iso_ms
from streams.rules.history import Push, Pushed
from streams.rules.judging import RuleStart

SET_HEAD = ("SET", "ACTIVE", "RULES", "PUSHED", "BY", "IN PLACE OF", "REVISION")
PUSH_HEAD = ("PUSHED", "SET", "HOW", "BY", "IN PLACE OF", "REVISION")


class SetRow(msgspec.Struct, frozen=True, kw_only=True):
    """The output of `list` for a rule set; `rules` is None if this version cannot compile it.

    `pushed`, `pushed_by` and `previous`, the set active before, describe its last push. For the active set the last
    three describe its activation, which differs from the push after a rollback. `judging` says from when each of its
    rules judges; None if that is unknown.
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
    active_is_certain: bool = True


class PushRow(msgspec.Struct, frozen=True, kw_only=True):
    """The output of `history` for a push; `how` is `run`, `push` or `rollback`, None if an older version wrote it."""

    pushed: str
    fingerprint: str
    how: str | None
    pushed_by: str
    previous: str | None
    revision: str | None


def set_row(each: Pushed, judging: list[RuleStart] | None) -> SetRow:
    """Return the row of a rule set; `judging` applies to the active one."""
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
        active_is_certain=activation is None or activation.is_certain,
    )


def set_cells(row: SetRow) -> tuple[str, ...]:
    """Return the cells of a rule set, for the columns `SET_HEAD`."""
    count = "unreadable" if row.rules is None else str(row.rules)
    active = ("active" if row.active_is_certain else "active, or another") if row.active else ""
    return row.fingerprint, active, count, row.pushed, row.pushed_by, row.previous or "", row.revision or ""


def push_row(push: Push) -> PushRow:
    """Return the row of a push."""
    return PushRow(
        pushed=iso_ms(push.time_ms),
        fingerprint=push.rule_set,
        how=None if push.origin is None else push.origin.value,
        pushed_by=push.by,
        previous=push.previous,
        revision=push.revision,
    )


def push_cells(row: PushRow) -> tuple[str, ...]:
    """Return the cells of a push, for the columns `PUSH_HEAD`."""
    return row.pushed, row.fingerprint, row.how or "", row.pushed_by, row.previous or "", row.revision or ""
