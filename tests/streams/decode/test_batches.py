"""Records that are read in batches give the same results as one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path

import pytest
from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_LOG_APPEND_TIME, Message, TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from dsl import RuleSet, compile_texts
from streams.config.settings import Settings
from streams.decode import backend
from streams.decode.backend import Backend
from streams.ingest.intake import Intake
from streams.ingest.source import Projected, SourcePartition, StartPosition
from streams.ingest.watermark import PartitionTime
from streams.kafka.outbox import ANY_PARTITION, PRODUCER, Headers, Outbox
from streams.observe import metrics
from tests.support.mutated_requests import damaged
from tests.support.otlp_requests import SPAN, TRACE, delimited, logs_requests, trace_requests
from topics.records.facts import Section

TOPICS = ("otlp_spans", "otlp_logs")
NOW_MS = 1_000_000
FIRST_OFFSET = 5
SKEW_MS = 5_000

needs_scanner = pytest.mark.skipif(backend.compiled() is None, reason="the scanner was not compiled here")
values = st.builds(lambda request: request.SerializeToString(), trace_requests | logs_requests)
odd_values = st.builds(lambda value, chance: damaged(chance, value), values, st.randoms(use_true_random=False))
times_ms = st.sampled_from((-1, 0, NOW_MS, NOW_MS + 99, NOW_MS + SKEW_MS, NOW_MS + SKEW_MS + 1, 1 << 62)) | st.integers(
    NOW_MS - 1000, NOW_MS + 1000
)
records = st.lists(
    st.tuples(
        st.sampled_from(TOPICS),
        st.integers(0, 1),
        st.integers(0, 2),
        values | values | odd_values | st.sampled_from((None, b"")),
        times_ms,
        st.sampled_from((TIMESTAMP_CREATE_TIME, TIMESTAMP_LOG_APPEND_TIME)),
    ),
    max_size=12,
)
Record = tuple[str, int, int, bytes | None, int, int]


class Sent(Outbox):
    """An outbox that records what it is given and sends nothing."""

    def __init__(self) -> None:
        super().__init__({"bootstrap.servers": "127.0.0.1:1", "log_level": 0, **PRODUCER})
        self.sent: list[tuple[object, ...]] = []

    def send(
        self, topic: str, value: bytes | None, key: bytes | None, partition: int = ANY_PARTITION, headers: Headers = ()
    ) -> None:
        """Record it."""
        self.sent.append((topic, value, key, partition, *headers))


@contextmanager
def choosing(choice: Backend) -> Iterator[None]:
    """Use this backend for everything that is created inside."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(backend.VARIABLE, choice.value)
        yield


def rules() -> RuleSet:
    """Create rules about keys that requests have, and about names."""
    text = "// id: a\nwhen { user.id } always { audit.log }\n// id: b\nwhen { service.name.where(a > 1) } never { a }\n"
    return compile_texts({"a.rules": text})[0]


def messages(sent: list[Record]) -> list[Message]:
    """Create the records, each a few offsets after the last one of its partition; 0 repeats an offset."""
    offsets: dict[tuple[str, int], Iterator[int]] = {}
    made = []
    for topic, number, _, value, record_ms, stamp in sent:
        at = (topic, number)
        if at not in offsets:
            steps = [step for other, n, step, *_ in sent if (other, n) == at]
            offsets[at] = accumulate(steps, initial=FIRST_OFFSET - 1)
            next(offsets[at])
        made.append(Message(topic, number, next(offsets[at]), None, value, timestamp=(stamp, record_ms)))
    return made


def taken(choice: Backend, sent: list[Record], count: int) -> tuple[list[list[Section]], list[object], object]:
    """Return what intake makes of records, taken in `count` at a time: sections, counts and positions, what is sent."""
    with choosing(choice):
        sources = {
            (topic, number): SourcePartition.starting_at(
                TopicPartition(topic, number),
                StartPosition(offset=FIRST_OFFSET, epoch=1),
                "id",
                2,
                PartitionTime[Projected](
                    out_of_order_ms=200, idle_lag_ms=100, max_clock_skew_ms=SKEW_MS, broker_skew_ms=SKEW_MS
                ),
                now_ms=NOW_MS,
            )
            for topic in TOPICS
            for number in range(2)
        }
        outbox = Sent()
        intake = Intake(Settings(bootstrap="127.0.0.1:1", state_dir=Path()), rules(), outbox, sources)
        before = metrics.totals()
        made = messages(sent)
        for start in range(0, len(made), count):
            intake.take(made[start : start + count], local_ms=NOW_MS + start)
        after = metrics.totals()
        places: list[object] = [
            (
                *(each.next_offset, each.builder.to_offset, each.start_record_ms, each.offset_metadata()),
                *(each.time.behind_count, each.time.out_of_bounds_count, each.time.bounds_ms(local_ms=NOW_MS)),
                sorted(each.builder.services),
            )
            for each in sources.values()
        ]
        sections = [each.builder.sections(3, each.time.watermark_ms) for each in sources.values()]
    counts = [{name: after[name] - before[name] for name in after}, intake.read_count, intake.batch_count]
    return sections, [*places, *counts], outbox.sent


