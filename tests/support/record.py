"""Records the captures that the package ships: real Collector output of the sample applications.

In: nothing but a seed; Kafka and the Collector are started here. Out, in topics/embedded/captures:
`{keyed,unkeyed}_{spans,logs}.bin.gz`, and the truth about them, `{rule id: {"broken": [trace id, …]}}`, in
`expected.json` for demo.rules and `expected_later.json` for later.rules. What must hold: each pair of captures holds
every span and log record.

    python -m tests.support.record --out topics/embedded/captures
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.apps.day import Day, run_day
from tests.support.apps.story import DEMO_RULES, LATER_RULES
from tests.support.collector import run as collector
from topics.embedded import broker, capture
from topics.embedded.capture import Frame

SEED = 20261116
READ_S = 30


def send_day(bootstrap: str, settings: collector.Settings, *, partitions: int, seed: int = SEED) -> Day:
    """Creates the two source topics and sends a day through a Collector; all of it is on Kafka at return."""
    topics = [NewTopic(name, partitions) for name in (settings.spans_topic, settings.logs_topic)]
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for created in admin.create_topics(topics).values():
        created.result()
    with collector.running(bootstrap, settings) as endpoint:
        return run_day(endpoint, seed)


def read_topic(bootstrap: str, topic: str) -> list[Frame]:
    """Every committed record of `topic`, partition by partition; raises `TimeoutError` when it stalls for 30 s."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "never-committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 20,
            "isolation.level": "read_committed",
        }
    )
    try:
        partitions = consumer.list_topics(topic, READ_S).topics[topic].partitions
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in partitions])
        frames = _read_to_ends(consumer, len(partitions))
        return [frame for number in partitions for frame in frames.get(number, [])]
    finally:
        consumer.close()


def _read_to_ends(consumer: Consumer, partition_count: int) -> dict[int | None, list[Frame]]:
    frames: dict[int | None, list[Frame]] = {}
    while partition_count:
        message = consumer.poll(READ_S)
        if message is None:
            raise TimeoutError(f"nothing was read for {READ_S} s")
        if error := message.error():
            if error.code() != KafkaError._PARTITION_EOF:
                raise KafkaException(error)
            partition_count -= 1
        else:
            frames.setdefault(message.partition(), []).append(Frame(message.key(), message.value() or b""))
    return frames


def count_spans(frames: Iterable[Frame]) -> int:
    """The distinct spans of protobuf records: a Collector may send a batch twice."""
    return len(
        {
            (span.trace_id, span.span_id)
            for frame in frames
            for resource in ExportTraceServiceRequest.FromString(frame.value).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        }
    )


def count_logs(frames: Iterable[Frame]) -> int:
    """The distinct log records of protobuf records."""
    return len(
        {
            (resource.resource.SerializeToString(), log.SerializeToString())
            for frame in frames
            for resource in ExportLogsServiceRequest.FromString(frame.value).resource_logs
            for scope in resource.scope_logs
            for log in scope.log_records
        }
    )


def record(out: Path, seed: int) -> None:
    """Writes the captures and the truth about them into `out`; raises `RuntimeError` when anything is missing."""
    with broker.running() as kafka:
        for name, keyed in (("keyed", True), ("unkeyed", False)):
            settings = collector.Settings(keyed, spans_topic=f"{name}_spans", logs_topic=f"{name}_logs")
            # One partition, so that a capture is in the order of arrival.
            day = send_day(kafka.bootstrap, settings, partitions=1, seed=seed)
            spans = read_topic(kafka.bootstrap, settings.spans_topic)
            logs = read_topic(kafka.bootstrap, settings.logs_topic)
            _check(day, count_spans(spans), count_logs(logs))
            capture.write(out / f"{name}_spans.bin.gz", spans)
            capture.write(out / f"{name}_logs.bin.gz", logs)
    _write_truth(out / "expected.json", day.broken(DEMO_RULES))
    _write_truth(out / "expected_later.json", day.broken(LATER_RULES))


def _check(day: Day, span_count: int, log_count: int) -> None:
    if (span_count, log_count) != (day.span_count, day.log_count):
        raise RuntimeError(
            f"{span_count} of {day.span_count} spans and {log_count} of {day.log_count} log records arrived"
        )


def _write_truth(path: Path, broken: dict[str, list[str]]) -> None:
    truth = {rule: {"broken": traces} for rule, traces in broken.items()}
    path.write_text(json.dumps(truth, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.support.record", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("topics/embedded/captures"), help="where the captures go")
    parser.add_argument("--seed", type=int, default=SEED, help="the same seed gives the same traces")
    arguments = parser.parse_args()
    record(arguments.out, arguments.seed)
