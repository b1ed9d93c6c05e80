"""Workers are killed, stopped, moved, and robbed of their disks; the broker stands still and starts again.

    python -m tests.crash.chaos [--seed SEED] [--short] [--keep DIRECTORY]

A Kafka of its own is started. Half of the spans are on the source topic before any worker is, with the record times of
half an hour; the others come while the workers are hurt, stamped by the broker. Then nothing more is read, and what the
workers left is compared with what the pure functions say of the same records up to the same clocks: signals, counts of
verdicts, and chains: those that a worker without a disk builds again, and those that one with any of the disks has.

Prints a line of JSON, and talks on stderr. Exit code 1 when anything is missing, twice, or different. The same seed
gives the same records and the same plan, but not the same moments.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import msgspec

from tests.crash.deeds import Chaos, Deed, Plan
from tests.crash.judging import Found, judged
from tests.crash.site import Site
from tests.crash.traffic import Sending, Times, sendings, write_backlog, write_live
from topics.embedded import broker
from topics.embedded.broker import Broker

PARTITIONS = 4
BETWEEN_MS = 1_000
"""Between the last record time of the backlog and now."""


@dataclass(frozen=True, slots=True)
class Form:
    """How much of everything."""

    copies: int
    backlog_s: int
    live_s: int
    times: Times
    plan: Plan


SHORT = Form(
    copies=30,
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
    seconds: float
    deeds: dict[str, int]
    ended_by_themselves: list[str]
    ended_wrongly: list[str]
    slowest_end_s: float
    found: Found


def run(form: Form, seed: str, directory: Path) -> Figures:
    """Runs it all; `directory` holds the broker's data, state directories and logs."""
    begun_s = time.monotonic()
    chance = random.Random(seed)
    backlog, live = (
        sendings(range(first, form.copies, 2), seconds * 1000, form.times, PARTITIONS, chance)
        for first, seconds in ((0, form.backlog_s), (1, form.live_s))
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
        seconds=round(time.monotonic() - begun_s, 1),
        deeds=dict(chaos.done),
        ended_by_themselves=[f"{end.worker} {end.code} after {end.seconds:.0f} s" for end in site.fleet.exits],
        ended_wrongly=[f"{end.worker} {end.code}" for end in ended if end.code and not end.was_deaf],
        slowest_end_s=round(max(end.seconds for end in ended), 1),
        found=found,
    )


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
    parser.add_argument("--keep", type=Path, help="leave the broker's data, the state and the logs there")
    asked = parser.parse_args()
    print(f"seed {asked.seed}", file=sys.stderr, flush=True)  # noqa: T201, it is a command
    with tempfile.TemporaryDirectory(prefix="betrace-chaos-", ignore_cleanup_errors=True) as scratch:
        directory = asked.keep or Path(scratch)
        directory.mkdir(parents=True, exist_ok=True)
        figures = run(SHORT if asked.short else LONG, asked.seed, directory)
    print(msgspec.json.encode(figures).decode())  # noqa: T201, it is a command
    sys.exit(figures.found.faults > 0 or bool(figures.ended_wrongly))


if __name__ == "__main__":
    main()
