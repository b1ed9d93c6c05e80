"""From when rules judge, as a worker reports it: in its checkpoint, its metrics and its probe."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.config.settings import Settings
from streams.config.units import iso_ms
from streams.observe import metrics
from streams.rules import registry
from tests.support.driven import AUDITED, FEW, Driven, compiled
from tests.support.installation import installed

pytestmark = pytest.mark.broker

BOTH = f"{AUDITED}\n{FEW}"


@pytest.fixture
def settings(kafka: str, fresh_prefix: str, tmp_path: Path) -> Settings:
    """An installation with a rule."""
    settings = installed(kafka, fresh_prefix, tmp_path)
    registry.push(settings, compiled(AUDITED), now_ms=1)
    return settings


def sample(name: str, **labels: str) -> float | None:
    """Return a sample of a metric as a scrape gets it."""
    return metrics.REGISTRY.get_sample_value(f"betrace_{name}", labels)


def counts() -> list[float | None]:
    """Return how many rules judge now, judge later, and wait."""
    return [sample("rules_judging", state=state) for state in metrics.WHEN_JUDGING]


def test_pushed_rule_is_reported_with_its_start(settings: Settings) -> None:
    """The time is reported at once; when the clock has passed it, the rule judges now."""
    driven = Driven(settings)
    driven.apply(10_000)
    driven.step()
    first_notes, first_counts = driven.worker._health.notes(), counts()
    registry.push(settings, compiled(BOTH), now_ms=2)
    driven.rules = compiled(BOTH)
    driven.apply(20_000)
    driven.step()
    notes, pushed_counts = driven.worker._health.notes(), counts()
    [from_ms] = {each for each in driven.worker._health.readiness().judging.values() if each}
    driven.apply(from_ms)
    driven.step()

    reach_ms = settings.gap_ms + settings.lateness_ms
    fingerprint = compiled(BOTH).fingerprint
    assert [f"rules {compiled(AUDITED).fingerprint}", "1 rule (audited) judges every trace"] == first_notes
    assert [1, 0, 0] == first_counts
    assert f"rules {fingerprint}" == notes[0]
    assert f"1 rule (few) judges traces that begin from {iso_ms(from_ms)} on" == notes[1]
    assert [1, 1, 0] == pushed_counts
    assert [2, 0, 0] == counts()
    assert from_ms / 1000 == sample("rules_judge_from_timestamp_seconds", fingerprint=fingerprint)
    # The watermark before it lies at most out_of_order below what was projected without the rule.
    assert reach_ms + 10_000 < from_ms <= reach_ms + 10_000 + settings.out_of_order_ms + 100


def test_released_partitions_are_not_reported(settings: Settings) -> None:
    """A partition that moved to another worker is reported by that worker only."""
    driven = Driven(settings)
    driven.apply(10_000)
    driven.step()

    driven.release(0, 1)
    driven.step()

    assert {} == driven.worker._health.readiness().judging
    assert [None, None, None] == counts()
