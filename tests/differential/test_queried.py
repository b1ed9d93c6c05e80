"""`betrace replay --archive`: what the query finds is what a replay finds that decodes every record."""

from __future__ import annotations

import tempfile

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from dsl import Span, compile_texts
from streams.errors import ConfigError
from streams.replay import archive_feed
from streams.replay.plan import Period
from tests.differential import histories
from tests.differential.histories import Form, Step, compiled, write
from tests.differential.replays import BRIEF, FULL, NOW_MS, SETTINGS, START_MS, UNCUT, queried, replayed


@pytest.mark.parametrize(
    "condition",
    [
        "when { a } always { each a has b with same x }",
        "when { a } never { distinct(a, x) > 0 }",
        "when { a } never { distinct(a, x) > 0 and count(a by x) > 0 and not some a has b above with same x }",
        "when { a } never { trace.duration == 4ns }",
        "when { a } always { 3ns > trace.duration and trace.duration < 4.5ns }",
        "when { a } never { trace.duration != 1e200d }",
    ],
)
def test_several_atoms_of_one_name(condition: str) -> None:
    """A span hits all atoms of its name: with the attribute that a pair or aggregate compares, and without."""
    rules, _ = compile_texts({"t.rules": f"// id: r\n{condition}"})
    with tempfile.TemporaryDirectory() as directory:
        span = Span("a", start_ns=1, end_ns=5, attributes={"x": 1}, identity=b"1" * 8)
        write(directory, [histories.spans_step(span)], 1, START_MS)
        plan = archive_feed.plan(directory, SETTINGS, Period(0, NOW_MS), NOW_MS)

        expected = replayed(directory, rules, plan)

        assert len(expected.signals) == 1
        assert expected == queried(directory, rules, plan, FULL)
        assert expected.tallies == queried(directory, rules, plan, BRIEF).tallies


# An example makes files and reads them twice.
@settings(max_examples=settings().max_examples // 6)
@given(
    histories.forms,
    histories.histories,
    st.integers(1, 4),
    st.none() | st.tuples(st.integers(0, 3_000), st.integers(1, 3_000)),
)
def test_any_rule_on_any_archive(
    forms: list[Form],
    history: list[Step],
    cut_every: int,
    asked: tuple[int, int] | None,
) -> None:
    """Whatever the rules, the records and the time that is asked for: the same signals, and the same counts."""
    rules = compiled(forms)
    period = Period(0, NOW_MS) if asked is None else Period(START_MS + asked[0], START_MS + sum(asked))
    with tempfile.TemporaryDirectory() as directory:
        write(directory, history, cut_every, START_MS)
        try:
            plan = archive_feed.plan(directory, SETTINGS, period, NOW_MS)
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
    histories.forms.filter(lambda forms: len(forms) > 1),
    histories.histories,
    st.integers(1, 4),
    st.none() | st.tuples(st.integers(0, 3_000), st.integers(1, 3_000)),
)
def test_any_rule_alone_is_the_rule_among_others(
    forms: list[Form],
    history: list[Step],
    cut_every: int,
    asked: tuple[int, int] | None,
) -> None:
    """Its signals, uids and counts are the same, whichever way an archive is read and whatever time is asked for."""
    period = Period(0, NOW_MS) if asked is None else Period(START_MS + asked[0], START_MS + sum(asked))
    every, alone = compiled(forms), compiled(forms[:1])
    with tempfile.TemporaryDirectory() as directory:
        write(directory, history, cut_every, START_MS)
        try:
            plan = archive_feed.plan(directory, UNCUT, period, NOW_MS)
        except ConfigError:
            return

        together = replayed(directory, every, plan, UNCUT)
        by_replay, by_query = replayed(directory, alone, plan, UNCUT), queried(directory, alone, plan, FULL, UNCUT)

    signals = [signal for signal in together.signals if signal.rule == "r0"]
    figures = {rule: figure for rule, figure in together.tallies.items() if rule == "r0"}
    assert (signals, figures) == (by_replay.signals, by_replay.tallies)
    assert (signals, figures) == (by_query.signals, by_query.tallies)
