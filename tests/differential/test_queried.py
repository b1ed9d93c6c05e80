"""`betrace replay --archive`: what the query finds is what a replay finds that decodes every record."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from queue import Queue
from typing import NamedTuple

from hypothesis import event, given, settings
from hypothesis import strategies as st

from dsl import RuleSet, Verdict, compile_texts
from dsl.syntax.nodes import Cond, Form
from dsl.syntax.printer import cond_text, form_text
from streams.config.settings import Settings
from streams.errors import ConfigError
from streams.replay import archived
from streams.replay.outcome import Signal, Wanted
from streams.replay.plan import Period, Plan
from streams.replay.queried import Queried
from streams.replay.reading import Read
from streams.replay.tally import Tally
from streams.replay.worker import Done, Failed, Inbox, Job, Outbox, Worker
from tests.differential.test_archive import LOGS, SPANS, steps, write
from tests.differential.test_rules import _conds, _rules

START_MS = 1_700_000_000_000
NOW_MS = START_MS + 3_600_000
SETTINGS = Settings(
    bootstrap="", state_dir=Path(), source_topics=(SPANS, LOGS), gap_ms=400, lateness_ms=800, max_duration_ms=900
)
# No chain is cut: of those a rule alone may say something else.
UNCUT = replace(SETTINGS, max_duration_ms=1_000_000)
FULL = Wanted(record=False, message=True, who="user.id")
BRIEF = Wanted(record=False, signals=False)


class Found(NamedTuple):
    """What a replay found; `tallies` are those of rules that apply to a trace, or would without an exception."""

    signals: list[Signal]
    traces: int
    tallies: Mapping[str, tuple[object, ...]]
    minutes: set[int]


def found(signals: list[Signal], traces: int, tallies: Mapping[str, Tally], read: Read) -> Found:
    """What a replay found, as it is compared."""
    figures = {
        rule: (
            *(tally.verdicts[verdict.value] for verdict in (Verdict.HELD, Verdict.BROKEN, Verdict.UNDETERMINED)),
            *(tally.excepted, tally.first_ms, tally.last_ms),
        )
        for rule, tally in tallies.items()
        if tally.applicable or tally.excepted
    }
    return Found(signals, traces, figures, read.minutes)


def replayed(url: str, rules: RuleSet, plan: Plan, used: Settings = SETTINGS) -> Found:
    """What a replay in one process finds: signal by signal."""
    outbox: Outbox = Queue()  # type: ignore[assignment]  # it has what is used of one between processes
    inboxes: list[Inbox] = [Queue()]  # type: ignore[list-item]  # as above
    with tempfile.TemporaryDirectory() as directory:
        job = Job(used, dict(rules.texts), None, plan, url, FULL)
        Worker(job, 0, plan.inputs, inboxes, outbox, Path(directory)).run()
    signals: list[Signal] = []
    while True:
        said = outbox.get_nowait()
        assert not isinstance(said, Failed)
        signals += said.signals
        if isinstance(said, Done):
            return found(sorted(signals), said.counts.chains, said.counts.tallies, said.read)


def queried(url: str, rules: RuleSet, plan: Plan, wanted: Wanted, used: Settings = SETTINGS) -> Found:
    """The same by the query."""
    result = Queried(url, used, rules, plan, wanted, now_ms=NOW_MS)
    signals = [signal for some in result.run() for signal in some]
    return found(signals, result.chains, result.tallies, result.read)


def compiled(forms: Iterable[tuple[int, tuple[tuple[Form, str], list[Cond]]]]) -> RuleSet:
    """The rules with their numbers as ids."""
    said = [
        {
            "id": f"r{number}",
            "kind": kind,
            "condition": form_text(form),
            "exceptions": [{"where": cond_text(cond)} for cond in exceptions],
        }
        for number, ((form, kind), exceptions) in forms
    ]
    rules, _ = compile_texts({"t.yaml": json.dumps({"rules": said})})
    return rules


# An example makes files and reads them twice.
@settings(max_examples=settings().max_examples // 6)
@given(
    st.lists(st.tuples(_rules, st.lists(_conds, max_size=1)), min_size=1, max_size=3),
    st.lists(steps, min_size=1, max_size=12),
    st.integers(1, 4),
    st.none() | st.tuples(st.integers(0, 3_000), st.integers(1, 3_000)),
)
def test_any_rule_on_any_archive(
    forms: list[tuple[tuple[Form, str], list[Cond]]],
    history: list[tuple[int, int, tuple[str, bytes]]],
    cut_every: int,
    asked: tuple[int, int] | None,
) -> None:
    """Whatever the rules, the records and the time that is asked for: the same signals, and the same counts."""
    rules = compiled(enumerate(forms))
    period = Period(0, NOW_MS) if asked is None else Period(START_MS + asked[0], START_MS + sum(asked))
    with tempfile.TemporaryDirectory() as directory:
        write(directory, history, cut_every, START_MS)
        try:
            plan = archived.plan(directory, SETTINGS, period, NOW_MS)
        except ConfigError:
            # No record is of an hour that is asked for.
            return

        expected = replayed(directory, rules, plan)
        in_full, in_brief = queried(directory, rules, plan, FULL), queried(directory, rules, plan, BRIEF)

    assert expected == in_full
    assert (expected.traces, expected.tallies, expected.minutes) == (
        in_brief.traces,
        in_brief.tallies,
        in_brief.minutes,
    )
    event(f"{len(expected.signals)} signals")


@settings(max_examples=settings().max_examples // 6)
@given(
    st.lists(st.tuples(_rules, st.lists(_conds, max_size=1)), min_size=2, max_size=3),
    st.lists(steps, min_size=1, max_size=12),
    st.integers(1, 4),
    st.none() | st.tuples(st.integers(0, 3_000), st.integers(1, 3_000)),
)
def test_any_rule_alone_is_the_rule_among_others(
    forms: list[tuple[tuple[Form, str], list[Cond]]],
    history: list[tuple[int, int, tuple[str, bytes]]],
    cut_every: int,
    asked: tuple[int, int] | None,
) -> None:
    """Its signals, uids and counts are the same, whichever way an archive is read and whatever time is asked for."""
    period = Period(0, NOW_MS) if asked is None else Period(START_MS + asked[0], START_MS + sum(asked))
    every, alone = compiled(enumerate(forms)), compiled([(0, forms[0])])
    with tempfile.TemporaryDirectory() as directory:
        write(directory, history, cut_every, START_MS)
        try:
            plan = archived.plan(directory, UNCUT, period, NOW_MS)
        except ConfigError:
            return

        together = replayed(directory, every, plan, UNCUT)
        by_replay, by_query = replayed(directory, alone, plan, UNCUT), queried(directory, alone, plan, FULL, UNCUT)

    signals = [signal for signal in together.signals if signal.rule == "r0"]
    figures = {rule: figure for rule, figure in together.tallies.items() if rule == "r0"}
    assert (signals, figures) == (by_replay.signals, by_replay.tallies)
    assert (signals, figures) == (by_query.signals, by_query.tallies)
