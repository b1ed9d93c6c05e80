# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Collects the contents of one request, and of the records of a batch together.

In: the records of a request one after the other, and the spans of those that are of interest; then whole requests. Out:
traces (`streams.decode.records`), or a batch (`streams.decode.batches`) whose touches are counted in
`streams.decode._touches`. Invariant: a request that is not read to its end leaves nothing behind.
"""

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

from streams.decode.batches import BatchResult, Hits
from streams.decode.records import TraceSpans
from topics.records.facts import TICK_MS

cdef int64_t TICK = TICK_MS


@cython.freelist(8)
cdef class Found:
    """The contents of a request so far. Records of one trace are mostly adjacent: a row of them is counted in one step.

    With `touches`, traces are staged there, and `hits` has their ids and the spans of interest.
    """

    cdef void begin(self) noexcept:
        """Start a request."""
        self.span_count = self.without_trace_count = self.row_count = self.hit_count = 0
        self.tells = self.row_has_root = False
        self.row_spans = None
        self.services = set()
        if self.touches is None:
            self.traces = {}
        else:
            self.touches.discard()
            self.hits = None

    cdef bint count(self, otlp.Record* record, bint is_root) except -1:
        """Count a record; return whether it has a trace."""
        if not otlp.is_trace_id(record.trace_id):
            self.without_trace_count += 1
            return False
        if not self.row_count or memcmp(self.row_id, record.trace_id.at, otlp.TRACE_ID_BYTES) != 0:
            self.end_row()
            memcpy(self.row_id, record.trace_id.at, otlp.TRACE_ID_BYTES)
        self.row_count += 1
        if is_root:
            self.row_has_root = True
        return True

    cdef int add(self, object span) except -1:
        """Add the span of the record that was counted last."""
        if self.row_spans is None:
            self.row_spans = []
        self.row_spans.append(span)
        self.hit_count += 1
        return 0

    cdef int end_row(self) except -1:
        """End a row: the next record is of another trace, or the request ends."""
        if not self.row_count:
            return 0
        if self.touches is None:
            self.add_row()
        else:
            self.touches.stage(self.row_id, <uint32_t>self.row_count, self.row_has_root)
            if self.row_spans is not None:
                self.hits = self.hits or []
                self.hits.append((self.trace_id(), self.row_spans))
        self.span_count += self.row_count
        self.row_count, self.row_has_root, self.row_spans = 0, False, None
        return 0

    cdef int add_row(self) except -1:
        cdef bytes trace_id = self.trace_id()
        cdef object trace = self.traces.get(trace_id)
        cdef list spans = self.row_spans
        if trace is None:
            self.traces[trace_id] = TraceSpans(self.row_count, self.row_has_root, [] if spans is None else spans)
        else:
            trace.span_count += self.row_count
            trace.root_seen = trace.root_seen or self.row_has_root
            if spans is not None:
                trace.spans += spans
        return 0

    cdef bytes trace_id(self):
        return PyBytes_FromStringAndSize(<char*>self.row_id, otlp.TRACE_ID_BYTES)


cdef class Running:
    """A batch of records so far: its position in the partition and in time, and the contents of its records."""

    def __cinit__(self, start):
        self.topic, self.partition, self.next_offset = start.topic, start.partition, start.next_offset
        self.has_logs = start.has_logs
        self.skew_ms, self.behind_ms = start.broker_skew_ms, start.out_of_order_ms
        self.least_ms, self.most_ms = start.bounds_ms
        self.follow = start.follow
        self.is_known = start.highest_ms is not None
        # As in `streams.ingest.watermark`: the first record of all is compared with the local clock.
        self.highest_ms = start.highest_ms if self.is_known else start.local_ms
        self.hits = []
        self.services = set()

    cdef bint is_next(self, message) except -1:
        """Return whether a message is the partition's next record, has a value, and its time is not in doubt."""
        if message.error() is not None or message.partition() != self.partition or message.topic() != self.topic:
            return False
        cdef object value = message.value()
        cdef tuple timed = message.timestamp()
        cdef int64_t record_ms = max(<int64_t>timed[1], 0)
        cdef int64_t offset = message.offset()
        if offset < self.next_offset or type(value) is not bytes:
            return False
        self.value, self.offset, self.record_ms = value, offset, record_ms
        self.is_broker_time = timed[0] == TIMESTAMP_LOG_APPEND_TIME
        return not self.is_in_doubt()

    cdef bint is_in_doubt(self) noexcept:
        """Return whether the next record's time is in doubt, or not set by the same side as that of the others."""
        if self.is_begun and self.is_broker_time != self.has_broker_time:
            return True
        if self.is_broker_time:
            return self.record_ms - self.highest_ms > self.skew_ms
        return not self.least_ms <= self.record_ms <= self.most_ms

    cdef int add(self, Found found, bint logs) except -1:
        """Add the contents of the next record."""
        self.note_time()
        cdef int64_t tick = self.record_ms // TICK
        found.touches.commit(<uint64_t>tick)
        if found.hits is not None:
            self.hits += [Hits(self.offset, tick, trace_id, spans) for trace_id, spans in found.hits]
            self.hit_count += found.hit_count
        self.services |= found.services
        self.span_count += found.span_count
        if logs:
            self.logs_without_trace += found.without_trace_count
        else:
            self.spans_without_trace += found.without_trace_count
        self.value_bytes += PyBytes_GET_SIZE(self.value)
        self.next_offset = self.offset + 1
        return 0

    cdef int note_time(self) except -1:
        if not self.is_begun:
            self.first_ms, self.is_begun, self.has_broker_time = self.record_ms, True, self.is_broker_time
        if not self.is_broker_time:
            self.least_ms = self.follow(self.record_ms)
        elif not self.is_known or self.record_ms >= self.highest_ms:
            self.highest_ms, self.is_known, self.is_advanced = self.record_ms, True, True
        elif self.record_ms < self.highest_ms - self.behind_ms:
            self.behind_count += 1
        return 0

    cdef object run(self, Py_ssize_t record_count):
        return BatchResult(
            record_count=record_count,
            value_bytes=self.value_bytes,
            to_offset=self.next_offset,
            first_ms=self.first_ms,
            highest_ms=self.highest_ms,
            is_advanced=self.is_advanced,
            behind_count=self.behind_count,
            has_broker_time=self.has_broker_time,
            span_count=self.span_count,
            spans_without_trace=self.spans_without_trace,
            logs_without_trace=self.logs_without_trace,
            hits=self.hits,
            services=self.services,
        )
