"""How each message of the consumer is taken in and counted."""

from __future__ import annotations

import dataclasses
import json
from functools import cache

import pytest
from confluent_kafka import (
    TIMESTAMP_CREATE_TIME,
    TIMESTAMP_LOG_APPEND_TIME,
    KafkaError,
    Message,
    TopicPartition,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from dsl import RuleSet, compile_texts
from streams.config.settings import Settings
from streams.decode.backend import VARIABLE, Backend
from streams.errors import StateError
from streams.ingest.flush import SectionBuilder, messages
from streams.ingest.group import Source
from streams.ingest.intake import CONSUME_BYTES, CONSUME_COUNTS, Intake
from streams.ingest.loop import FLUSH_BYTES
from streams.ingest.source import Projected, SourcePartition, StartPosition
from streams.ingest.watermark import PartitionTime
from streams.kafka.clients import PARTITION_EOF
from streams.kafka.outbox import ANY_PARTITION, PRODUCER, Headers, Outbox
from streams.observe import metrics
from streams.observe.sampling import TRACES
from streams.projection.budget import Budget
from streams.projection.redact import Redaction, Treatment
from tests.support import poison
from tests.support.ingesting import record, rules
from tests.support.otlp_requests import trace_request
from topics import partition
from topics.errors import RefusalReason
from topics.records import audit, dead_letters, sealed_box
from topics.records.audit import POSITION_HEADER
from topics.records.facts import Fact

SPANS, LOGS = "otlp_spans", "otlp_logs"
NOWHERE = -1001
NOW_MS = 1_000_000
NO_TRACE = "0" * 32
BUDGET_BYTES = Budget().facts_bytes(0)
LEAST_FACT_BYTES = 64


@pytest.fixture
def sources() -> dict[Source, SourcePartition]:
    """A partition of spans and one of log records, to be read from offset 5 on."""
    return {(topic, 0): reading(topic) for topic in (SPANS, LOGS)}


@pytest.fixture
def outbox() -> Outbox:
    """An outbox whose brokers are away."""
    return Outbox({"bootstrap.servers": "127.0.0.1:1", "log_level": 0, **PRODUCER})


@pytest.fixture
def intake(settings: Settings, outbox: Outbox, sources: dict[Source, SourcePartition]) -> Intake:
    """The intake of `sources`."""
    return Intake(settings, rules(), outbox, sources)


@pytest.fixture
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Default settings."""
    return Settings(bootstrap="127.0.0.1:1", state_dir=tmp_path_factory.getbasetemp())


def reading(topic: str) -> SourcePartition:
    """Create a source partition that is read from offset 5 on."""
    time = PartitionTime[Projected](out_of_order_ms=200, idle_lag_ms=100, max_clock_skew_ms=5_000, broker_skew_ms=5_000)
    return SourcePartition.starting_at(
        TopicPartition(topic, 0), StartPosition(offset=5, epoch=1), "id", 1, time, now_ms=NOW_MS
    )


def message(offset: int, value: bytes | None = None, topic: str = SPANS, stamp: int = TIMESTAMP_CREATE_TIME) -> Message:
    """Create a record; of one span unless `value` is given."""
    return Message(
        topic=topic,
        partition=0,
        offset=offset,
        value=record(offset) if value is None else value,
        timestamp=(stamp, NOW_MS),
    )


def event(code: int, offset: int = 9, *, fatal: bool = False) -> Message:
    """Create an event that a consumer returns beside records."""
    return Message(topic=SPANS, partition=0, offset=offset, error=KafkaError(code, "said", fatal))


def spans(*trace_ids: str) -> bytes:
    """Create a request with a span of each trace."""
    named = [{"traceId": each, "spanId": f"{at + 1:016x}", "name": "a"} for at, each in enumerate(trace_ids)]
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": named}]}]}).encode()


def log_records(*trace_ids: str) -> bytes:
    """Create a request with a log record of each trace."""
    named = [{"traceId": each, "body": {"stringValue": "a"}} for each in trace_ids]
    return json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": named}]}]}).encode()


def taken(intake: Intake, *messages: Message) -> dict[str, float]:
    """Return by how much the counters grow when the messages are taken in."""
    before = metrics.totals()
    assert set() == intake.take([*messages], local_ms=NOW_MS)
    after = metrics.totals()
    return {name: after[name] - before[name] for name in after if after[name] != before[name]}


def test_record_is_projected(intake: Intake, sources: dict[Source, SourcePartition]) -> None:
    """Its facts are in the builder, and it is counted."""
    counted = taken(intake, message(5))

    assert {"records": 1, "records_projected": 1, "spans": 1, "facts": 1} == counted
    assert (6, 1) == (sources[SPANS, 0].builder.to_offset, len(sources[SPANS, 0].builder.groups))
    assert 1 == intake.read_count


@pytest.mark.parametrize("stale", [message(4), message(5, topic="otlp_others")])
def test_record_of_another_worker(intake: Intake, sources: dict[Source, SourcePartition], stale: Message) -> None:
    """A record below the position, or of a partition not read here, is left to its worker, and counted."""
    counted = taken(intake, stale)

    assert {"records_stale": 1} == counted
    assert (5, 5) == (sources[SPANS, 0].next_offset, sources[LOGS, 0].next_offset)


def test_record_that_cannot_be_read(intake: Intake, sources: dict[Source, SourcePartition], outbox: Outbox) -> None:
    """It becomes a dead letter, which must be confirmed before its offset is committed; reading continues."""
    counted = taken(intake, message(5, b"\xff no request"), message(6))
    outbox.end_flight([TopicPartition(SPANS, 0, 7)])

    assert {"records": 2, "records_projected": 1, "spans": 1, "facts": 1, "dead_letters": 1} == counted
    draft = sources[SPANS, 0].builder
    assert (7, [(5, 6)]) == (draft.to_offset, draft.dead_letters)
    assert not outbox.wait(0)


def large(number: int) -> bytes:
    """Create a record whose facts have the maximum size."""
    spans = [{"traceId": f"{at + 1:032x}", "spanId": f"{at + 1:016x}", "name": "pii.access"} for at in range(4_000)]
    resource = {"attributes": [{"key": "user.id", "value": {"stringValue": f"{number:0500}"}}]}
    return json.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": spans}]}]}).encode()


@cache
def many_rules() -> RuleSet:
    """Create so many rules that a span hits more atoms than its record may have facts."""
    numbers = range(BUDGET_BYTES // LEAST_FACT_BYTES)
    texts = [
        f"// id: r{number}\n// kind: invariant\npii.access.where(n != {number}) and audit.log" for number in numbers
    ]
    return compile_texts({"many.rules": "\n".join(texts)})[0]


def facts_of(draft: SectionBuilder) -> list[Fact]:
    """Return the facts in a builder."""
    return [fact for group in draft.groups.values() for fact in group.facts]


@pytest.mark.parametrize("path", Backend)
def test_identity_is_as_long_as_an_id(
    settings: Settings,
    outbox: Outbox,
    sources: dict[Source, SourcePartition],
    path: Backend,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A span id that fills the record is not OTLP: a fact with it would exceed any message."""
    monkeypatch.setenv(VARIABLE, path.value)
    intake = Intake(settings, rules(), outbox, sources)

    taken(intake, message(5, poison.long_span_id()), message(6))

    assert [8, 8] == [len(fact.identity) for fact in facts_of(sources[SPANS, 0].builder)]
    for section in sources[SPANS, 0].take_builder().sections(2, NOW_MS):
        assert messages("rules", [section], FLUSH_BYTES)


@pytest.mark.parametrize("path", Backend)
def test_record_beyond_its_budget(
    settings: Settings,
    outbox: Outbox,
    sources: dict[Source, SourcePartition],
    path: Backend,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It becomes a dead letter with its position; its spans count, and its traces have unseen hits."""
    monkeypatch.setenv(VARIABLE, path.value)
    intake = Intake(settings, many_rules(), outbox, sources)
    attribute = KeyValue(key="n", value=AnyValue(int_value=-1))
    hits = [trace_request(Span(trace_id=each * 16, name="pii.access", attributes=[attribute])) for each in (b"a", b"b")]

    counted = taken(
        intake, message(5, hits[0]), message(6, trace_request(Span(trace_id=b"c" * 16))), message(7, hits[1])
    )

    draft = sources[SPANS, 0].builder
    assert {"records": 3, "records_projected": 3, "spans": 3, "dead_letters": 2} == counted
    assert (8, [(5, 6), (7, 8)]) == (draft.to_offset, draft.dead_letters)
    assert [(5, True, []), (7, True, [])] == [
        (group.offset, group.is_incomplete, group.facts) for group in draft.groups.values()
    ]
    assert 3 == len(draft.touches)


def test_intake_is_limited_by_memory(
    settings: Settings, outbox: Outbox, sources: dict[Source, SourcePartition]
) -> None:
    """Records with megabytes of facts each stay pending until a flush; forgotten ones are read again."""
    intake = Intake(settings, rules(), outbox, sources)
    given = [message(offset, large(offset)) for offset in range(5, 9)]

    intake.take(given, local_ms=NOW_MS)
    stood = [sources[SPANS, 0].next_offset]
    while intake.has_pending:
        assert intake.is_full
        assert set() == intake.take([], local_ms=NOW_MS)
        intake.check_sampling([sources[SPANS, 0].take_builder()])
        intake.take([], local_ms=NOW_MS)
        stood.append(sources[SPANS, 0].next_offset)
    intake.check_sampling([sources[SPANS, 0].take_builder()])
    intake.take([message(9), *(message(offset, large(offset)) for offset in range(10, 14))], local_ms=NOW_MS)
    intake.forget({(SPANS, 0)})

    assert stood[0] < 9
    assert 9 == stood[-1]
    assert not intake.has_pending


def test_services_are_noted(intake: Intake, sources: dict[Source, SourcePartition]) -> None:
    """The services of every record, with hits or without, redacted and truncated."""
    named = [
        trace_request(Span(trace_id=b"a" * 16), resource=Resource(attributes=[poison.text("service.name", name)]))
        for name in ("shop", "s" * 300)
    ]

    taken(intake, *(message(5 + at, value) for at, value in enumerate(named)), message(7, log_records("b" * 32)))

    shop, long = sorted(sources[SPANS, 0].builder.services, key=len)
    assert ("shop", 256) == (shop, len(long.encode()))


def test_record_without_a_value(intake: Intake, sources: dict[Source, SourcePartition]) -> None:
    """A tombstone on a source topic is a dead letter, never dropped silently."""
    counted = taken(intake, Message(topic=SPANS, partition=0, offset=5, timestamp=(TIMESTAMP_CREATE_TIME, NOW_MS)))

    assert {"records": 1, "dead_letters": 1} == counted
    assert 6 == sources[SPANS, 0].builder.to_offset


def test_spans_and_log_records_without_a_trace(intake: Intake) -> None:
    """They belong to no window; each kind has its counter."""
    counted = taken(
        intake,
        message(5, spans("a" * 32, NO_TRACE)),
        message(5, log_records("b" * 32, NO_TRACE, NO_TRACE), LOGS),
    )

    assert (1, 2, 2) == (counted["spans_without_trace"], counted["logs_without_trace"], counted["spans"])


def test_end_of_a_partition(intake: Intake, sources: dict[Source, SourcePartition]) -> None:
    """The position is the end, after control records."""
    taken(intake, message(5), event(PARTITION_EOF, 9))

    assert (True, 9) == (sources[SPANS, 0].at_end, sources[SPANS, 0].builder.to_offset)


def test_end_of_a_partition_of_another_worker(intake: Intake, sources: dict[Source, SourcePartition]) -> None:
    """An end fetched before a rebalance is ignored."""
    del sources[SPANS, 0]

    counted = taken(intake, event(PARTITION_EOF))

    assert {} == counted


@pytest.mark.parametrize("code", [KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._AUTO_OFFSET_RESET])
@pytest.mark.parametrize("offset", [9, NOWHERE])
def test_deleted_position_is_returned(
    intake: Intake, sources: dict[Source, SourcePartition], code: int, offset: int
) -> None:
    """The partition is returned, once; one of another worker is not."""
    gone = [intake.take([event(code, offset), event(code, offset)], local_ms=NOW_MS)]
    del sources[SPANS, 0]
    gone += [intake.take([event(code, offset)], local_ms=NOW_MS)]

    assert [{(SPANS, 0)}, set()] == gone


@pytest.mark.parametrize(
    "refusal",
    [
        event(KafkaError._FATAL, NOWHERE, fatal=True),
        event(KafkaError.TOPIC_AUTHORIZATION_FAILED, NOWHERE),
        event(KafkaError.GROUP_AUTHORIZATION_FAILED, NOWHERE),
    ],
)
def test_permanent_error_ends_ingest(intake: Intake, refusal: Message) -> None:
    """If Kafka refuses or the client is broken, waiting is useless."""
    with pytest.raises(StateError, match=r"reading otlp_spans failed: said\. Action: "):
        intake.take([refusal], local_ms=NOW_MS)


@pytest.mark.parametrize("code", [KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError._MAX_POLL_EXCEEDED])
def test_temporary_error_is_awaited(intake: Intake, code: int) -> None:
    """Brokers return, and what was fetched with the error is taken in."""
    counted = taken(intake, event(code, NOWHERE), message(5))

    assert 1 == counted["records"]


def test_source_that_looks_sampled(intake: Intake, sources: dict[Source, SourcePartition]) -> None:
    """A flush with many traces and no root among them is detected."""
    metrics.SOURCE_SAMPLED.clear()
    traces = [f"{number + 1:030x}00" for number in range(TRACES)]
    child = {"spanId": "0a" * 8, "parentSpanId": "0b" * 8, "name": "a"}
    value = {"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": each, **child} for each in traces]}]}]}

    taken(intake, message(5, json.dumps(value).encode()))
    intake.check_sampling([sources[SPANS, 0].builder])

    assert 1 == metrics.REGISTRY.get_sample_value("betrace_source_sampled", {"reason": "rootless"})


def test_timestamp_type_is_recorded(intake: Intake, sources: dict[Source, SourcePartition]) -> None:
    """The source knows whether broker or producer set a record's time."""
    taken(intake, message(5, stamp=TIMESTAMP_LOG_APPEND_TIME), message(5, topic=LOGS))

    assert [True, False] == [sources[topic, 0].time.has_broker_time for topic in (SPANS, LOGS)]


def test_batches_are_of_about_a_megabyte(intake: Intake) -> None:
    """Few large records at a time, or many small ones, within limits."""
    least, most = CONSUME_COUNTS
    counts: list[int] = []

    for offset, size_bytes in enumerate((1, 10_000, CONSUME_BYTES), 5):
        intake.take([message(offset, b" " * size_bytes)], local_ms=NOW_MS)
        counts.append(intake.batch_count)

    assert [most, 100, least] == counts


class Noted(Outbox):
    """An outbox that records what it is given."""

    def __init__(self) -> None:
        super().__init__({"bootstrap.servers": "127.0.0.1:1", "log_level": 0, **PRODUCER})
        self.sent: list[tuple[str, bytes | None, bytes | None, int, Headers]] = []

    def send(
        self, topic: str, value: bytes | None, key: bytes | None, partition: int = ANY_PARTITION, headers: Headers = ()
    ) -> None:
        """Record it."""
        self.sent.append((topic, value, key, partition, headers))


UNREADABLE = {
    RefusalReason.EMPTY: b"",
    RefusalReason.NOT_PROTOBUF: b"\xff",
    RefusalReason.NOT_JSON: b"{",
    RefusalReason.NOT_OTLP_JSON: b'{"resourceSpans":7}',
    RefusalReason.TOO_DEEP: b'{"resourceSpans":[],"x":' + b"[" * 100_000,
    RefusalReason.NO_RECORDS: b"{}",
    RefusalReason.ONLY_UNKNOWN: b"\x0a\x03\x4a\x01a",
    RefusalReason.NO_TRACE: b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"00","name":"a"}]}]}]}',
}


