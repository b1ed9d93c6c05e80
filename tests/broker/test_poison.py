"""Records made to break a limit, as large as Kafka takes them: no stage ends by them, and ingest keeps its memory."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

import pytest
from confluent_kafka import Producer
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from dsl import compile_texts
from streams.config.settings import Settings
from streams.kafka import reader
from streams.rules import registry
from tests.support import poison
from tests.support.ingesting import Site, must_arrive, peak_bytes, record
from tests.support.otlp_requests import trace_request
from tests.support.program import RUN_S, STOP_S, Program
from tests.support.record import read_topic
from tests.support.waiting import wait_until
from topics.otlp.protobuf import Message
from topics.records import audit, verdicts
from topics.records.verdicts import Coverage

pytestmark = pytest.mark.broker

SMALL = ("long_span_id", "long_parent_id", "many_keys", "other_json")
"""Those that have few traces, so that all stages are soon done with them."""

MEMORY_BYTES = 512 << 20
INGEST_S = 560
TIMES = 3
DEAD = ("large_scopes", "nested_json", "other_json")
"""Those that have no trace, or are no request."""


def write(bootstrap: str, topic: str, *values: bytes) -> None:
    """Writes records, all of them to one partition, and waits until they are there."""
    producer = Producer({"bootstrap.servers": bootstrap})
    for value in values:
        producer.produce(topic, value, partition=0, on_delivery=must_arrive)
    producer.flush()


def hit(number: int) -> Message:
    """A span as small as it may be that hits an atom of each rule, in a trace of its own."""
    return Span(trace_id=poison.trace_id(number), span_id=(number + 1).to_bytes(8, "big"), name="p")


def called(*words: str, codes: Collection[int] = (0,)) -> str:
    """What a command prints; it must end with one of these exit codes."""
    command = [sys.executable, "-m", "streams.cli", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_S, check=False)
    assert done.returncode in codes, done.stderr[-4000:]
    return done.stdout


def sources(program: Program) -> list[str]:
    """Where the records are."""
    topics = f"{program.spans_topic},{program.logs_topic}"
    return ["--bootstrap", program.bootstrap, "--prefix", program.prefix, "--source-topics", topics]


def dead_letters(program: Program) -> list[dict[str, str | bytes | None]]:
    """The headers of every dead letter."""
    settings = Settings(bootstrap=program.bootstrap, state_dir=program.state_dir, prefix=program.prefix)
    return [dict(message.headers() or ()) for message in reader.read(settings, settings.topic("dead_letters"))]


def replayed(program: Program, *options: str) -> dict[tuple[str, str], str]:
    """The last verdicts, by rule and trace, that a replay of everything says."""
    windows = ["--rules", str(program.rules), "--from", "earliest", "--gap", "2s", "--out-of-order", "500ms"]
    lines = called("replay", *sources(program), *windows, *options, codes=(0, 1)).splitlines()
    said = [json.loads(line)["unmapped"]["betrace"] for line in lines]
    said.sort(key=lambda one: int(one["revision"]))
    return {(one["rule"]["id"], one["trace_id"]): one["verdict"] for one in said}


def test_all_stages_survive_hostile_records(kafka: str, fresh_prefix: str, tmp_path: Path) -> None:
    """`betrace run` judges the honest traces before and after each hostile record, and stops without an error.

    A record that cannot be decoded is a dead letter with its reason and position; the others are judged, audited and
    sealed like any record. Replay, from Kafka and from an archive, gives the same results.
    """
    rules, key, evidence = tmp_path / "poison.rules", tmp_path / "ledger.key", tmp_path / "evidence"
    rules.write_text(poison.RULES)
    public = tmp_path / "ledger.pub"
    public.write_text(called("evidence", "keygen", "example.com/test", "--key", str(key)))
    program = Program(kafka, fresh_prefix, tmp_path / "state", rules)
    kept = ("--evidence", str(evidence), "--ledger-key", str(key))
    program = dataclasses.replace(program, options=(*program.options, *kept))
    program.make_sources(1)
    honest = range(1000, 1000 + len(SMALL) + 1)
    values = [poison.ALL[name]() for name in SMALL]
    mixed = [value for number, each in zip(honest, values, strict=False) for value in (record(number), each)]
    write(kafka, program.spans_topic, *mixed, record(honest[-1]))

    ended = program.run_until_idle()

    broken = {trace for _, trace in program.broken()}
    assert {f"{number + 1:032x}" for number in honest} <= broken, ended
    [letter] = dead_letters(program)
    assert b"no spans or log records, only unknown fields: scope_spans" == letter["reason"]
    assert (program.spans_topic.encode(), b"0", b"7") == (letter["topic"], letter["partition"], letter["offset"])
    [trail] = [audit.decode(frame.value) for frame in program.records("audit")]
    assert ("grant", 16) == (trail.name, len(trail.parent_span_id or ""))
    called("evidence", "verify", str(evidence), "--key", str(public))
    called("archive", str(tmp_path / "archive"), *sources(program), "--until-idle")
    for archive in ((), ("--archive", str(tmp_path / "archive"))):
        assert program.last_verdicts() == replayed(program, *archive)
    records = [verdicts.decode(frame.value) for frame in program.records("verdicts")]
    assert 1 == max(
        sum(one.dead_letters or 0 for one in each.sources) for each in records if isinstance(each, Coverage)
    )


def test_refused_record_is_incomplete_live_and_in_replay(kafka: str, fresh_prefix: str, tmp_path: Path) -> None:
    """Traces in a record with too many facts are undetermined; other traces are judged as usual."""
    rules = tmp_path / "many.rules"
    texts = [f'// id: r{number}\n// kind: invariant\np.where(span.id != "{number}") and q' for number in range(8)]
    rules.write_text("\n".join(texts))
    program = Program(kafka, fresh_prefix, tmp_path, rules)
    program.make_sources(1)
    seen, other, refused = (range(first, first + count) for first, count in ((0, 3), (5_000, 3), (0, 2_000)))
    values = [trace_request(hit(number)) for number in (*seen, *other)]
    write(kafka, program.spans_topic, *values, trace_request(*map(hit, refused)))

    ended = program.run_until_idle()

    undetermined, broken = ({poison.trace_id(number).hex() for number in numbers} for numbers in (seen, other))
    verdicts_of = {(f"r{number}", trace): "undetermined" for number in range(8) for trace in undetermined}
    verdicts_of |= {(f"r{number}", trace): "broken" for number in range(8) for trace in broken}
    assert verdicts_of == program.last_verdicts(), ended
    assert verdicts_of == replayed(program)
    [letter] = dead_letters(program)
    assert (b"facts take more than the record's budget", b"6") == (letter["reason"], letter["offset"])


def test_memory_of_ingest_is_bounded(kafka: str, fresh_prefix: str, tmp_path: Path) -> None:
    """Ingest stays below 512 MiB whatever it reads, reads all of it, and stops in order."""
    site = Site.made(kafka, fresh_prefix, tmp_path, {"spans": 1})
    rules, _ = compile_texts({"poison.rules": poison.RULES})
    registry.push(site.settings, rules, now_ms=1)
    values = [made() for made in poison.ALL.values()]
    # One after the other, then each several times: what one leaves behind must not add up.
    write(kafka, site.spans, *values, *(value for value in values for _ in range(TIMES - 1)))
    count = TIMES * len(values)

    with subprocess.Popen(site.command(), stderr=subprocess.PIPE) as ingest:
        try:
            wait_until(
                lambda: ingest.poll() is not None or {count} == {at.offset for at in site.committed().values()},
                f"{count} records are read and committed",
                INGEST_S,
            )
            peak = peak_bytes(ingest.pid)
            ingest.terminate()
            _, said = ingest.communicate(timeout=STOP_S)
        finally:
            ingest.kill()

    assert 0 == ingest.returncode, said[-4000:]
    assert peak < MEMORY_BYTES
    letters = read_topic(kafka, site.settings.topic("dead_letters"))
    assert TIMES * len(DEAD) == len(letters)
