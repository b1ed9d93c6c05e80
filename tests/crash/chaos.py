"""Workers are killed, stopped, moved, and robbed of their disks; the broker stands still and starts again.

    python -m tests.crash.chaos [--seed SEED] [--short] [--hostile COUNT] [--keep DIRECTORY]

A Kafka of its own is started. Half of the spans are on the source topic before any worker is, with the record times of
half an hour; the others come while the workers are hurt, stamped by the broker. A hostile sender writes among them, as
`tests.crash.hostile` has it. Then nothing more is read, and what the workers left is compared with what the pure
functions say of the same records up to the same clocks: signals, counts of verdicts, and chains: those that a worker
without a disk builds again, and those that one with any of the disks has. The signals of honest traces are compared,
too, with what the pure functions say of the honest records alone.

Prints a line of JSON, and talks on stderr. Exit code 1 when anything is missing, twice, or different, or when ingest
took 512 MiB. The same seed gives the same records and the same plan, but not the same moments.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from heapq import merge
from pathlib import Path
from threading import Thread

import msgspec

from tests.crash import hostile
from tests.crash.deeds import Chaos, Deed, Plan
from tests.crash.judging import Found, judged
from tests.crash.site import Site
from tests.crash.traffic import Sending, Times, sendings, trace_ids, write_backlog, write_live
from tests.support import poison
from topics.embedded import broker
from topics.embedded.broker import Broker

PARTITIONS = 4
BETWEEN_MS = 1_000
"""Between the last record time of the backlog and now."""
INGEST_BYTES = 512 << 20
FEW = ("long_span_id", "long_parent_id", "many_keys", "nested_json")
"""Of the largest records those that have few traces."""
VICTIMS = 20
"""The hostile sender touches traces of one honest copy in so many."""


@dataclass(frozen=True, slots=True)
class Form:
    """How much of everything; half of the `hostile` records, and all of the `large` ones, come while it is live."""

    copies: int
    hostile: int
    large: tuple[str, ...]
    backlog_s: int
    live_s: int
    times: Times
    plan: Plan


SHORT = Form(
    copies=30,
    hostile=600,
    large=FEW,
    backlog_s=600,
    live_s=80,
    times=Times(gap_ms=20_000, lateness_ms=40_000, max_duration_ms=60_000, out_of_order_ms=500),
    plan=Plan(
        deeds={
            Deed.KILL_INGEST: 1,
            Deed.KILL_INGEST_BARE: 1,
            Deed.KILL_SESSIONS: 2,
            Deed.KILL_SESSIONS_BARE: 2,
            Deed.MOVE_INGEST: 1,
            Deed.MOVE_SESSIONS: 2,
            Deed.PAUSE_INGEST: 1,
            Deed.PAUSE_SESSIONS: 1,
            Deed.PAUSE_BROKER: 1,
        },
        pause_s=9.0,
        broker_pause_s=8.0,
        between_s=(0.5, 4.0),
    ),
)
LONG = Form(
    copies=152,
    hostile=100_000,
    large=(*poison.ALL, *FEW * 5),
    backlog_s=1_800,
    live_s=1_000,
    times=Times(gap_ms=20_000, lateness_ms=60_000, max_duration_ms=90_000, out_of_order_ms=1_000),
    plan=Plan(
        deeds={
            Deed.KILL_INGEST: 20,
            Deed.KILL_INGEST_BARE: 20,
            Deed.KILL_SESSIONS: 30,
            Deed.KILL_SESSIONS_BARE: 30,
            Deed.MOVE_INGEST: 8,
            Deed.MOVE_SESSIONS: 12,
            Deed.PAUSE_INGEST: 4,
            Deed.PAUSE_SESSIONS: 5,
            Deed.PAUSE_BROKER: 2,
            Deed.RESTART_BROKER: 2,
        },
        pause_s=15.0,
        broker_pause_s=30.0,
        between_s=(0.5, 9.0),
    ),
)


@dataclass(slots=True)
class Figures:
    """What was done, and what came of it."""

    seed: str
    spans: int
    records: int
    hostile: int
    seconds: float
    deeds: dict[str, int]
    ended_by_themselves: list[str]
    ended_wrongly: list[str]
    slowest_end_s: float
    peak_mib: dict[str, float]
    found: Found


def run(form: Form, seed: str, directory: Path) -> Figures:
    """Runs it all; `directory` holds the broker's data, state directories and logs."""
    begun_s = time.monotonic()
    chance = random.Random(seed)
    backlog, live = (
        _mixed(form, range(first, form.copies, 2), seconds * 1000, large, chance)
        for first, seconds, large in ((0, form.backlog_s, ()), (1, form.live_s, form.large))
    )
    with _kafka(directory / "broker") as kafka:
        site = Site(kafka, directory, form.times)
        site.make(PARTITIONS)
        start_ms = time.time_ns() // 1_000_000 - form.backlog_s * 1000 - BETWEEN_MS
        write_backlog(kafka.bootstrap, site.source, backlog, start_ms)
        site.let_the_broker_stamp()
        chaos = Chaos(site, form.plan, chance)
        try:
            with _while_writing(kafka.bootstrap, site.source, live):
                chaos.run()
            chaos.end()
        finally:
            site.fleet.destroy()
        found = judged(site)
    ended = chaos.exits
    return Figures(
        seed=seed,
        spans=sum(sending.span_count for sending in [*backlog, *live]),
        records=len(backlog) + len(live),
        hostile=sum(sending.is_hostile for sending in [*backlog, *live]),
        seconds=round(time.monotonic() - begun_s, 1),
        deeds=dict(chaos.done),
        ended_by_themselves=[f"{end.worker} {end.code} after {end.seconds:.0f} s" for end in site.fleet.exits],
        ended_wrongly=[f"{end.worker} {end.code}" for end in ended if end.code and not end.was_deaf],
        slowest_end_s=round(max(end.seconds for end in ended), 1),
        peak_mib={role: round(peak / (1 << 20), 1) for role, peak in site.fleet.peaks.items()},
        found=found,
    )


