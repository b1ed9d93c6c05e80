"""The bench of rules, in a short form."""

from __future__ import annotations

import pytest

from streams.decode import backend
from tests.bench import bench_rules

pytestmark = pytest.mark.bench

AT_MOST = 1.6
"""The goal is 1.3; a machine that does other things meanwhile moves the ratio of two short times."""


@pytest.mark.parametrize("name", bench_rules.CORPORA)
@pytest.mark.parametrize("choice", ["pure", "auto"])
def test_a_hundred_rules_cost_little_more_than_ten(name: str, choice: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cost of messages without a hit hardly depends on the number of rules."""
    monkeypatch.setenv(backend.VARIABLE, choice)

    taken_us = bench_rules.corpus_us(name, runs=5)

    assert taken_us[100] <= AT_MOST * taken_us[10]
