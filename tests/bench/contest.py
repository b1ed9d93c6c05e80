"""Who is measured by `python -m tests.bench`, one after the other and round about, and what came of it.

In: topics, a number of rounds. Out: spans per second of each entrant on each topic, the median of its rounds. In a
round every entrant runs once on every topic, so what else the machine does meets all alike. An entrant that cannot run
here is left out, with the reason.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import msgspec

from tests.bench import ours, raw
from tests.bench.peers.collector import run as collector
from tests.bench.peers.kstreams import run as kstreams
from tests.bench.topic import PARTITIONS, Topic

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Entrant:
    """Something that reads a topic in so many seconds; `missing` says why it cannot."""

    name: str
    seconds: Callable[[Topic], float]
    missing: Callable[[], str | None] = lambda: None
    is_peer: bool = False


class Row(msgspec.Struct, frozen=True):
    """An entrant's spans per second, by form of the topic: the median, and each round."""

    name: str
    spans_per_s: dict[str, int]
    rounds: dict[str, list[int]]


class Figures(msgspec.Struct, frozen=True):
    """All rows, and the two ratios that matter, by form; None where one of the two was not measured."""

    spans: dict[str, int]
    rows: list[Row]
    ingest_of_consume: dict[str, float] | None
    run_of_best_peer: dict[str, float] | None
    left_out: dict[str, str]


CONSUME = "consume() alone"
INGEST = "betrace ingest"
RUN = "betrace run"


def entrants(workers: Iterable[int]) -> list[Entrant]:
    """All there are; the whole program once for each number of workers."""
    return [
        Entrant(CONSUME, _consume_s),
        Entrant(INGEST, ours.ingest_s),
        *(Entrant(f"{RUN}, workers: {count}", partial(ours.run_s, workers=count)) for count in workers),
        *(_kafka_streams(threads) for threads in (1, 2)),
        Entrant("Collector, tail_sampling", collector.seconds, collector.missing, is_peer=True),
    ]


def _kafka_streams(threads: int) -> Entrant:
    measure = partial(kstreams.seconds, threads=threads)
    return Entrant(f"Kafka Streams, threads: {threads}", measure, kstreams.missing, is_peer=True)


def hold(topics: Mapping[str, Topic], asked: Sequence[Entrant], rounds: int, say: Say) -> Figures:
    """Runs them all; `say` is told of each run."""
    left_out = {entrant.name: reason for entrant in asked if (reason := entrant.missing()) is not None}
    for name, reason in left_out.items():
        say(f"{name} is left out: {reason}")
    present = [entrant for entrant in asked if entrant.name not in left_out]
    rates: dict[str, dict[str, list[int]]] = {entrant.name: {form: [] for form in topics} for entrant in present}
    for _ in range(rounds):
        for form, topic in topics.items():
            for entrant in present:
                rate = round(topic.span_count / entrant.seconds(topic))
                rates[entrant.name][form].append(rate)
                say(f"{form}: {entrant.name} {rate:,} spans/s")
    rows = [Row(entrant.name, _medians(rates[entrant.name]), rates[entrant.name]) for entrant in present]
    peers = [row for row, entrant in zip(rows, present, strict=True) if entrant.is_peer]
    return Figures(
        {form: topic.span_count for form, topic in topics.items()},
        rows,
        _ratio(_best(_named(rows, INGEST)), _best(_named(rows, CONSUME))),
        _ratio(_best(_named(rows, RUN)), _best(peers)),
        left_out,
    )


def table(figures: Figures) -> str:
    """The figures as a table in Markdown."""
    forms = list(figures.spans)
    head = ["spans/s", *forms]
    lines = [[row.name, *(f"{row.spans_per_s[form]:,}" for form in forms)] for row in figures.rows]
    ratios = {"ingest ÷ consume()": figures.ingest_of_consume, "run ÷ the better peer": figures.run_of_best_peer}
    lines += [[name, *(f"{ratio[form]:.2f}" for form in forms)] for name, ratio in ratios.items() if ratio]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, ["---"] + ["---:"] * len(forms), *lines])


def _consume_s(topic: Topic) -> float:
    return raw.consume_s(topic.bootstrap, topic.name, PARTITIONS, topic.message_count, topic.message_bytes)


def _medians(of_forms: Mapping[str, list[int]]) -> dict[str, int]:
    return {form: round(statistics.median(rounds)) for form, rounds in of_forms.items()}


def _named(rows: Iterable[Row], name: str) -> list[Row]:
    return [row for row in rows if row.name.startswith(name)]


def _best(rows: Sequence[Row]) -> dict[str, int]:
    """The highest rate in each form; empty without rows."""
    return {form: max(row.spans_per_s[form] for row in rows) for form in (rows[0].spans_per_s if rows else ())}


def _ratio(ours: Mapping[str, int], theirs: Mapping[str, int]) -> dict[str, float] | None:
    return {form: round(ours[form] / theirs[form], 3) for form in ours} if ours and theirs else None
