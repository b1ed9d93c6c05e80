"""Kafka Streams as a peer: TraceWindows.java, one rule in session windows on RocksDB.

In: a source topic. Out: seconds from the first record it is given until all spans are in their windows; that the
windows close and their signals are written is not waited for. Built with Maven, into a cache outside the tree.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path

import msgspec
from confluent_kafka.cimpl import NewTopic

from tests.bench.topic import PARTITIONS, BenchError, Topic
from tests.support.builds import build_once, cache
from topics.cluster import admin

HERE = Path(__file__).parent
POM = HERE / "pom.xml"
SOURCE = Path("src") / "main" / "java" / "TraceWindows.java"
TOOLS = ("mvn", "javac", "java")
GOALS = ("package", "dependency:copy-dependencies", "-DincludeScope=runtime")
WAIT_S = 600


class Said(msgspec.Struct):
    """What the program prints; `late` spans came after their window and were dropped."""

    seconds: float
    signals: int
    late: int


def missing() -> str | None:
    """Why it cannot be measured here; it is built where it can be."""
    absent = [tool for tool in TOOLS if shutil.which(tool) is None]
    if absent:
        return f"no {' and no '.join(absent)} on the PATH to build and run it with"
    try:
        _built()
    except BenchError as error:
        return str(error)
    return None


def seconds(topic: Topic, threads: int) -> float:
    """Runs it until every span of the topic is in a window."""
    application = f"bench-{uuid.uuid4().hex[:8]}"
    client = admin.connect({"bootstrap.servers": topic.bootstrap})
    signals = f"{application}-signals"
    client.create_topics([NewTopic(signals, PARTITIONS)])[signals].result()
    try:
        with tempfile.TemporaryDirectory(prefix="betrace-bench-", ignore_cleanup_errors=True) as state:
            where = [topic.bootstrap, topic.name, signals, application, state]
            return _run([*where, str(threads), str(topic.span_count)]).seconds
    finally:
        made = [name for name in client.list_topics(timeout=10).topics if name.startswith(application)]
        for deleted in client.delete_topics(made).values():
            deleted.result()


def _run(arguments: list[str]) -> Said:
    target = _built()
    classes = f"{target / 'classes'}:{target / 'dependency'}/*"
    command = ["java", "-cp", classes, "TraceWindows", *arguments]
    # In a session of its own, as the broker is: a busy machine shares its time out among sessions.
    done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False, start_new_session=True)
    if done.returncode:
        raise BenchError(f"Kafka Streams ended with {done.returncode}: {done.stderr[-4000:]}")
    return msgspec.json.decode(done.stdout, type=Said)


def _built() -> Path:
    """Maven's target directory, in a place named after the sources' hash."""
    digest = hashlib.sha256(POM.read_bytes() + (HERE / SOURCE).read_bytes()).hexdigest()[:12]
    return build_once(cache("kstreams") / digest, _build) / "target"


def _build(directory: Path) -> Path:
    work = directory / "work"
    (work / SOURCE).parent.mkdir(parents=True)
    shutil.copy(POM, work)
    shutil.copy(HERE / SOURCE, work / SOURCE)
    done = subprocess.run(["mvn", "-q", "-B", *GOALS], cwd=work, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"it could not be built: {(done.stdout + done.stderr)[-2000:]}")
    return work
