"""Measures BeTrace beside what does a part of its job: one broker, one run, everything in turn.

    python -m tests.bench [--spans 2000000] [--runs 3] [--workers 1,2] [--only NAME …]

Starts a broker, fills a topic with messages of 2 spans and one with batches of 500, and has each entrant of
`tests.bench.contest` read both, `--runs` times. Prints a table and a line of JSON; what it does meanwhile is on stderr.
README.md beside this file says what each figure is.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import msgspec

from tests.bench import contest, topic
from topics.embedded import broker


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201, it is a command


def main() -> None:
    """Measures on a broker of its own."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("--spans", type=int, default=2_000_000, help="so many spans at least in each topic")
    parser.add_argument("--runs", type=int, default=3, help="how often each entrant reads each topic")
    parser.add_argument("--workers", default="1,2", help="the numbers of workers of betrace run")
    parser.add_argument("--only", nargs="+", default=[""], help="only entrants whose names begin so")
    asked = parser.parse_args()
    workers = [int(count) for count in asked.workers.split(",")]
    present = [each for each in contest.entrants(workers) if each.name.startswith(tuple(asked.only))]
    with tempfile.TemporaryDirectory() as directory, broker.running(Path(directory)) as kafka:
        topics = {form: topic.make(kafka.bootstrap, form, asked.spans) for form in topic.FORMS}
        figures = contest.hold(topics, present, asked.runs, _say)
    print(contest.table(figures))  # noqa: T201, it is a command
    print(msgspec.json.encode(figures).decode())  # noqa: T201, as above


if __name__ == "__main__":
    main()