def _mixed(form: Form, copies: range, length_ms: int, large: tuple[str, ...], chance: random.Random) -> list[Sending]:
    """The copies with these numbers and half of the hostile records, in the order in which they are written."""
    honest = sendings(copies, length_ms, form.times, PARTITIONS, chance)
    victims = trace_ids(copies[::VICTIMS])
    others = hostile.sendings(form.hostile // 2, large, length_ms, PARTITIONS, victims, chance)
    # Both are in order, the honest ones but for what record times may run back.
    return [*merge(honest, others, key=lambda each: each.at_ms)]


@contextmanager
def _kafka(data_dir: Path) -> Iterator[Broker]:
    """A broker; what was started in its place is stopped too."""
    with broker.running(data_dir) as started:
        try:
            yield started
        finally:
            last = broker.find(data_dir)
            if last is not None:
                last.stop()


@contextmanager
def _while_writing(bootstrap: str, topic: str, live: Sequence[Sending]) -> Iterator[None]:
    """All is written when this ends."""
    writing = Thread(target=write_live, args=(bootstrap, topic, live), daemon=True)
    writing.start()
    yield
    writing.join()


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash.chaos", description=__doc__)
    parser.add_argument("--seed", default=str(time.time_ns() // 1_000_000), help="another plan and other records")
    parser.add_argument("--short", action="store_true", help="the form that make test runs")
    parser.add_argument("--hostile", type=int, metavar="COUNT", help="so many records of a hostile sender")
    parser.add_argument("--keep", type=Path, help="leave the broker's data, the state and the logs there")
    asked = parser.parse_args()
    print(f"seed {asked.seed}", file=sys.stderr, flush=True)  # noqa: T201, it is a command
    with tempfile.TemporaryDirectory(prefix="betrace-chaos-", ignore_cleanup_errors=True) as scratch:
        directory = asked.keep or Path(scratch)
        directory.mkdir(parents=True, exist_ok=True)
        form = SHORT if asked.short else LONG
        form = form if asked.hostile is None else replace(form, hostile=asked.hostile)
        figures = run(form, asked.seed, directory)
    print(msgspec.json.encode(figures).decode())  # noqa: T201, it is a command
    is_large = figures.peak_mib["ingest"] * (1 << 20) >= INGEST_BYTES
    sys.exit(figures.found.faults > 0 or bool(figures.ended_wrongly) or is_large)


if __name__ == "__main__":
    main()
