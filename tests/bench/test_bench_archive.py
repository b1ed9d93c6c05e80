"""The short form of `tests.bench.bench_archive`: an archive of a few thousand spans, every rule, both ways."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.archive.store import Store
from tests.bench.bench_archive import compare, make, rule_sets

pytestmark = pytest.mark.bench

SPANS = 20_000


def test_query_and_engine_give_the_same_verdicts(tmp_path: Path) -> None:
    """On an archive of the corpus, query and engine give each rule the same verdicts."""
    store = Store.at(str(tmp_path))
    made = make(store, "partitioned_proto", SPANS)

    figures = {name: compare(store, rules, with_engine=True) for name, rules in rule_sets()}

    assert made >= SPANS
    assert dict.fromkeys(figures, True) == {name: each["same"] for name, each in figures.items()}
    assert sum("broken" in each for each in figures.values()) >= 3
