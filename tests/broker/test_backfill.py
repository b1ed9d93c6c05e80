"""A rule is pushed with --backfill in the middle of traffic, the backfill is killed and started again, on a real Kafka.

Hours of history lie behind the push, and traces are on their way when the rule begins to judge. What live and the
backfill say together is what a replay says of all the records: nothing is missing, and nothing is there twice.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from streams.config.units import iso_ms
from tests.support.program import RUN_S, STOP_S, Program
from tests.support.record import read_topic
from tests.support.waiting import wait_until
from topics.records import verdicts
from topics.records.facts import decode
from topics.records.verdicts import Coverage, is_backfill

pytestmark = pytest.mark.broker

RULE = '// id: audited\n// "Access is audited"\nwhen {access} always {audit}\n'
OTHER = '// id: other\n// "Exports are approved"\nwhen {export} always {approval}\n'
WINDOWS = ("--gap", "2s", "--lateness", "3s", "--max-duration", "20s", "--out-of-order", "100ms")
HOUR_MS, HOURS = 3_600_000, 60
PARTITIONS = 3
STEP_S, STEPS = 0.5, 12
UNAUDITED = 4
"""One trace of so many is not audited."""
LAST = f"{0xFFFF:032x}"
KILLED_AT = 15
"""Hours of facts partitions that are published when the backfill is killed, at least."""


@dataclasses.dataclass
class Traffic:
    """Traces of some seconds, two of which begin each second until `stop`; then one more that breaks the rule."""

    program: Program
    number: int = 0
    sent: int = 0

    def begin(self, names: list[str], trace_id: str, time_ms: int = 0) -> None:
        """Writes spans of one trace, all at once."""
        for name in names:
            self.sent += 1
            one = {"traceId": trace_id, "spanId": f"{self.sent:016x}", "name": name}
            value = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [one]}]}]})
            self.producer.produce(self.program.spans_topic, value, partition=0, timestamp=time_ms)

    def __post_init__(self) -> None:
        """Connects."""
        self.producer = Producer({"bootstrap.servers": self.program.bootstrap, "linger.ms": 0})

    def write_history(self, begin_ms: int) -> None:
        """Four traces an hour, at times of the producer's, one of them not audited."""
        for at in range(HOURS * UNAUDITED):
            names = ["access"] if at % UNAUDITED == 1 else ["audit", "access"]
            self.begin(names, f"{0xA0000 + at:032x}", begin_ms + at * HOUR_MS // UNAUDITED)
        self.producer.flush()

    @contextmanager
    def flowing(self) -> Iterator[None]:
        """Traces begin and end as long as the context lasts; those that began are finished."""
        over = Event()
        thread = Thread(target=self._flow, args=(over,))
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _flow(self, over: Event) -> None:
        open_traces: list[list[str]] = []
        while open_traces or not over.is_set():
            if not over.is_set():
                self.number += 1
                first = "step" if self.number % UNAUDITED == 1 else "audit"
                open_traces.append([f"{self.number:032x}", *["access", *["step"] * (STEPS - 2), first]])
            for each in open_traces:
                self.begin([each.pop()], each[0])
            open_traces = [each for each in open_traces if len(each) > 1]
            self.producer.flush()
            time.sleep(STEP_S)


@dataclasses.dataclass(frozen=True)
class Site:
    """An installation with a ledger, and the commands that are given to it."""

    program: Program
    traffic: Traffic
    evidence: Path
    key: Path

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Starts a command that reads the source topics, in a session of its own."""
        program = self.program
        where = ["--bootstrap", program.bootstrap, "--prefix", program.prefix]
        sources = ["--source-topics", f"{program.spans_topic},{program.logs_topic}"]
        command = [sys.executable, "-m", "streams.cli", *words, *where, *sources, *WINDOWS]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True)

    def call(self, *words: str, allowed: tuple[int, ...] = (0,)) -> str:
        """Runs such a command to its end, and returns what it prints."""
        running = self.start(*words)
        out, err = running.communicate(timeout=RUN_S)
        assert running.returncode in allowed, err
        return out

    def audit(self, *words: str) -> str:
        """Runs a command on the evidence."""
        command = [sys.executable, "-m", "streams.cli", "evidence", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_S, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def markers(self) -> list[Coverage]:
        """The coverage records of backfills."""
        values = (frame.value for frame in read_topic(self.program.bootstrap, f"{self.program.prefix}verdicts"))
        records = (verdicts.decode(value) for value in values)
        return [each for each in records if isinstance(each, Coverage) and is_backfill(each.origin)]

    def read_to(self) -> int:
        """Up to which offset of the topic of spans facts were written."""
        sections = (section for frame in self.program.records("facts") for section in decode(frame.value).sections)
        return max((each.to_offset for each in sections if each.topic == self.program.spans_topic), default=0)


@pytest.fixture
def site(kafka: str, fresh_prefix: str, tmp_path: Path) -> Site:
    """An installation with one partition of each source topic; what is written from now on has the broker's time."""
    rules = tmp_path / "rules"
    rules.mkdir()
    (rules / "other.rules").write_text(OTHER)
    keygen = [sys.executable, "-m", "streams.cli", "evidence", "keygen", "example.com/test"]
    made = subprocess.run([*keygen, "--key", str(tmp_path / "ledger.key")], capture_output=True, text=True, check=True)
    (tmp_path / "ledger.pub").write_text(made.stdout)
    kept = ("--evidence", str(tmp_path / "evidence"), "--ledger-key", str(tmp_path / "ledger.key"))
    options = (*WINDOWS, "--facts-partitions", str(PARTITIONS), *kept)
    program = Program(kafka, fresh_prefix, tmp_path / "state", rules=rules, options=options)
    program.make_sources(1)
    traffic = Traffic(program)
    traffic.write_history(time.time_ns() // 1_000_000 // HOUR_MS * HOUR_MS - HOURS * HOUR_MS)
    stamp_by_broker(program)
    return Site(program, traffic, tmp_path / "evidence", tmp_path / "ledger.pub")


def stamp_by_broker(program: Program) -> None:
    """From now on the broker says when a record came, so that no clock depends on how fast this machine is."""
    client = AdminClient({"bootstrap.servers": program.bootstrap})
    entry = ConfigEntry("message.timestamp.type", "LogAppendTime", incremental_operation=AlterConfigOpType.SET)
    names = (program.spans_topic, program.logs_topic)
    asked = [ConfigResource(ResourceType.TOPIC, name, incremental_configs=[entry]) for name in names]
    for done in client.incremental_alter_configs(asked).values():
        done.result()

    def is_stamped() -> bool:
        producer = Producer({"bootstrap.servers": program.bootstrap})
        stamped: list[int] = []
        for name in names:
            producer.produce(
                name,
                b'{"resourceSpans":[]}',
                partition=0,
                timestamp=time.time_ns() // 1_000_000 - HOUR_MS,
                on_delivery=lambda _, message: stamped.append(message.timestamp()[1]),
            )
        producer.flush()
        return all(each > time.time_ns() // 1_000_000 - HOUR_MS // 2 for each in stamped) and len(stamped) == len(names)

    wait_until(is_stamped, "the broker stamps records")


def revisions(signals: list[dict[str, Any]], rule: str = "audited") -> list[tuple[str, int, str, str]]:
    """The uid, revision, verdict and trace of every signal of a rule, sorted; one that came twice is there twice."""
    found = []
    for signal_ in signals:
        said = signal_["unmapped"]["betrace"]
        if said["rule"]["id"] == rule:
            found.append((signal_["finding_info"]["uid"], said["revision"], said["verdict"], said["trace_id"]))
    return sorted(found)


def test_backfill_killed_during_traffic(site: Site) -> None:
    """Nothing is missing or duplicated; the evidence verifies, and reports the whole time as judged."""
    program, traffic = site.program, site.traffic
    with program.running() as run:
        wait_until(lambda: site.read_to() >= traffic.sent, "the history is read")
        (program.rules / "audited.rules").write_text(RULE)
        with traffic.flowing():
            wait_until(lambda: traffic.number > STEPS, "traces are on their way")
            pushing = site.start(
                *("rules", "push", str(program.rules), "--backfill", "--from", "earliest", "--by", "ann"),
                *("--timeout", "4m"),
            )
            wait_until(
                lambda: pushing.poll() is not None or len(site.markers()) >= KILLED_AT, "hours are published", RUN_S
            )
            assert pushing.poll() is None, pushing.communicate()
            os.killpg(pushing.pid, signal.SIGKILL)
            pushing.communicate(timeout=STOP_S)
            killed_at = len(site.markers())
            assert KILLED_AT <= killed_at < HOURS * PARTITIONS
            origin = site.call(
                "rules", "backfill", "--rule", "audited", "--from", "2h", "--by", "ann", "--timeout", "4m"
            )
        traffic.begin(["access"], LAST)
        traffic.producer.flush()
        wait_until(lambda: LAST in {each[3] for each in revisions(program.signals())}, "the last trace is judged")
        run.send_signal(signal.SIGTERM)
        assert run.wait(STOP_S) == 0

    replayed = site.call("replay", "--rules", str(program.rules), "--from", "earliest", allowed=(0, 1))
    assert revisions(program.signals()) == revisions([json.loads(line) for line in replayed.splitlines()])
    assert {each.origin for each in site.markers()} == {origin.strip()}
    hours = Counter((each.partition, each.settled_from_ms) for each in site.markers())
    assert max(hours.values()) == 1
    assert len(hours) >= HOURS * PARTITIONS
    assert_proven(site, origin.strip())


def assert_proven(site: Site, origin: str) -> None:
    """The evidence verifies, and says of the rule what a replay says of the same time, all of which it judged."""
    site.audit("verify", str(site.evidence), "--key", str(site.key))
    begin_ms = min(each.settled_from_ms or 0 for each in site.markers())
    asked = ["--from", iso_ms(begin_ms), "--key", str(site.key)]
    report = json.loads(site.audit("report", str(site.evidence), *asked, "--format", "json"))
    [rule] = [each for each in report["rules"] if each["id"] == "audited"]
    summary = ["--rules", str(site.program.rules), "--rule", "audited", "--summary"]
    period = ["--from", iso_ms(begin_ms), "--to", iso_ms(report["to_ms"])]
    counted = json.loads(site.call("replay", *summary, *period, allowed=(0, 1)))
    names = ("held", "broken", "undetermined")
    assert {name: rule["counts"][name] for name in names} == {name: counted[name] for name in names}
    assert rule["counts"]["broken"] >= HOURS
    assert rule["judged"]["times"] == [{"from_ms": begin_ms, "to_ms": report["to_ms"]}]
    [backfill] = rule["backfills"]
    assert (backfill["origin"], backfill["by"], backfill["undecodable"]) == (origin, "ann", 0)
    html = site.evidence.parent / "report.html"
    site.audit("report", str(site.evidence), *asked, "--html", str(html))
    page = html.read_text()
    assert "judged by backfill on" in page
    assert "by ann; later spans" in page
