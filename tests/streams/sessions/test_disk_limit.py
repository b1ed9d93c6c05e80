"""Windows that exceed the disk limit, against a real broker."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from streams.config.settings import Settings
from streams.errors import StateError
from streams.rules import registry
from streams.sessions.recovery import store_path
from streams.sessions.task import PartitionTask
from tests.support.driven import AUDITED, FAR_MS, A, B, Driven, compiled
from tests.support.installation import installed
from topics.records.verdicts import Coverage, VerdictCounts

pytestmark = pytest.mark.broker

EVICTED_MS = 11_000


@pytest.fixture
def settings(kafka: str, fresh_prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """An installation with a rule and no room for a single window."""
    monkeypatch.setattr("streams.config.settings.LEAST_DISK_BYTES", 1)
    found = dataclasses.replace(installed(kafka, fresh_prefix, tmp_path), window_disk_bytes=2)
    registry.push(found, compiled(AUDITED), now_ms=1)
    return found


def fail(_work: PartitionTask, _works: int) -> None:
    """Fail the second half of a step, as a disk that refuses."""
    raise StateError("the disk is full", action="none")


@pytest.mark.parametrize("crash", [None, "published", "rebuilt"])
def test_windows_beyond_the_limit_close_as_incomplete(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, crash: str | None
) -> None:
    """Windows beyond the limit close as incomplete, once, wherever a worker is killed."""
    driven = Driven(settings)
    driven.apply(10_100, driven.entry(100, "pii.access"))
    driven.step()
    driven.apply(EVICTED_MS)
    if crash is None:
        driven.step()
    else:
        with monkeypatch.context() as broken:
            broken.setattr(PartitionTask, "flush_state", fail)
            with pytest.raises(StateError):
                driven.step()
        driven.crash()
        if crash == "rebuilt":
            shutil.rmtree(store_path(settings, 0))
        driven = driven.again()
        driven.deliver(0, 1)

    driven.apply(12_000)
    driven.step()
    driven.apply(FAR_MS)
    driven.step()

    assert [(A.hex(), "undetermined", 1)] == driven.signals()


def test_no_trace_is_judged_soon_after_an_eviction(settings: Settings) -> None:
    """A later trace may have existed before, so it is not judged, and coverage has the time from which some are.

    Traces are judged again when gap and lateness have passed.
    """
    driven = Driven(settings)
    driven.apply(10_100, driven.entry(100, "pii.access"))
    driven.step()
    driven.apply(EVICTED_MS)
    driven.step()
    driven.apply(12_100, driven.entry(120, "pii.access", trace=B))
    driven.apply(FAR_MS)
    driven.step()

    counted = [record for record in driven.verdicts() if isinstance(record, VerdictCounts)]
    listed = [record.rules for record in driven.verdicts() if isinstance(record, Coverage) and record.rules]
    reach_ms = settings.gap_ms + settings.lateness_ms
    assert (0, 0, 1) == (counted[0].added.held, counted[0].added.broken, counted[0].added.undetermined)
    assert 1 == len(counted)
    assert EVICTED_MS + reach_ms < listed[-1][0].from_ms
