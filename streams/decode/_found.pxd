# cython: language_level=3
"""Declares what the scanner uses of `streams.decode._found`."""

cimport cython
from libc.stdint cimport int64_t, uint8_t

cimport streams.decode._otlp as otlp
from streams.decode._touches cimport Touches

@cython.final
cdef class Found:
    cdef dict traces
    cdef Touches touches
    cdef list hits
    cdef set services
    cdef Py_ssize_t hit_count
    cdef Py_ssize_t span_count
    cdef Py_ssize_t without_trace_count
    cdef bint tells
    cdef uint8_t[otlp.TRACE_ID_BYTES] row_id
    cdef Py_ssize_t row_count
    cdef bint row_has_root
    cdef list row_spans
    cdef void begin(self) noexcept
    cdef bint count(self, otlp.Record* record, bint is_root) except -1
    cdef int add(self, object span) except -1
    cdef int end_row(self) except -1
    cdef int add_row(self) except -1
    cdef bytes trace_id(self)

@cython.final
cdef class Running:
    cdef str topic
    cdef int64_t partition, next_offset
    cdef bint has_logs
    cdef int64_t skew_ms, behind_ms, highest_ms, first_ms
    cdef int64_t least_ms, most_ms
    cdef bint is_known, is_advanced, is_begun, has_broker_time
    cdef object follow
    cdef Py_ssize_t value_bytes, behind_count, span_count, spans_without_trace, logs_without_trace
    cdef list hits
    cdef set services
    cdef Py_ssize_t hit_count
    # The next record:
    cdef bytes value
    cdef int64_t offset, record_ms
    cdef bint is_broker_time
    cdef bint is_next(self, message) except -1
    cdef int add(self, Found found, bint logs) except -1
    cdef int note_time(self) except -1
    cdef bint is_in_doubt(self) noexcept
    cdef object run(self, Py_ssize_t record_count)
