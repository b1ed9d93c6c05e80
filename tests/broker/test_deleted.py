"""Groups, checkpoints and facts that somebody deletes between two runs: nothing counts twice, and what is lost is said.

Runs, reports and verifications are programs, on a real Kafka. Each installation begins with the same day of traces.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from streams.config.units import iso_ms
from tests.support.driven import AUDITED
from tests.support.program import Ended, Program
from tests.support.waiting import wait_until
from topics.cluster import admin

pytestmark = pytest.mark.broker

TRACES = 240
BROKEN = 120
EVERY_MS = 500
AGO_MS = 1_500_000
FACTS_PARTITIONS = 2
COMMAND_S = 240
OPTIONS = ("--gap", "2s", "--lateness", "2s", "--out-of-order", "500ms", "--facts-partitions", str(FACTS_PARTITIONS))


@dataclasses.dataclass
class Site:
    """An installation with a ledger; `begun_ms` is the record time of its first trace."""

    program: Program
    root: Path
    begun_ms: int
    client: AdminClient

    @classmethod
    def made(cls, kafka: str, root: Path) -> Site:
        """An installation whose source has 240 traces, 120 of them broken, and that was run once."""
        rules, state = root / "audited.rules", root / "state"
        rules.write_text(AUDITED)
        program = Program(kafka, f"t{uuid.uuid4().hex[:12]}.", state, rules, OPTIONS)
        site = cls(program, root, time.time_ns() // 1_000_000 - AGO_MS, AdminClient({"bootstrap.servers": kafka}))
        key = site.call("evidence", "keygen", "example.com/test", "--key", str(root / "ledger.key")).stdout
        (root / "ledger.pub").write_text(key)
        kept = ("--evidence", str(root / "evidence"), "--ledger-key", str(root / "ledger.key"))
        site.program = dataclasses.replace(program, options=(*program.options, *kept))
        site.program.make_sources()
        site.write(range(TRACES))
        site.run()
        assert (TRACES, BROKEN) == site.counted()
        return site

    def write(self, numbers: Iterable[int]) -> None:
        """Traces with these numbers, each at its time; every second one lacks its audit log."""
        producer = Producer({"bootstrap.servers": self.program.bootstrap})
        for number in numbers:
            spans = ("pii.access", "audit.log")[: 2 - number % 2]
            at_ms = self.begun_ms + number * EVERY_MS
            producer.produce(self.program.spans_topic, request(number, spans), partition=number % 2, timestamp=at_ms)
        producer.flush()

    def run(self) -> Ended:
        """Runs to the end of what is there."""
        return self.program.run_until_idle()

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end."""
        command = [sys.executable, "-m", "streams.cli", *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_S, check=False)

    def report(self) -> dict[str, Any]:
        """What the report says of the day."""
        asked = ["--from", f"{2 * AGO_MS // 1000}s", "--to", "1s", "--format", "json"]
        done = self.call("evidence", "report", str(self.root / "evidence"), *asked)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def counted(self) -> tuple[int, int]:
        """How many traces were judged, and how many of them are broken, by the report."""
        [rule] = self.report()["rules"]
        counts = rule["counts"]
        return counts["held"] + counts["broken"] + counts["undetermined"], counts["broken"]

    def findings(self) -> list[str]:
        """What verification finds in the evidence."""
        done = self.call("evidence", "verify", str(self.root / "evidence"), "--key", str(self.root / "ledger.pub"))
        assert done.returncode in {0, 1}, done.stderr
        return [line for line in done.stdout.splitlines() if line.startswith("seals/")]

    def delete_groups(self, *roles: str) -> None:
        """Deletes consumer groups, with all that they committed."""
        for answer in self.client.delete_consumer_groups([f"{self.program.prefix}{role}" for role in roles]).values():
            answer.result()

    def make_again(self, name: str, cleanup: str = "delete") -> None:
        """A topic of ours is deleted, and made as it was."""
        topic = self.program.prefix + name
        self.client.delete_topics([topic])[topic].result()
        wait_until(lambda: topic not in self.client.list_topics(timeout=10).topics, f"{topic} is gone")

        def is_made() -> bool:
            again = NewTopic(topic, FACTS_PARTITIONS, config={"cleanup.policy": cleanup})
            return self.client.create_topics([again])[topic].exception() is None

        wait_until(is_made, f"{topic} is there")
        admin.wait_until_available(self.client, [topic])

    def delete_records(self, name: str, share: float = 1.0) -> None:
        """Deletes this share of a topic's records, the first ones of each partition."""
        topic = self.program.prefix + name
        places = [TopicPartition(topic, number) for number in range(FACTS_PARTITIONS)]
        ends = admin.end_offsets(self.client, places)
        cut = [TopicPartition(topic, number, int(end * share)) for (_, number), end in ends.items()]
        for answer in self.client.delete_records(cut).values():
            answer.result()