@needs_scanner
@given(sent=records, count=st.integers(1, 12))
def test_batches_change_nothing(sent: list[Record], count: int) -> None:
    """Sections, counts, times, dead letters and the audit trail equal those of the pure path, in any combination."""
    assert taken(Backend.PURE, sent, 1_000) == taken(Backend.CYTHON, sent, 1_000)
    assert taken(Backend.PURE, sent, count) == taken(Backend.CYTHON, sent, count)


near_ms = st.integers(NOW_MS - 400, NOW_MS + 400)
rows = st.lists(
    st.tuples(
        st.integers(1, 90),
        near_ms | near_ms | times_ms,
        st.sampled_from((TIMESTAMP_CREATE_TIME, TIMESTAMP_CREATE_TIME, TIMESTAMP_LOG_APPEND_TIME)),
    ),
    min_size=2,
    max_size=6,
)


@needs_scanner
@given(sent=rows, count=st.integers(1, 200))
def test_batches_follow_producers_timestamps(sent: list[tuple[int, int, int]], count: int) -> None:
    """In a long batch the bounds move as they do from record to record."""
    value = request(span(key=b"user.id"))
    made: list[Record] = [
        (TOPICS[0], 0, 1, value, stamp_ms + at % 3, stamp) for often, stamp_ms, stamp in sent for at in range(often)
    ]

    assert taken(Backend.PURE, made, count) == taken(Backend.CYTHON, made, count)


@needs_scanner
@pytest.mark.parametrize("choice", [Backend.PURE, Backend.CYTHON])
def test_facts_are_counted_once(choice: Backend) -> None:
    """A trace whose spans lie apart in a record counts each of its facts once."""
    name = delimited(5, b"audit.log")
    value = request(span() + name, span(bytes(15) + b"\1") + name, span() + name)

    _, positions_and_counts, _ = taken(choice, [(TOPICS[0], 0, 1, value, NOW_MS, TIMESTAMP_CREATE_TIME)], 1)

    [counts] = [each for each in positions_and_counts if isinstance(each, dict)]
    assert 3 == counts["facts"]


def request(*spans: bytes) -> bytes:
    """Create a request with these encoded spans."""
    return delimited(1, delimited(2, b"".join(delimited(2, span) for span in spans)))


def span(trace_id: bytes = TRACE, key: bytes = b"k") -> bytes:
    """Create a span with one attribute."""
    return delimited(1, trace_id) + delimited(2, SPAN) + delimited(9, delimited(1, key) + delimited(2, b""))


@needs_scanner
@pytest.mark.parametrize(
    ("middle", "lengths"),
    [
        ((TOPICS[0], 0, 1, request(span()), NOW_MS, TIMESTAMP_CREATE_TIME), [3, 2, 1]),
        ((TOPICS[0], 0, 1, request(span(key=b"audit.x")), NOW_MS, TIMESTAMP_CREATE_TIME), [1, 0, 1]),
        ((TOPICS[0], 0, 1, request(span(bytes(16))), NOW_MS, TIMESTAMP_CREATE_TIME), [1, 0, 1]),
        ((TOPICS[0], 0, 1, request(span()), NOW_MS + SKEW_MS + 1, TIMESTAMP_CREATE_TIME), [1, 0, 1]),
        ((TOPICS[0], 0, 1, b"{}", NOW_MS, TIMESTAMP_CREATE_TIME), [1, 0, 1]),
        ((TOPICS[0], 1, 1, request(span()), NOW_MS, TIMESTAMP_CREATE_TIME), [1, 0, 1]),
        ((TOPICS[0], 0, 0, request(span()), NOW_MS, TIMESTAMP_CREATE_TIME), [1, 0, 1]),
    ],
    ids=["plain", "audit", "no_trace", "ahead", "json", "other_partition", "read_before"],
)
def test_batch_ends_before_a_record_that_needs_more(middle: Record, lengths: list[int]) -> None:
    """A record that needs more than a count is left to be taken in alone."""
    plain: Record = (TOPICS[0], 0, 1, request(span(), span(bytes(15) + b"\1")), NOW_MS, TIMESTAMP_CREATE_TIME)
    made = messages([plain, middle, plain])
    with choosing(Backend.CYTHON):
        time = PartitionTime[Projected](
            out_of_order_ms=200, idle_lag_ms=100, max_clock_skew_ms=SKEW_MS, broker_skew_ms=SKEW_MS
        )
        source = SourcePartition.starting_at(
            TopicPartition(TOPICS[0], 0), StartPosition(offset=FIRST_OFFSET, epoch=1), "id", 2, time, now_ms=NOW_MS
        )
        read_batch = backend.batch_reader(rules().interest)
    assert read_batch is not None
    found = []

    for index in range(3):
        start = source.batch_context(local_ms=NOW_MS, has_logs=False)
        assert start is not None
        run = read_batch(made, index, start, source.builder.touches)
        found.append(run.record_count)
        if index != 1 and run.record_count == 1:
            source.add_batch(run, local_ms=NOW_MS)

    assert lengths == found
