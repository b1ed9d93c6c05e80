# cython: language_level=3
"""The messages of OTLP by their field numbers, as far as reading them needs no Python.

In: the bytes of a message. Out: its fields. Invariants: those of `streams/decode/_wire.pxd`; the last of repeated
fields counts, and all fields of repeated messages count.
"""

from libc.stdint cimport int32_t, uint64_t

from streams.decode._wire cimport END, FIELD, Field, Reader, Slice, next_field, reader_of

cdef enum:
    TRACE_ID_BYTES = 16
    SPAN_ID_BYTES = 8

# A field's number times eight, and its wire type: 0 varint, 1 eight bytes, 2 with a length.
cdef enum RequestField:
    SENDER = 1 << 3 | 2
    RECORDS_OF_SCOPE = 2 << 3 | 2
    RECORD = 2 << 3 | 2
    ORIGIN = 1 << 3 | 2  # the resource of a sender, the scope of its records

cdef enum OriginField:
    RESOURCE_ATTRIBUTE = 1 << 3 | 2
    SCOPE_NAME = 1 << 3 | 2
    SCOPE_ATTRIBUTE = 3 << 3 | 2

cdef enum SpanField:
    SPAN_TRACE_ID = 1 << 3 | 2
    SPAN_ID = 2 << 3 | 2
    SPAN_PARENT_ID = 4 << 3 | 2
    SPAN_NAME = 5 << 3 | 2
    SPAN_KIND = 6 << 3
    SPAN_START = 7 << 3 | 1
    SPAN_END = 8 << 3 | 1
    SPAN_ATTRIBUTE = 9 << 3 | 2
    SPAN_EVENT = 11 << 3 | 2
    SPAN_STATUS = 15 << 3 | 2
    EVENT_TIME = 1 << 3 | 1
    EVENT_NAME = 2 << 3 | 2
    EVENT_ATTRIBUTE = 3 << 3 | 2
    STATUS_MESSAGE = 2 << 3 | 2
    STATUS_CODE = 3 << 3

cdef enum LogField:
    LOG_TIME = 1 << 3 | 1
    LOG_SEVERITY = 2 << 3
    LOG_SEVERITY_TEXT = 3 << 3 | 2
    LOG_BODY = 5 << 3 | 2
    LOG_ATTRIBUTE = 6 << 3 | 2
    LOG_TRACE_ID = 9 << 3 | 2
    LOG_SPAN_ID = 10 << 3 | 2
    LOG_OBSERVED = 11 << 3 | 1
    LOG_EVENT_NAME = 12 << 3 | 2

cdef enum ValueField:
    KEY = 1 << 3 | 2
    VALUE = 2 << 3 | 2
    STRING = 1 << 3 | 2
    BOOL = 2 << 3
    INT = 3 << 3
    DOUBLE = 4 << 3 | 1
    ARRAY = 5 << 3 | 2
    KEY_VALUES = 6 << 3 | 2
    BYTES = 7 << 3 | 2
    STRING_INDEX = 8 << 3

cdef struct Record:
    # The fields of one span or log record, without attributes and events, which are walked again for the conversion.
    Slice content
    Slice trace_id
    Slice span_id
    Slice parent_id
    Slice name
    Slice message  # the status's message, or the severity's text
    uint64_t start_ns
    uint64_t other_ns  # the end, or the time of observation
    int32_t kind  # of a log record: its severity
    int32_t status
    Field value  # of a log record: its body
    Field event_name  # of a log record: the value of its attribute `event.name`
    bint has_event_name
    bint is_of_interest


cdef inline int read_pair(Slice pair, Slice* key, Field* value) noexcept nogil:
    cdef Field field
    cdef Reader reader = reader_of(pair)
    cdef int status
    key.size = 0
    value.tag = 0
    while (status := next_field(&reader, &field)) == FIELD:
        if field.tag == KEY:
            key[0] = field.content
        elif field.tag == VALUE:
            if (status := read_value(field.content, value)) != END:
                return status
    return status


cdef inline int read_value(Slice any_value, Field* value) noexcept nogil:
    cdef Field field
    cdef Reader reader = reader_of(any_value)
    cdef int status
    while (status := next_field(&reader, &field)) == FIELD:
        if field.tag in (STRING, BOOL, INT, DOUBLE, ARRAY, KEY_VALUES, BYTES, STRING_INDEX):
            value[0] = field
    return status


cdef inline int read_status(Slice status_message, Record* record) noexcept nogil:
    cdef Field field
    cdef Reader reader = reader_of(status_message)
    cdef int status
    while (status := next_field(&reader, &field)) == FIELD:
        if field.tag == STATUS_MESSAGE:
            record.message = field.content
        elif field.tag == STATUS_CODE:
            record.status = <int32_t>field.number
    return status


cdef inline bint tells_span(Record* record) noexcept nogil:
    return record.trace_id.size or record.span_id.size or record.start_ns or record.other_ns


cdef inline bint tells_log(Record* record) noexcept nogil:
    return record.start_ns or record.other_ns or record.kind or record.span_id.size


cdef inline bint is_zero(Slice text) noexcept nogil:
    cdef Py_ssize_t index
    for index in range(text.size):
        if text.at[index]:
            return False
    return True


cdef inline bint is_trace_id(Slice trace_id) noexcept nogil:
    return trace_id.size == TRACE_ID_BYTES and not is_zero(trace_id)


cdef inline bint is_no_parent(Slice parent_id) noexcept nogil:
    return not parent_id.size or (parent_id.size == SPAN_ID_BYTES and is_zero(parent_id))
