"""`betrace run --workers` on a real Kafka: as many workers as one likes, with or without the scanner, say the same."""

from __future__ import annotations

import dataclasses
import signal
import time
from pathlib import Path

import psutil
import pytest

from streams import scan
from streams.scan import Choice
from tests.broker.program import LOOK_EVERY_S, RUN_S, Program, expected
from tests.broker.test_run import play

pytestmark = pytest.mark.broker

END_S = 10
OPTIONS = ("--gap", "2s", "--out-of-order", "500ms", "--facts-partitions", "4")
PATHS = [Choice.PURE, Choice.CYTHON if scan.compiled() else Choice.PURE]


@pytest.fixture
def program(kafka: str, fresh_prefix: str, tmp_path: Path) -> Program:
    """An installation with source topics of its own."""
    program = Program(kafka, fresh_prefix, tmp_path, options=OPTIONS)
    program.make_sources(4)
    return program


def with_workers(program: Program, count: int) -> Program:
    """The same installation with so many workers."""
    return dataclasses.replace(program, options=(*OPTIONS, "--workers", str(count)))


def stages(run: int, role: str) -> dict[int, psutil.Process]:
    """The processes of a role below the program, by pid."""
    children = psutil.Process(run).children()
    return {child.pid: child for child in children if role in _words(child)}


def _words(child: psutil.Process) -> list[str]:
    """Its command line; empty when it is gone."""
    try:
        return list(child.cmdline())
    except psutil.NoSuchProcess:
        return []


def wait_for_another(run: int, role: str, known: set[int]) -> None:
    """Waits until the program has a process of the role that was not there before."""
    deadline_s = time.monotonic() + RUN_S
    while not stages(run, role).keys() - known:
        assert time.monotonic() < deadline_s, f"no {role} was started"
        time.sleep(LOOK_EVERY_S)


@pytest.mark.parametrize(("count", "path"), [(2, PATHS[0]), (3, PATHS[1]), (4, PATHS[0])])
def test_any_number_of_workers_says_the_same(
    program: Program, count: int, path: Choice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several workers, with the scanner and without: exactly the broken traces, each signalled once, as with one."""
    monkeypatch.setenv(scan.VARIABLE, path.value)
    play(program, "keyed_spans", "keyed_logs")

    with_workers(program, count).run_until_idle()

    assert expected() == program.broken()
    assert len(expected()) == len(program.signals())


def test_workers_may_be_more_or_fewer_at_the_next_start(program: Program) -> None:
    """Half of the input with three workers, half with one: what was judged stays, amended, and nothing comes twice."""
    play(program, "keyed_logs")
    with_workers(program, 3).run_until_idle()
    play(program, "keyed_spans")

    program.run_until_idle()

    said = [(one["finding_info"]["uid"], one["unmapped"]["betrace"]["revision"]) for one in program.signals()]
    assert expected() == program.broken()
    assert sorted(set(said)) == sorted(said)


def test_worker_that_is_killed_is_started_again(program: Program) -> None:
    """One process of each stage is killed: another takes its place, no signal is lost, and SIGTERM still ends all."""
    with with_workers(program, 2).running() as run:
        wait_for_another(run.pid, "ingest", set())
        wait_for_another(run.pid, "sessions", set())
        play(program, "keyed_spans", "keyed_logs")
        program.wait_for_signals()
        for role in ("ingest", "sessions"):
            known = stages(run.pid, role)
            next(iter(known.values())).kill()
            wait_for_another(run.pid, role, {*known})
        all_stages = stages(run.pid, "run")
        begun_s = time.monotonic()
        run.send_signal(signal.SIGTERM)

        code = run.wait(2 * END_S)

        assert code == 0
        assert time.monotonic() - begun_s < END_S
        assert [] == [pid for pid in all_stages if psutil.pid_exists(pid)]

    program.run_until_idle()
    assert expected() == program.broken()
    assert len(expected()) == len(program.signals())
