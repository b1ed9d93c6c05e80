"""The memory of ingest under records that are made to break its limits, for a while.

    python -m tests.bench.bench_poison [--minutes 10]

A broker, and ingest as a program of its own. Each round writes every record of `tests.support.poison` four times and
waits until all are read, written and committed. Prints a line of JSON a round: its records and how long they took, what
ingest takes then, and the most that it took so far, in MiB. It must stay below 512 MiB.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
from confluent_kafka import Producer

from dsl import compile_texts
from streams.rules import registry
from tests.support import poison
from tests.support.ingesting import Site, must_arrive, peak_bytes
from tests.support.waiting import wait_until
from topics.embedded import broker

MIB = 1 << 20
TIMES = 4
ROUND_S = 1_800


class Round(msgspec.Struct, frozen=True):
    """What one round took."""

    records: int
    seconds: float
    rss_mib: float
    peak_mib: float


def rounds(site: Site, seconds: float, times: int = TIMES) -> Iterator[Round]:
    """Rounds for so long, one at least."""
    rules, _ = compile_texts({"poison.rules": poison.RULES})
    registry.push(site.settings, rules, now_ms=1)
    values = [made() for made in poison.ALL.values()] * times
    producer = Producer({**site.settings.client()})
    begun_s, count = time.monotonic(), 0
    with subprocess.Popen(site.command(), stderr=subprocess.DEVNULL) as ingest:
        try:
            while not count or time.monotonic() - begun_s < seconds:
                round_s = time.monotonic()
                for value in values:
                    producer.produce(site.spans, value, partition=0, on_delivery=must_arrive)
                producer.flush()
                count += len(values)
                wait_until(lambda: _has_read(site, ingest, count), f"{count} records are committed", ROUND_S)  # noqa: B023, it is waited for
                took_s = round(time.monotonic() - round_s, 1)
                rss_bytes = psutil.Process(ingest.pid).memory_info().rss
                yield Round(len(values), took_s, round(rss_bytes / MIB, 1), round(peak_bytes(ingest.pid) / MIB, 1))
        finally:
            ingest.kill()


def _has_read(site: Site, ingest: subprocess.Popen[bytes], count: int) -> bool:
    assert ingest.poll() is None, f"ingest ended with exit code {ingest.returncode}"
    return {count} == {at.offset for at in site.committed().values()}


def main() -> None:
    """Measures on a broker of its own."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=10)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, broker.running(Path(directory) / "kafka") as kafka:
        site = Site.made(kafka.bootstrap, "poison.", Path(directory), {"spans": 1})
        for each in rounds(site, asked.minutes * 60):
            print(msgspec.json.encode(each).decode(), flush=True)  # noqa: T201, it is a command


if __name__ == "__main__":
    main()
