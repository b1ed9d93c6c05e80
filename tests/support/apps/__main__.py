"""Runs the sample applications against any OTLP/gRPC endpoint and prints which traces break which rules.

python -m tests.broker.apps --endpoint localhost:4317 --seed 1
"""

from __future__ import annotations

import argparse
import json

from tests.support.apps.day import run_day

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.broker.apps", description=__doc__)
    parser.add_argument("--endpoint", default="localhost:4317", help="where the Collector listens")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same traces")
    arguments = parser.parse_args()
    print(json.dumps(run_day(arguments.endpoint, arguments.seed).truth, indent=2))  # noqa: T201 it is the output
