"""The short form of `python -m tests.bench`: it runs, and its figures are those of the work that was done."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.bench import contest, topic
from tests.bench.contest import INGEST, RUN, Entrant, Figures
from tests.bench.peers.collector import run as collector
from tests.bench.peers.kstreams import run as kstreams
from tests.bench.topic import BenchError, Topic
from tests.support.collector import build

pytestmark = pytest.mark.bench

SPANS = 20_000
MADE = Topic("", "made", message_count=500, message_bytes=800, span_count=1_000, signal_count=3)


@pytest.mark.broker
def test_betrace_entrants_are_measured(kafka: str) -> None:
    """Each of BeTrace's entrants reads a topic to its end, publishes all its signals, and has a plausible rate."""
    made = {"keyed": topic.make(kafka, "keyed", SPANS)}
    entrants = [each for each in contest.entrants([1]) if not each.is_peer]

    figures = contest.hold(made, entrants, 1, print)

    assert made["keyed"].span_count >= SPANS
    assert made["keyed"].signal_count >= 10 * SPANS // 2_007
    assert [] == [row for row in figures.rows if not 100 < row.spans_per_s["keyed"] < 100_000_000]
    assert len(entrants) == len(figures.rows)
    assert figures.run_of_best_peer is None


def test_entrant_that_lacks_signals_is_an_error() -> None:
    """An entrant that does not publish all signals fails the bench instead of getting a figure."""

    def fails(_: Topic) -> float:
        raise BenchError("2 signals instead of 3")

    with pytest.raises(BenchError, match="2 signals instead of 3"):
        contest.hold({"keyed": MADE}, [Entrant("lazy", fails)], 1, print)


def test_figure_is_the_median_of_alternating_rounds() -> None:
    """Entrants alternate, a figure is the median of its rounds, and the whole is compared with the best peer."""
    turns: list[str] = []

    def runs(name: str, *seconds: float) -> Entrant:
        left = list(seconds)

        def measure(_: Topic) -> float:
            turns.append(name)
            return left.pop(0)

        return Entrant(name, measure, is_peer=name.startswith("peer"))

    entrants = [runs(RUN, 1, 4, 2), runs("peer one", 8, 8, 8), runs("peer two", 5, 5, 5)]

    figures = contest.hold({"keyed": MADE}, entrants, 3, print)

    assert [RUN, "peer one", "peer two"] * 3 == turns
    assert [500, 125, 200] == [row.spans_per_s["keyed"] for row in figures.rows]
    assert [1_000, 250, 500] == figures.rows[0].rounds["keyed"]
    assert {"keyed": 2.5} == figures.run_of_best_peer
    assert figures.ingest_of_consume is None
    assert figures == msgspec.json.decode(msgspec.json.encode(figures), type=Figures)


def test_table_has_every_row_and_ratio() -> None:
    """The table is Markdown: a row for each entrant, then the measured ratios."""
    figures = contest.hold({"keyed": MADE}, [Entrant(INGEST, lambda _: 0.5)], 1, print)

    shown = contest.table(figures)

    assert "| spans/s | keyed |\n| --- | ---: |\n| betrace ingest | 2,000 |" == shown


def test_peer_that_cannot_run_is_skipped_with_a_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without Go, Maven or a Java compiler the peers are skipped, each with its reason; the others are measured."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    said: list[str] = []
    peers = [each for each in contest.entrants([]) if each.is_peer]

    figures = contest.hold({"keyed": MADE}, [*peers, Entrant("ours", lambda _: 1.0)], 1, said.append)

    assert ["ours"] == [row.name for row in figures.rows]
    assert {each.name for each in peers} == figures.left_out.keys()
    assert "Kafka Streams, threads: 1 is left out: no mvn and no javac and no java on the PATH" in said[0]
    assert "Collector, tail_sampling is left out: no Go toolchain" in said[2]


def test_peers_are_built_from_their_sources() -> None:
    """The sources of the peers exist: a recipe that the Collector's builder accepts, a program, its settings."""
    recipe = collector.RECIPE.read_text()

    assert f"version: {build.BUILDER.rpartition('@v')[2]}" in recipe
    assert collector.CONFIG.exists()
    assert (kstreams.HERE / kstreams.SOURCE).exists()