def refused(given: Intake, outbox: Noted, value: bytes) -> tuple[str, RefusalReason]:
    """Return the reason in the dead letter of a record, and the one that the metric counts it by."""

    def counts() -> dict[RefusalReason, float]:
        return {
            reason: metrics.REGISTRY.get_sample_value(
                "betrace_dead_letters_total", {"topic": SPANS, "reason": reason.value}
            )
            or 0
            for reason in RefusalReason
        }

    before = counts()
    given.take([message(5, value)], local_ms=NOW_MS)
    [headers] = [headers for topic, _, _, _, headers in outbox.sent if topic == "betrace.dead_letters"]
    [counted] = [reason for reason, count in counts().items() if count > before[reason]]
    [text] = [value for name, value in headers if name == "reason" and isinstance(value, bytes)]
    return text.decode(), counted


@pytest.mark.parametrize("reason", UNREADABLE)
def test_reason_of_an_unreadable_record(
    settings: Settings, sources: dict[Source, SourcePartition], reason: RefusalReason
) -> None:
    """The letter begins with the reason that the metric counts, with a detail after a colon."""
    outbox = Noted()

    text, counted = refused(Intake(settings, rules(), outbox, sources), outbox, UNREADABLE[reason])

    assert (reason, reason.value) == (counted, text.split(":", maxsplit=1)[0])


