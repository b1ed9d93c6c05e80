"""Tests what a report states about a period."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.cli.evidence_report import build
from streams.evidence.ledger.storage import seal_path
from streams.evidence.report.model import Report
from tests.support.quarter import DAY_MS, HOUR_MS, PII, START_MS, Quarter, compiled

DAYS = 4
END_MS = START_MS + DAYS * DAY_MS


def made(quarter: Quarter, control: str | None = None) -> Report:
    """Returns the report on everything."""
    quarter.make()
    return build(str(quarter.root), START_MS, None, control)


def test_zero_is_stated_when_every_hour_was_judged(tmp_path: Path) -> None:
    """A period that was judged completely, and in which nothing broke, has exactly that statement."""
    report = made(Quarter(tmp_path / "e", DAYS))

    assert "0 violations over 4 days, 2 verdicts undetermined. All of the period was judged." == report.statement
    assert END_MS == report.to_ms
    assert [] == report.judged.gaps
    assert all(rule.statement.startswith("0 violations over 4 days: ") for rule in report.rules)


@pytest.mark.parametrize("hour", [0, 30, 24 * DAYS - 1])
def test_zero_is_not_stated_when_an_hour_was_not_judged(tmp_path: Path, hour: int) -> None:
    """An hour without coverage is named, and there is no statement about the whole period any more."""
    quarter = Quarter(tmp_path / "e", DAYS, not_judged={hour})
    quarter.make()

    report = build(str(quarter.root), START_MS, END_MS, None)

    said = [report.statement, *(rule.statement for rule in report.rules)]
    assert not [text for text in said if "violations over" in text]
    assert "1 hour of 4 days was not judged" in report.statement
    assert [(START_MS + hour * HOUR_MS, START_MS + (hour + 1) * HOUR_MS)] == [
        (gap.from_ms, gap.to_ms) for gap in report.judged.gaps
    ]
    assert (1, 96) == (report.judged.hours_with_gaps, report.judged.hours)
    assert not any(control.is_proven for control in report.controls)
    assert 23 / 24 == pytest.approx(report.rules[0].days[hour // 24].judged)


@pytest.mark.parametrize(
    ("quarter", "reason"),
    [
        (Quarter(Path("e"), DAYS, lost=(5_100, 5_140)), "40 source records lost before they could be read"),
        (Quarter(Path("e"), DAYS, dead_letters=None), "how many source records could not be read is not known"),
        (Quarter(Path("e"), DAYS, dead_letters=1), "96 source records could not be read and became dead letters"),
    ],
)
def test_zero_is_not_stated_when_input_was_lost(tmp_path: Path, quarter: Quarter, reason: str) -> None:
    """Records that could not be judged prevent a statement, counted once however many partitions report them."""
    quarter.root = tmp_path / "e"

    report = made(quarter)

    assert f"No statement on the whole period: {reason}." in report.statement


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A damaged seal is a gap, and a reason."""
    quarter = Quarter(tmp_path / "e", DAYS)
    quarter.make()
    place = quarter.root / seal_path(7)
    place.chmod(0o644)
    place.write_bytes(b"\xff{")

    report = build(str(quarter.root), START_MS, None, None)

    assert [seal_path(7)] == report.evidence.unreadable
    assert "1 file of the evidence could not be read" in report.statement


@pytest.mark.parametrize("lines", [slice(1, 2), slice(2, 3), slice(-7, None)])
def test_incomplete_file_is_named(tmp_path: Path, lines: slice) -> None:
    """A seal without one of its entries, or without its tree head, is never counted silently."""
    quarter = Quarter(tmp_path / "e", DAYS)
    quarter.make()
    place = quarter.root / seal_path(7)
    kept = place.read_bytes().splitlines(keepends=True)
    del kept[lines]
    place.chmod(0o644)
    place.write_bytes(b"".join(kept))

    report = build(str(quarter.root), START_MS, None, None)

    assert [seal_path(7)] == report.evidence.unreadable


def test_counts_are_those_of_the_records(tmp_path: Path) -> None:
    """Sums by rule, control and day match the records, and broken traces come with their witnesses."""
    quarter = Quarter(tmp_path / "e", DAYS, broken={3, 50})

    report = made(quarter)

    [rule] = [rule for rule in report.rules if rule.id == PII]
    mine = [record for record in quarter.told if record.rule == PII]
    assert (sum(one.added.held for one in mine), 2, 0) == (
        rule.counts.held,
        rule.counts.broken,
        rule.counts.undetermined,
    )
    assert rule.applicable == rule.counts.held + 2
    assert [1, 0, 1, 0] == [day.broken for day in rule.days]
    assert rule.counts.held == sum(day.held for day in rule.days)
    assert [50, 3] == [int(trace.trace_id, 16) for trace in rule.broken_traces]
    assert ["POST /export", "export users"] == [bar.name for bar in rule.broken_traces[0].witnesses]
    assert "2 violations over 4 days" in rule.statement


def test_control_has_only_its_rules(tmp_path: Path) -> None:
    """A report on one control, however it is spelled, is about the rules that name it."""
    report = made(Quarter(tmp_path / "e", DAYS), "HIPAA 164.312(b)")

    assert [PII] == [rule.id for rule in report.rules]
    assert ["HIPAA/164.312(b)"] == [control.control for control in report.controls]
    assert [True] == [control.is_proven for control in report.controls]


def test_rules_have_their_history_and_exceptions(tmp_path: Path) -> None:
    """The evidence has who pushed which text when, and who owns an exception."""
    report = made(Quarter(tmp_path / "e", DAYS))

    payments, pii = (
        next(rule for rule in report.rules if rule.id == name) for name in ("payments-are-authorised", PII)
    )
    assert [("grace", START_MS - DAY_MS), ("ada", START_MS + DAY_MS)] == [
        (version.pushed_by, version.from_ms) for version in payments.versions
    ]
    assert "amount > 1000" in payments.versions[1].text
    assert ["grace"] == [version.pushed_by for version in pii.versions]
    assert [("data-platform@example.com", False)] == [(one.owner, one.has_expired) for one in pii.exceptions]
    assert compiled().fingerprint == report.rule_sets[-1].rule_set
