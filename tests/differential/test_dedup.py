"""The group of a signal depends on the records and the rules alone: live, in replay and from an archive."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable

from hypothesis import event, given, settings
from hypothesis import strategies as st

from dsl import RuleSet, compile_texts
from streams.archive.query import ArchiveRequest
from streams.projection.project import Projector
from streams.replay import archive_feed
from streams.replay.outcome import RECORDS, Signal
from streams.replay.plan import Period
from streams.windows.chain import Bounds
from streams.windows.outcomes import evaluate_close
from tests.differential import histories as archived
from tests.differential.histories import Form, Step, compiled, write
from tests.differential.replays import NOW_MS, SETTINGS, START_MS, queried, replayed
from tests.differential.test_engine import SOURCES, Reader, Record, deeds, engine, histories, run
from tests.support import archive_windows
from topics.signals.digest import digest
from topics.signals.finding import Dedup

RULES = """
rules:
  - {id: tools, condition: "when { agent.tool } always { audit.log }", dedup: {by: [name, role], for: 1s}}
  - {id: either, kind: pattern, condition: agent.tool or data.access, dedup: {by: [name, span.name], for: 2s}}
  - {id: none, condition: "when { not auth.check } never { database.access }", dedup: {by: [user.role], for: 1s}}
"""

Groups = dict[tuple[str, int], Dedup | None]
"""The group of each signal, by its uid and revision."""


def groups_of(signals: Iterable[Signal]) -> Groups:
    """The groups that the records of a replay state."""
    return {(at.uid, at.revision): digest(at.record.value).dedup for at in signals if at.record is not None}


def live_groups(url: str, rules: RuleSet, clock_ms: int | None) -> Groups:
    """The groups that live processing states of the same records, when its clock has come as far as a replay's."""
    request = ArchiveRequest(projector=Projector(rules), bounds=Bounds.of(SETTINGS), clock_ms=clock_ms)
    every = frozenset(rule.fingerprint for rule in rules.rules)
    return {
        (outcome.finding.uid, outcome.finding.revision): outcome.finding.dedup
        for close in archive_windows.closes(url, request)
        for outcome in evaluate_close(close, rules, every, reach_ms=SETTINGS.gap_ms + SETTINGS.lateness_ms)
        if outcome.finding is not None
    }


@settings(deadline=None)
@given(st.lists(histories(), min_size=len(SOURCES), max_size=len(SOURCES)), deeds, st.integers(1, 3))
def test_batches_restarts_and_partitions_change_no_group(
    history: list[list[Record]], done: list[tuple[str, int, int]], count: int
) -> None:
    """However the records are batched and read again, and over how many facts partitions the traces are spread."""
    rules, _ = compile_texts({"r.yaml": RULES})
    at_once, in_parts = engine(rules, 1), engine(rules, count)

    run(at_once, [Reader(place, records) for place, records in zip(SOURCES, history, strict=True)], [])
    run(in_parts, [Reader(place, records) for place, records in zip(SOURCES, history, strict=True)], done)

    expected, actual = ({(at.uid, at.revision): at.dedup for at in judging.findings} for judging in (at_once, in_parts))
    assert expected == actual
    assert all(
        at.dedup and at.dedup.from_ms <= at.first_fact_ms < at.dedup.to_ms and at.dedup.from_ms % 1_000 == 0
        for at in in_parts.findings
    )
    event(f"{len({group.uid for group in expected.values() if group})} groups of {len(expected)} signals")


# An example makes files and reads them three times.
@settings(max_examples=settings().max_examples // 6, deadline=None)
@given(archived.forms, archived.histories, st.integers(1, 4))
def test_replay_and_archive_state_the_groups_of_live(forms: list[Form], history: list[Step], cut_every: int) -> None:
    """Whatever the rules and the records: replay and the query on an archive group signals as live does."""
    rules = compiled(forms, dedup={"by": ["x", "y"], "for": "1s"})
    with tempfile.TemporaryDirectory() as directory:
        write(directory, history, cut_every, START_MS)
        plan = archive_feed.plan(directory, SETTINGS, Period(0, NOW_MS), NOW_MS)

        live = live_groups(directory, rules, plan.clock_ms)
        by_replay = groups_of(replayed(directory, rules, plan, output=RECORDS).signals)
        by_query = groups_of(queried(directory, rules, plan, RECORDS).signals)

    assert live == by_replay == by_query
    assert all(live.values())
    event(f"{len(live)} signals")
