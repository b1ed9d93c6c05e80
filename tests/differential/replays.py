"""Replays of an archive, by the query and record by record, as they are compared."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from queue import Queue
from typing import NamedTuple

from dsl import RuleSet, Verdict
from streams.config.settings import Settings
from streams.replay.outcome import OutputOptions, Signal
from streams.replay.plan import Plan
from streams.replay.source_reader import Read
from streams.replay.sql_replay import SqlReplay
from streams.replay.tally import Tally
from streams.replay.worker import Done, Failed, Inbox, Job, Outbox, Worker
from tests.differential.histories import LOGS, SPANS

START_MS = 1_700_000_000_000
NOW_MS = START_MS + 3_600_000
SETTINGS = Settings(
    bootstrap="", state_dir=Path(), source_topics=(SPANS, LOGS), gap_ms=400, lateness_ms=800, max_duration_ms=900
)
# No chain is cut: of those a rule alone may say something else.
UNCUT = replace(SETTINGS, max_duration_ms=1_000_000)
FULL = OutputOptions(record=False, message=True, who="user.id")
BRIEF = OutputOptions(record=False, signals=False)


class Found(NamedTuple):
    """What a replay found; `tallies` are those of rules that apply to a trace, or would without an exception."""

    signals: list[Signal]
    traces: int
    tallies: Mapping[str, tuple[object, ...]]
    minutes: set[int]


def _found(signals: list[Signal], traces: int, tallies: Mapping[str, Tally], read: Read) -> Found:
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


def replayed(url: str, rules: RuleSet, plan: Plan, used: Settings = SETTINGS, output: OutputOptions = FULL) -> Found:
    """What a replay in one process finds: signal by signal."""
    outbox: Outbox = Queue()  # type: ignore[assignment]  # it has what is used of one between processes
    inboxes: list[Inbox] = [Queue()]  # type: ignore[list-item]  # as above
    with tempfile.TemporaryDirectory() as directory:
        job = Job(settings=used, texts=dict(rules.texts), only=None, plan=plan, archive=url, output=output)
        Worker(job, 0, plan.inputs, inboxes, outbox, Path(directory)).run()
    signals: list[Signal] = []
    while True:
        said = outbox.get_nowait()
        assert not isinstance(said, Failed)
        signals += said.signals
        if isinstance(said, Done):
            return _found(sorted(signals), said.counts.chains, said.counts.tallies, said.read)


def queried(url: str, rules: RuleSet, plan: Plan, output: OutputOptions, used: Settings = SETTINGS) -> Found:
    """The same by the query."""
    result = SqlReplay(url, used, rules, plan, output, now_ms=NOW_MS)
    signals = [signal for some in result.run() for signal in some]
    return _found(signals, result.chains, result.tallies, result.read)
