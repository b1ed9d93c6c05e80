"""Tests how signals with a dedup are grouped for display."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import replace

import pytest
from rich.console import Console

from streams.cli import signal_groups
from streams.cli.signal_groups import GRACE_MS, grouped, size_text
from streams.cli.signal_table import show
from tests.support.findings import AMENDED, DEDUP, SIGNAL, digested
from topics.signals.digest import Digest
from topics.signals.finding import Dedup

GROUP = "with the same tenant.id, user.id from 2026-01-05T11:00:00.000Z to 2026-01-05T12:00:00.000Z"


def signal(uid: str, *, dedup: str = DEDUP.uid, time_ms: int = SIGNAL.time_ms) -> Digest:
    """A signal with this uid, in a group."""
    group = replace_uid(dedup)
    return replace(SIGNAL, uid=uid, dedup=group, time_ms=time_ms)


def replace_uid(uid: str) -> Dedup:
    """The group with another uid."""
    return Dedup(uid, DEDUP.by, DEDUP.from_ms, DEDUP.to_ms)


def shown(signals: Iterable[Digest]) -> list[tuple[str, str]]:
    """What is shown: the uid, and a count in place of the message."""
    return [
        (each.uid, "" if each.message == SIGNAL.message else each.message.partition(" with")[0])
        for each in grouped(signals)
    ]


def test_one_of_a_group_is_shown_and_then_a_count() -> None:
    """Of each group the first signal is shown; when the signals end, it is counted how many more there were."""
    signals = [signal("a"), signal("b"), signal("x", dedup="other"), signal("c")]

    assert [("a", ""), ("x", ""), ("a", "and 2 more")] == shown(signals)


def test_signals_without_a_group_are_all_shown() -> None:
    """A rule without dedup has no groups."""
    assert [("a", ""), ("b", "")] == shown([replace(SIGNAL, uid="a"), replace(SIGNAL, uid="b")])


def test_amendments_are_always_shown() -> None:
    """A finding that was repaired is shown, also if it was only counted before; it is not counted again."""
    repaired = [replace(signal(uid), revision=2) for uid in ("a", "b")]

    assert [("a", ""), ("a", ""), ("b", ""), ("a", "and 1 more")] == shown([signal("a"), signal("b"), *repaired])


def test_a_group_is_counted_when_its_period_is_over() -> None:
    """The count does not wait for the end of the signals, which may never come; stragglers are counted at the end."""
    over = replace(SIGNAL, uid="later", time_ms=DEDUP.to_ms + GRACE_MS)

    signals = [signal("a"), signal("b"), over, signal("c"), signal("d")]

    assert [("a", ""), ("later", ""), ("a", "and 1 more"), ("a", "and 2 more")] == shown(signals)


def test_forgotten_groups_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many groups there are, memory is bounded and no signal is left out without being counted."""
    monkeypatch.setattr(signal_groups, "KEPT", 1)

    signals = [signal("a"), signal("b"), signal("x", dedup="other"), signal("c")]

    assert [("a", ""), ("x", ""), ("a", "and 1 more"), ("c", "")] == shown(signals)


def test_a_count_says_of_what() -> None:
    """The line of a count has the data of the signal that is shown, and names the attributes and the period."""
    *_, count = grouped([signal("a"), signal("b")])

    assert replace(signal("a"), message=f"and 1 more {GROUP}") == count


def test_the_size_of_a_group_counts_findings() -> None:
    """Amendments and signals of other groups are not counted; a signal without a group has none."""
    others = [signal("b"), replace(signal("b"), revision=2), signal("x", dedup="other"), replace(SIGNAL, uid="y")]

    assert f"2 {GROUP}" == size_text(signal("a"), [signal("a"), *others])
    assert size_text(SIGNAL, others) is None


@pytest.mark.parametrize(("groups", "rows"), [(True, 1), (False, 3)])
def test_the_live_table_has_a_row_for_a_group(*, groups: bool, rows: int) -> None:
    """On a terminal a group is one row with a count, unless each signal is to be shown."""
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=200, height=20)

    show([signal("a"), signal("b"), signal("c")], console, groups=groups)

    last = output.getvalue().rpartition("judged at")[2]
    assert last.count("pii-access-is-logged") == rows
    assert ("1 of 3 since 2026-01-05T11:00:00.000Z: pii.access" in last) is groups


def test_without_a_terminal_each_can_be_shown() -> None:
    """With `--all`, lines are not grouped."""
    output = io.StringIO()

    show([signal("a"), digested(AMENDED), signal("c")], Console(file=output), groups=False)

    assert len(output.getvalue().splitlines()) == 3
