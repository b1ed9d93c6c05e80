"""Signals of a real run reach a SIEM's door byte for byte: rsyslog and the Collector, as their shipped files say."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from confluent_kafka import Producer
from msgspec.structs import replace

from tests.broker.siem.tools import bodies, configured, lines, rsyslogd, started, wait_for
from tests.support.collector.build import GoMissingError, binary
from tests.support.findings import ACCESS, FINDING
from tests.support.program import CAPTURES, Program
from topics.embedded import capture
from topics.records.signals import LIMIT_BYTES, SignalFormat, record

pytestmark = pytest.mark.broker

ABORTED = b'{"this was":"never committed"}'
ODD = "<134>1 - - | = \\ % $msg%msg% \t\x01\x7f\x85\u2028 \U0001f512 é  "


@dataclass(frozen=True)
class Signals:
    """A topic of signals, and what was committed to it."""

    bootstrap: str
    topic: str
    values: list[bytes]


def worst() -> list[bytes]:
    """Signals as long and as odd as they may be, in every format."""
    odd = replace(ACCESS, name=ODD, service=ODD, attributes={"user.id": ODD})
    findings = [replace(FINDING, witnesses=(odd,) * count) for count in (1, 5000)]
    return [
        record(finding, logged_ms=7, source="s", format=each).value for finding in findings for each in SignalFormat
    ]


@pytest.fixture(scope="module")
def signals(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Signals:
    """What `betrace run` says of the recorded day, the worst signals beside it, and one that was taken back."""
    program = Program(kafka, f"t{uuid.uuid4().hex[:12]}.", tmp_path_factory.mktemp("state"))
    program.make_sources()
    producer = Producer({"bootstrap.servers": kafka})
    for name, topic in (("keyed_spans", program.spans_topic), ("keyed_logs", program.logs_topic)):
        for frame in capture.read(CAPTURES / f"{name}.bin.gz"):
            producer.produce(topic, frame.value, frame.key)
    producer.flush()
    program.run_until_idle()
    topic = f"{program.prefix}signals"
    values = [frame.value for frame in program.records("signals")] + worst()
    assert len(values) > 90
    for number, value in enumerate(worst()):
        producer.produce(topic, value, b"key", number % 3)
    assert producer.flush(30) == 0
    _take_back(kafka, topic)
    return Signals(kafka, topic, values)


def _take_back(bootstrap: str, topic: str) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": uuid.uuid4().hex})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topic, ABORTED, b"key", 0)
    producer.flush(30)
    producer.abort_transaction(30)


def test_longest_signals_are_at_the_limit() -> None:
    """The longest signals that the tools are tested with are as long as a signal can be."""
    assert max(map(len, worst())) > LIMIT_BYTES - 1000


def test_rsyslog_writes_every_signal(signals: Signals, tmp_path: Path) -> None:
    """The file that rsyslog writes has each committed signal on its own line, byte for byte, and nothing else."""
    command = rsyslogd()
    if command is None:
        pytest.skip("rsyslogd with its Kafka module is not installed: apt-get install rsyslog rsyslog-kafka")
    written = tmp_path / "signals.jsonl"
    here = {
        "localhost:9092": signals.bootstrap,
        "betrace.signals": signals.topic,
        "betrace-rsyslog": f"{signals.topic}-rsyslog",
        "/var/log/betrace/signals.jsonl": str(written),
        "/var/spool/rsyslog": str(tmp_path),
    }
    config = configured("siem/rsyslog/signals.conf", tmp_path, here)

    with started([command, "-n", "-f", config, "-i", tmp_path / "pid"]) as said:
        found = wait_for(lambda: lines(written), len(signals.values), said)

    assert sorted(found) == sorted(signals.values)


@pytest.fixture
def otelcol() -> Iterator[Path]:
    """A real Collector."""
    try:
        yield binary()
    except GoMissingError as error:
        pytest.skip(str(error))


@pytest.mark.collector
def test_collector_delivers_every_signal(signals: Signals, otelcol: Path, tmp_path: Path) -> None:
    """A log record's body is a signal, byte for byte; the Collector also delivers those of aborted transactions."""
    written = tmp_path / "signals.otlp.jsonl"
    here = {
        "localhost:9092": signals.bootstrap,
        "betrace.signals": signals.topic,
        "betrace-collector": f"{signals.topic}-collector",
    }
    receive = configured("siem/collector/receive.yaml", tmp_path, here)
    file = configured("siem/collector/file.yaml", tmp_path, {"/var/log/betrace/signals.otlp.jsonl": str(written)})

    with started([otelcol, "--config", receive, "--config", file]) as said:
        found = wait_for(lambda: bodies(written), len(signals.values) + 1, said)

    assert sorted(found) == sorted([*signals.values, ABORTED])
