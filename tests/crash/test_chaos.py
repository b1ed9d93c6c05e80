"""The law, on a real broker: whatever happens to workers and broker, the same signals, counts and windows."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import pytest

from tests.crash.chaos import INGEST_BYTES, LONG, SHORT, run

pytestmark = [pytest.mark.broker, pytest.mark.crash]

# The program gives up after ten seconds at most; a slow machine may take four times as long.
END_S = 40.0


@pytest.mark.timeout(3_600)
def test_faults_do_not_change_the_results(
    tmp_path: Path, pytestconfig: pytest.Config, capfd: pytest.CaptureFixture[str]
) -> None:
    """Workers are killed, suspended, moved and lose their disks, a broker is suspended: the results are correct.

    Meanwhile a hostile sender writes among the honest ones, and the memory of ingest stays bounded.
    """
    form = LONG if pytestconfig.getoption("--long") else SHORT

    figures = run(form, str(time.time_ns()), tmp_path)

    with capfd.disabled():
        print(msgspec.json.encode(figures).decode())  # noqa: T201, whoever runs it wants to know
    assert 0 == figures.found.faults
    assert [] == figures.ended_wrongly
    assert END_S > figures.slowest_end_s
    assert min(figures.found.signals, figures.found.amended, figures.found.open_windows) > 0
    assert min(figures.hostile, figures.found.honest_signals) > 0
    assert INGEST_BYTES > figures.peak_mib["ingest"] * (1 << 20)
    assert figures.found.stores_compared > 0
