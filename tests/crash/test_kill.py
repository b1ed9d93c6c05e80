"""kill -9 in the middle of a topic: no signal is missing."""

from __future__ import annotations

import random
import subprocess
import time
from pathlib import Path

import pytest

from dsl import Verdict, load
from streams.decode.decoder import decode
from streams.inspect.offline import judge_spans
from streams.projection.project import Projector
from tests.support import paths
from tests.support.load import CORPUS, originals
from tests.support.load import load as write_copies
from tests.support.program import STOP_S, Program, alive
from tests.support.record import read_topic

pytestmark = [pytest.mark.broker, pytest.mark.crash]

RULES = paths.RULES / "corpus.rules"
PARTITIONS = 2
COPIES = 150
"""Of 2,007 spans each."""

KILLS = {"short": 3, "long": 20}
ALIVE_S = (2.5, 7.0)


def truth(program: Program) -> set[tuple[str, str]]:
    """What the rules say of the topic when it is read at once, without Kafka, windows or crashes."""
    rules, _ = load([program.rules])
    interest = Projector(rules).interest
    traces = [decode(frame.value, interest).traces for frame in read_topic(program.bootstrap, program.spans_topic)]
    return {
        (judgement.rule.id, close.trace_id.hex())
        for close, judgement in judge_spans(traces, rules)
        if judgement.verdict is Verdict.BROKEN
    }


def kill(run: subprocess.Popen[bytes]) -> None:
    """Ends the run at once; its stages go with their supervisor."""
    run.kill()
    run.wait(STOP_S)


@pytest.mark.parametrize("corpus", ["partitioned_proto", "unkeyed_proto"])
def test_no_signal_is_missing_after_kills(
    kafka: str, fresh_prefix: str, tmp_path: Path, pytestconfig: pytest.Config, corpus: str
) -> None:
    """300,000 spans, killed at random moments and started again: every signal is there, and none too many."""
    program = Program(kafka, fresh_prefix, tmp_path, RULES)
    program.make_sources(PARTITIONS)
    loaded = write_copies(kafka, originals(CORPUS / f"{corpus}.bin.gz"), program.spans_topic, COPIES, PARTITIONS)
    moments = random.Random(corpus)

    for _ in range(KILLS["long" if pytestconfig.getoption("--long") else "short"]):
        with program.running() as run:
            time.sleep(moments.uniform(*ALIVE_S))
            kill(run)
    program.run_until_idle()

    expected = truth(program)
    assert loaded.span_count > 300_000
    assert len(expected) > COPIES
    assert expected == program.broken()


def test_the_stages_end_with_their_supervisor(kafka: str, fresh_prefix: str, tmp_path: Path) -> None:
    """When the supervisor is killed its stages end too, so that the next start finds nobody at the state."""
    psutil = pytest.importorskip("psutil")
    program = Program(kafka, fresh_prefix, tmp_path)
    program.make_sources()
    with program.running() as run:
        stages = []
        deadline_s = time.monotonic() + STOP_S
        while len(stages) < 2 and time.monotonic() < deadline_s:
            stages = [child.pid for child in psutil.Process(run.pid).children()]
            time.sleep(0.1)

        kill(run)

    deadline_s = time.monotonic() + STOP_S
    while any(map(alive, stages)) and time.monotonic() < deadline_s:
        time.sleep(0.1)
    assert len(stages) == 2
    assert not any(map(alive, stages))