def request(number: int, names: tuple[str, ...]) -> bytes:
    """A record with the spans of a trace."""
    spans = [
        {"traceId": f"{number + 1:032x}", "spanId": f"{4 * number + at + 1:016x}", "name": name}
        for at, name in enumerate(names)
    ]
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}).encode()


@pytest.fixture(scope="module")
def site(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """An installation that was run to the end of its day."""
    return Site.made(kafka, tmp_path_factory.mktemp("deleted"))


def warned(ended: Ended) -> list[str]:
    """What sessions warned of, without its details: each sentence once."""
    said = [json.loads(line) for line in ended.log.splitlines() if line.startswith("{")]
    events = [one["event"] for one in said if one["level"] in {"warning", "error"} and "partition" in one]
    return sorted({event.partition(": ")[0] for event in events})


@pytest.mark.parametrize("roles", [("sessions",), ("ingest",), ("ingest", "sessions")], ids="+".join)
def test_deleted_consumer_groups(site: Site, roles: tuple[str, ...]) -> None:
    """Signals may be published again unchanged; verdicts count once, and the evidence verifies."""
    site.delete_groups(*roles)

    ended = site.run()

    assert [] == warned(ended)
    assert ((TRACES, BROKEN), []) == (site.counted(), site.findings())
    assert BROKEN == len(set(site.program.revisions()))


def test_deleted_checkpoints_and_facts(kafka: str, tmp_path: Path) -> None:
    """With its store a worker continues as if nothing were deleted; without the store and the facts it starts over.

    Nothing is proved in the evidence for the time between; earlier verdicts stay in force, and nothing counts twice.
    """
    site = Site.made(kafka, tmp_path)
    site.make_again("checkpoints", "compact")
    site.write(range(400, 460))
    assert ["a facts partition has no checkpoint"] == warned(site.run())
    assert ((TRACES + 60, BROKEN + 30), []) == (site.counted(), site.findings())
    assert BROKEN + 30 == len(site.program.signals())

    site.make_again("checkpoints", "compact")
    site.delete_records("facts", 0.6)
    shutil.rmtree(site.program.state_dir)
    begins_anew(site, 600, "a facts partition has no checkpoint and its first facts are gone")

    site.make_again("facts")
    begins_anew(site, 1000, "the facts topic was recreated")


def begins_anew(site: Site, first: int, warning: str) -> None:
    """Of what comes next the first traces may be half seen; those that come later are judged, each once.

    Signals on earlier traces may be published again, unchanged.
    """
    before, _ = site.counted()
    later = range(first + 100, first + 160)
    site.write([*range(first, first + 60), *later])

    assert [warning] == warned(site.run())

    judged, broken = site.counted()
    assert before + len(later) <= judged <= before + 60 + len(later)
    # What the facts that are left say of earlier traces is judged again; how many are left depends on how they were
    # batched.
    assert broken == len(set(site.program.revisions()))
    signalled = Counter(signal["unmapped"]["betrace"]["trace_id"] for signal in site.program.signals())
    assert {f"{number + 1:032x}": 1 for number in later if number % 2}.items() <= signalled.items()
    only_not_proved(site)


def only_not_proved(site: Site) -> None:
    """Verification names times of which nothing is proved and no forgery; the report has them as not judged."""
    findings = site.findings()
    assert findings
    assert all(": gap: " in each and "are not proved" in each for each in findings), findings
    asked = ("--from", iso_ms(site.begun_ms + 10_000), "--to", iso_ms(site.begun_ms + 600_000), "--format", "json")
    done = site.call("evidence", "report", str(site.root / "evidence"), *asked)
    assert not json.loads(done.stdout)["is_whole"]
