"""The Collector as a peer: kafkareceiver → tail_sampling, which keeps traces in memory and decides once for each.

It has no rules on the order of spans, writes nothing, and forgets what it kept when it ends. In: a source topic. Out:
seconds from the first span it counts as accepted until it has accepted all.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path

from tests.bench.topic import BenchError, Topic
from tests.support.collector import build
from tests.support.ports import free_port

HERE = Path(__file__).parent
RECIPE = HERE / "builder.yaml"
CONFIG = HERE / "collector.yaml"
LOOK_EVERY_S = 0.02
WAIT_S = 600
STOP_S = 30
ACCEPTED = "otelcol_receiver_accepted_spans"


def missing() -> str | None:
    """Why it cannot be measured here; it is built where it can be."""
    try:
        build.binary(RECIPE)
    except (build.GoMissingError, RuntimeError) as error:
        return str(error)
    return None


def seconds(topic: Topic) -> float:
    """Runs it on all cores until it has accepted every span of the topic."""
    port = free_port()
    told = {"KAFKA_BOOTSTRAP": topic.bootstrap, "TOPIC": topic.name, "GROUP": f"bench-{uuid.uuid4().hex[:8]}"}
    environment = {**os.environ, **told, "METRICS_PORT": str(port)}
    command: list[str | Path] = [build.binary(RECIPE), "--config", CONFIG]
    with tempfile.TemporaryFile("w+") as log:
        child = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            return _accepted_s(port, topic.span_count, child)
        except BenchError as error:
            log.seek(0)
            raise BenchError(f"{error}: {log.read()[-4000:]}") from None
        finally:
            child.terminate()
            _end(child)


def _accepted_s(port: int, expected: int, child: subprocess.Popen[bytes]) -> float:
    begin_s, deadline_s = None, time.monotonic() + WAIT_S
    while time.monotonic() < deadline_s and child.poll() is None:
        accepted = _accepted(port)
        if accepted and begin_s is None:
            begin_s = time.perf_counter()
        if begin_s is not None and accepted >= expected:
            return time.perf_counter() - begin_s
        time.sleep(LOOK_EVERY_S)
    raise BenchError("the Collector did not read the whole topic")


def _accepted(port: int) -> float:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=1) as answer:
            lines = answer.read().decode().splitlines()
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return 0
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(ACCEPTED))


def _end(child: subprocess.Popen[bytes]) -> None:
    try:
        child.wait(STOP_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
