"""Iterating over a topic on a real Kafka."""

from __future__ import annotations

import json
import time

import pytest
from confluent_kafka import Producer
from confluent_kafka.cimpl import NewTopic

from dsl import Verdict, compile_texts, judge_trace
from streams.errors import StateError
from streams.inspect import traces
from topics.cluster import admin

pytestmark = pytest.mark.broker

RULES, _ = compile_texts({"a.rules": "// id: audited\nwhen { pii.access } always { audit.log }"})
DAY_MS = 86_400_000


def request(trace: int, name: str) -> bytes:
    """One span, as OTLP/JSON."""
    spans = [{"traceId": f"{trace:032x}", "spanId": f"{len(name):016x}", "name": name}]
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}).encode()


@pytest.fixture
def topic(kafka: str, fresh_prefix: str) -> str:
    """A topic of two partitions: a trace in both, a trace without an audit record, and a record that is not OTLP."""
    name = f"{fresh_prefix}otlp_spans"
    client = admin.connect({"bootstrap.servers": kafka})
    for future in client.create_topics([NewTopic(name, 2, 1)]).values():
        future.result()
    producer = Producer({"bootstrap.servers": kafka})
    now_ms = time.time_ns() // 10**6
    producer.produce(name, request(1, "pii.access"), partition=0, timestamp=now_ms - DAY_MS)
    producer.produce(name, request(1, "audit.log"), partition=1, timestamp=now_ms)
    producer.produce(name, request(2, "pii.access"), partition=1, timestamp=now_ms)
    producer.produce(name, b"\xff no request", partition=1, timestamp=now_ms)
    producer.flush()
    return name


def test_traces_of_a_topic_are_judged(kafka: str, topic: str) -> None:
    """The iterator ends where the topic does; parts of a trace in two partitions are one trace."""
    unread: list[str] = []

    parts = list(traces.from_topic({"bootstrap.servers": kafka}, topic, RULES, unread=unread))

    assert {f"{topic}[0]@0", f"{topic}[1]@0", f"{topic}[1]@1"} == {part.source for part in parts}
    spans = traces.by_trace(parts)
    judged = {trace_id[-1]: [each.verdict for each in judge_trace(RULES, of)] for trace_id, of in spans.items()}
    assert {1: [Verdict.HELD], 2: [Verdict.BROKEN]} == judged
    assert [True] == [line.startswith(f"{topic}[1]@2: ") for line in unread]


def test_a_topic_is_read_from_a_time(kafka: str, topic: str) -> None:
    """Earlier records are left out, and an iterator that does not end waits for the next record."""
    client = {"bootstrap.servers": kafka}

    recent = traces.from_topic(client, topic, RULES, since="2h", unread=[])
    waiting = traces.from_topic(client, topic, RULES, until_end=False, unread=[])

    assert {f"{topic}[1]@0", f"{topic}[1]@1"} == {part.source for part in recent}
    assert 3 == len({next(waiting).source for _ in range(3)})


def test_a_topic_that_does_not_exist(kafka: str, fresh_prefix: str) -> None:
    """An error says so."""
    with pytest.raises(StateError, match="cannot be read"):
        list(traces.from_topic({"bootstrap.servers": kafka}, f"{fresh_prefix}none", RULES))
