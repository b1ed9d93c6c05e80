"""kill -9 in the middle of a topic: no signal is missing."""

from __future__ import annotations

import random
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.support import paths
from tests.support.load import CORPUS, originals
from tests.support.load import load as write_copies
from tests.support.program import STOP_S, Program, alive
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.broker, pytest.mark.crash]

RULES = paths.RULES / "corpus.rules"
PARTITIONS = 2
COPIES = 150
"""Of 2,007 spans each."""

KILLS = {"short": 3, "long": 20}
ALIVE_S = (2.5, 7.0)


def kill(run: subprocess.Popen[bytes]) -> None:
    """Ends the run at once; its stages go with their supervisor."""
    run.kill()
    run.wait(STOP_S)


@pytest.mark.parametrize("corpus", ["partitioned_proto", "unkeyed_proto"])
def test_kills_neither_lose_nor_add_signals(
    kafka: str, fresh_prefix: str, tmp_path: Path, pytestconfig: pytest.Config, corpus: str
) -> None:
    """A run over 300,000 spans, killed at random moments and restarted, publishes exactly the expected signals."""
    program = Program(kafka, fresh_prefix, tmp_path, RULES)
    program.make_sources(PARTITIONS)
    loaded = write_copies(kafka, originals(CORPUS / f"{corpus}.bin.gz"), program.spans_topic, COPIES, PARTITIONS)
    moments = random.Random(corpus)

    for _ in range(KILLS["long" if pytestconfig.getoption("--long") else "short"]):
        with program.running() as run:
            time.sleep(moments.uniform(*ALIVE_S))
            kill(run)
    program.run_until_idle()

    expected = program.truth()
    assert loaded.span_count > 300_000
    assert len(expected) > COPIES
    assert expected == program.broken()


def test_stages_end_with_their_supervisor(kafka: str, fresh_prefix: str, tmp_path: Path) -> None:
    """When the supervisor is killed its stages end too, so the next start finds the state unlocked."""
    program = Program(kafka, fresh_prefix, tmp_path)
    program.make_sources()
    with program.running() as run:
        wait_until(lambda: len(stages_of(run)) == 2, "both stages run")
        stages = stages_of(run)

        kill(run)

    wait_until(lambda: not any(map(alive, stages)), "the stages are gone")


def stages_of(run: subprocess.Popen[bytes]) -> list[int]:
    """The pids of the stages of a run."""
    return [child.pid for child in psutil.Process(run.pid).children()]