def test_reason_of_a_record_that_cannot_be_projected(
    settings: Settings, sources: dict[Source, SourcePartition], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record beyond its budget, and one that the program fails for, have reasons of their own: these are all."""
    attribute = KeyValue(key="n", value=AnyValue(int_value=-1))
    value = trace_request(Span(trace_id=b"a" * 16, name="pii.access", attributes=[attribute]))
    outboxes = Noted(), Noted()

    large = refused(Intake(settings, many_rules(), outboxes[0], sources), outboxes[0], value)
    monkeypatch.setattr(RuleSet, "hits", lambda *_: 1 // 0)
    failed = refused(Intake(settings, rules(), outboxes[1], {(SPANS, 0): reading(SPANS)}), outboxes[1], value)

    assert (RefusalReason.OVER_BUDGET.value, RefusalReason.OVER_BUDGET) == large
    assert ("projection failed: ZeroDivisionError", RefusalReason.PROJECTION_FAILED) == failed
    assert {*RefusalReason} == {*UNREADABLE, large[1], failed[1]}


def test_audit_records_go_to_the_trail(settings: Settings, sources: dict[Source, SourcePartition]) -> None:
    """Each goes, complete, to the partition of its trace; read again, it has the same position there."""
    outbox = Noted()
    before = metrics.totals()
    trace, attributes = "0a" * 16, [{"key": "audit.action", "value": {"stringValue": "login"}}]
    span = {"traceId": trace, "spanId": "0b" * 8, "name": "login", "attributes": attributes}
    spans = {"resourceSpans": [{"scopeSpans": [{"spans": [span, {**span, "name": "again"}]}]}]}
    logs = {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"attributes": attributes}]}]}]}

    Intake(settings, rules(), outbox, sources).take(
        [message(5, json.dumps(spans).encode()), message(6, json.dumps(logs).encode(), LOGS)], local_ms=NOW_MS
    )

    trail = [one for one in outbox.sent if one[0] == "betrace.audit"]
    to = partition.of_trace(bytes.fromhex(trace), settings.facts_partitions)
    assert [(trace.encode(), to), (trace.encode(), to), (None, 0)] == [(key, number) for _, _, key, number, _ in trail]
    assert [f"{SPANS}/0/1/5/0".encode(), f"{SPANS}/0/1/5/1".encode(), f"{LOGS}/0/1/6/0".encode()] == [
        dict(headers)[POSITION_HEADER] for *_, headers in trail
    ]
    assert 3 == metrics.totals()["audit_records"] - before["audit_records"]
    assert ["login", "again", ""] == [audit.decode(value or b"").name for _, value, *_ in trail]


def test_the_trail_is_redacted(settings: Settings, sources: dict[Source, SourcePartition]) -> None:
    """What no signal may show is not in an audit record either."""
    outbox = Noted()
    redaction = Redaction({"user.id": Treatment.MASK})
    attributes = [{"key": key, "value": {"stringValue": "ann"}} for key in ("audit.action", "user.id")]
    logs = {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"attributes": attributes}]}]}]}

    Intake(dataclasses.replace(settings, redaction=redaction), rules(), outbox, sources).take(
        [message(5, json.dumps(logs).encode(), LOGS)], local_ms=NOW_MS
    )

    [value] = [value for topic, value, *_ in outbox.sent if topic == "betrace.audit"]
    assert {"audit.action": "ann", "user.id": "[masked]"} == audit.decode(value or b"").attributes


@pytest.mark.parametrize("has_key", [True, False])
def test_bytes_of_a_dead_letter_are_only_for_the_owner_of_a_key(
    settings: Settings, sources: dict[Source, SourcePartition], *, has_key: bool
) -> None:
    """Unreadable bytes cannot be redacted, so they are not kept, or encrypted."""
    outbox = Noted()
    private, public = sealed_box.generate()
    key = sealed_box.read_public_key(public) if has_key else None

    Intake(dataclasses.replace(settings, dead_letter_key=key), rules(), outbox, sources).take(
        [message(5, b"\xff ann@example.com")], local_ms=NOW_MS
    )

    [(_, value, _, _, headers)] = [one for one in outbox.sent if one[0] == "betrace.dead_letters"]
    said = {name: value.decode() for name, value in headers if isinstance(value, bytes)}
    assert {"topic": SPANS, "partition": "0", "offset": "5", "length": "17"}.items() <= said.items()
    assert not any(b"ann" in part for part in (value or b"", *(str(each).encode() for each in said.values())))
    if has_key:
        opened = dead_letters.content(value or b"", said, sealed_box.read_private_key(private))
        assert b"\xff ann@example.com" == opened
    else:
        assert value is None
