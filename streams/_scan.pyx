# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, embedsignature=True
"""OTLP in protobuf to traces of spans, in one walk over the bytes.

In: the bytes of a request, and what rules look at. Out: the same as by the path without this module
(`streams.decode`), or None for what that path must look at: bytes that are no request, that hold nothing to tell spans
from log records by, or that hold something `streams/_wire.pxd` is unsure of. So a request is never refused here, and
no reason is written twice.

What must hold: a request that is read here is read alike there. A Python object is made only for a trace and for a
span that some rule may look at; in a run of records (`streams.runs`) only for the latter. Fields come in any order: of
a field that comes twice the last one counts, of a message that comes twice all its fields count, as protobuf has it.
"""

import math

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset

cimport streams._otlp as otlp
from streams._touches cimport Touches
from streams._wire cimport END, FIELD, REFUSED, Field, Reader, Slice, little_endian, next_field, reader_of

from dsl import Event, Span
from streams.convert import KINDS, STATUSES, log_identity, severity_name
from streams.runs import Hits, Run
from streams.traces import Decoded, TraceSpans
from topics import audit
from topics.facts import TICK_MS
from topics.otlp import MENDED
from topics.otlp_protobuf import array_value, key_values_value

cdef enum:
    SKETCHES = 1 << 12

cdef bytes AUDIT = audit.PREFIX.encode()
cdef int64_t TICK = TICK_MS

cdef struct Origin:
    Slice sender
    Slice scope
    bint is_of_interest

@cython.final
cdef class _Names:
    """The names that rules look at, found by their UTF-8; `is_name` tells span names and the like from attributes."""

    cdef uint64_t* slots  # the upper half of a name's hash, and 1 + its index
    cdef uint64_t mask
    cdef uint8_t[SKETCHES] sketches  # most texts are told from all names by their sketch
    cdef list texts
    cdef list encoded
    cdef list is_name
    cdef list is_attribute

    def __cinit__(self, frozenset names, frozenset attributes):
        cdef uint64_t slot, hashed
        self.texts, self.encoded, self.is_name, self.is_attribute = [], [], [], []
        self.mask = 63
        while self.mask < 4 * <uint64_t>(len(names) + len(attributes)):
            self.mask = 2 * self.mask + 1
        self.slots = <uint64_t*>calloc(self.mask + 1, sizeof(uint64_t))
        if self.slots == NULL:
            raise MemoryError
        for text in names | attributes:
            try:
                encoded = text.encode()
            except UnicodeEncodeError:  # a lone surrogate, which no request holds
                continue
            self.texts.append(text)
            self.encoded.append(encoded)
            self.is_name.append(text in names)
            self.is_attribute.append(text in attributes)
            self.sketches[_sketch(_slice(encoded))] = True
            hashed = _hash(_slice(encoded))
            slot = hashed & self.mask
            while self.slots[slot]:
                slot = (slot + 1) & self.mask
            self.slots[slot] = hashed >> 32 << 32 | <uint64_t>len(self.texts)

    def __dealloc__(self):
        free(self.slots)

    cdef inline Py_ssize_t find(self, Slice text) noexcept:
        """The index of a name with these bytes, -1 without one."""
        cdef uint64_t hashed, slot
        cdef Py_ssize_t index
        if not self.sketches[_sketch(text)]:
            return -1
        hashed = _hash(text)
        slot = hashed & self.mask
        while self.slots[slot]:
            if self.slots[slot] >> 32 == hashed >> 32:
                index = <Py_ssize_t>(self.slots[slot] & 0xFFFFFFFF) - 1
                if _is(text, <bytes>self.encoded[index]):
                    return index
            slot = (slot + 1) & self.mask
        return -1


@cython.final
@cython.freelist(8)
cdef class _Found:
    """What was found in a request so far. Records of one trace mostly follow each other: a row of them is one step.

    With `touches` traces are staged there, and `hits` are their ids and spans that are of interest.
    """

    cdef dict traces
    cdef Touches touches
    cdef list hits
    cdef Py_ssize_t span_count
    cdef Py_ssize_t without_trace_count
    cdef bint tells
    cdef uint8_t[otlp.TRACE_ID_BYTES] row_id
    cdef Py_ssize_t row_count
    cdef bint row_has_root
    cdef list row_spans

    cdef void begin(self) noexcept:
        """Nothing is found yet."""
        self.span_count = self.without_trace_count = self.row_count = 0
        self.tells = self.row_has_root = False
        self.row_spans = None
        if self.touches is None:
            self.traces = {}
        else:
            self.touches.discard()
            self.hits = None

    cdef bint count(self, otlp.Record* record, bint is_root) except -1:
        """Counts a record; whether it has a trace."""
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

    cdef int end_row(self) except -1:
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


@cython.final
cdef class Scanner:
    """Finds, in requests, the spans and log records that `interest` is about."""

    cdef _Names names
    cdef frozenset wanted_names
    cdef frozenset wanted_attributes
    cdef bint every_span
    cdef bint has_mended
    cdef Slice audit
    cdef bint has_audit

    def __init__(self, interest):
        self.wanted_names = interest.names
        self.wanted_attributes = interest.attributes
        self.names = _Names(interest.names, interest.attributes)
        self.every_span = interest.every_span
        self.audit = _slice(AUDIT)
        # Damaged text has another encoding than the name it is mended to.
        self.has_mended = any([MENDED in name for name in interest.names | interest.attributes])

    def scan(self, bytes value not None, bint logs_first):
        """The traces in a request, None when it takes a closer look; `logs_first` as `topics.otlp_protobuf.read`."""
        cdef _Found found = _Found()
        cdef int logs = self.find(found, value, logs_first)
        if logs < 0:
            return None
        cdef Py_ssize_t spans_without_trace = 0 if logs else found.without_trace_count
        cdef Py_ssize_t logs_without_trace = found.without_trace_count - spans_without_trace
        return Decoded(found.traces, found.span_count, spans_without_trace, logs_without_trace)

    def read_run(self, list messages not None, Py_ssize_t index, start, Touches touches not None):
        """The run that begins at an index, as `streams.runs.ReadRun`."""
        cdef str topic = start.topic
        cdef int64_t partition = start.partition, next_offset = start.next_offset
        cdef bint logs_first = start.has_logs, is_advanced = False
        cdef int64_t local_ms = start.local_ms, skew_ms = start.max_clock_skew_ms, behind_ms = start.out_of_order_ms
        cdef bint is_known = start.highest_ms is not None
        cdef int64_t highest_ms = start.highest_ms if is_known else local_ms
        cdef int64_t record_ms, offset, first_ms = 0
        cdef Py_ssize_t first_index = index, value_bytes = 0, span_count = 0, behind_count = 0
        cdef Py_ssize_t spans_without_trace = 0, logs_without_trace = 0
        cdef int logs
        cdef list hits = []
        cdef object stamp = None
        cdef _Found found = _Found()
        found.touches = touches
        while index < len(messages):
            message = messages[index]
            if message.error() is not None or message.partition() != partition or message.topic() != topic:
                break
            value, offset, timed = message.value(), message.offset(), message.timestamp()
            record_ms = max(<int64_t>timed[1], 0)
            if offset < next_offset or type(value) is not bytes or record_ms - highest_ms > skew_ms:
                break
            logs = self.find(found, value, logs_first)
            if logs < 0 or self.has_audit or (not logs and found.without_trace_count and not found.span_count):
                break
            if not is_known or record_ms >= highest_ms:
                highest_ms, is_known, is_advanced = record_ms, True, True
            elif record_ms < highest_ms - behind_ms:
                behind_count += 1
            if index == first_index:
                first_ms = record_ms
            touches.commit(<uint64_t>(record_ms // TICK))
            if found.hits is not None:
                hits += [Hits(offset, record_ms // TICK, trace_id, spans) for trace_id, spans in found.hits]
            span_count += found.span_count
            if logs:
                logs_without_trace += found.without_trace_count
            else:
                spans_without_trace += found.without_trace_count
            value_bytes += PyBytes_GET_SIZE(value)
            stamp, next_offset = timed[0], offset + 1
            index += 1
        touches.discard()
        return Run(
            index - first_index,
            value_bytes,
            next_offset,
            first_ms,
            highest_ms,
            is_advanced,
            behind_count,
            stamp == TIMESTAMP_LOG_APPEND_TIME,
            span_count,
            spans_without_trace,
            logs_without_trace,
            hits,
        )

    cdef int find(self, _Found found, bytes value, bint logs_first) except -2:
        """Reads a request: 1 when it is of log records, 0 when of spans, -1 when it takes a closer look."""
        cdef bint logs = logs_first
        cdef Slice request = _slice(value)
        self.has_audit = False
        if not request.size or request.at[0] != otlp.SENDER:
            return -1
        found.begin()
        cdef int status = self.read_request(found, request, logs)
        if status == REFUSED or (status == END and not found.tells):
            logs = not logs
            found.begin()
            status = self.read_request(found, request, logs)
        if status != END or not found.tells:
            return -1
        found.end_row()
        return logs

    cdef int read_request(self, _Found found, Slice request, bint logs) except -9:
        cdef Field field
        cdef Reader reader = reader_of(request)
        cdef int status
        while (status := next_field(&reader, &field)) == FIELD:
            if field.tag == otlp.SENDER and (status := self.read_sender(found, field.content, logs)) != END:
                return status
        return status

    cdef int read_sender(self, _Found found, Slice sender, bint logs) except -9:
        cdef Origin origin
        cdef Field field
        cdef Reader reader = reader_of(sender)
        cdef int status
        origin.sender = sender
        origin.is_of_interest = self.every_span
        if (status := self.read_origin(sender, otlp.RESOURCE_ATTRIBUTE, &origin.is_of_interest)) != END:
            return status
        while (status := next_field(&reader, &field)) == FIELD:
            if field.tag == otlp.RECORDS_OF_SCOPE:
                origin.scope = field.content
                if (status := self.read_scope(found, origin, logs)) != END:
                    return status
        return status

    cdef int read_scope(self, _Found found, Origin origin, bint logs) except -9:
        cdef otlp.Record record
        cdef Field field
        cdef Reader reader = reader_of(origin.scope)
        cdef int status
        cdef tuple shared = None
        if (status := self.read_origin(origin.scope, otlp.SCOPE_ATTRIBUTE, &origin.is_of_interest)) != END:
            return status
        while (status := next_field(&reader, &field)) == FIELD:
            if field.tag != otlp.RECORD:
                continue
            memset(&record, 0, sizeof(otlp.Record))
            record.content = field.content
            record.is_of_interest = origin.is_of_interest
            status = self.read_log(&record) if logs else self.read_span(&record)
            if status != END:
                return status
            if not found.tells:
                found.tells = otlp.tells_log(&record) if logs else otlp.tells_span(&record)
            if found.count(&record, not logs and otlp.is_no_parent(record.parent_id)) and record.is_of_interest:
                if shared is None:
                    shared = self.shared(origin)
                if found.row_spans is None:
                    found.row_spans = []
                found.row_spans.append(self.log(&record, shared) if logs else self.span(&record, shared))
        return status

    cdef int read_origin(self, Slice holder, uint32_t attribute_tag, bint* is_of_interest) except -9:
        """Walks the resource or the scope, which may stand behind what it is the origin of."""
        cdef Field field, attribute
        cdef Reader reader = reader_of(holder), inner
        cdef int status
        while (status := next_field(&reader, &field)) == FIELD:
            if field.tag != otlp.ORIGIN:
                continue
            inner = reader_of(field.content)
            while (status := next_field(&inner, &attribute)) == FIELD:
                if attribute.tag == attribute_tag:
                    if (status := self.read_attribute(attribute.content, is_of_interest)) != END:
                        return status
            if status != END:
                return status
        return status

    cdef int read_span(self, otlp.Record* record) except -9:
        cdef Field field
        cdef Reader reader = reader_of(record.content)
        cdef int status
        while (status := next_field(&reader, &field)) == FIELD:
            if field.tag == otlp.SPAN_ATTRIBUTE:
                if (status := self.read_attribute(field.content, &record.is_of_interest)) != END:
                    return status
            elif field.tag == otlp.SPAN_EVENT:
                if (status := self.read_event(field.content, &record.is_of_interest)) != END:
                    return status
            elif field.tag == otlp.SPAN_STATUS:
                if (status := otlp.read_status(field.content, record)) != END:
                    return status
            elif field.tag == otlp.SPAN_TRACE_ID:
                record.trace_id = field.content
            elif field.tag == otlp.SPAN_ID:
                record.span_id = field.content
            elif field.tag == otlp.SPAN_PARENT_ID:
                record.parent_id = field.content
            elif field.tag == otlp.SPAN_NAME:
                record.name = field.content
            elif field.tag == otlp.SPAN_KIND:
                record.kind = <int32_t>field.number
            elif field.tag == otlp.SPAN_START:
                record.start_ns = field.number
            elif field.tag == otlp.SPAN_END:
                record.other_ns = field.number
        if not record.is_of_interest:
            record.is_of_interest = self.is_name(record.name)
        return status

    cdef int read_event(self, Slice event, bint* is_of_interest) except -9:
        cdef Slice name
        cdef Field field
        cdef Reader reader = reader_of(event)
        cdef bint is_ignored = True
        cdef int status
        name.size = 0
        while (status := next_field(&reader, &field)) == FIELD:
            if field.tag == otlp.EVENT_NAME:
                name = field.content
            elif field.tag == otlp.EVENT_ATTRIBUTE:
                if (status := self.read_attribute(field.content, &is_ignored)) != END:
                    return status
        if not is_of_interest[0]:
            is_of_interest[0] = self.is_name(name)
        return status

    cdef int read_log(self, otlp.Record* record) except -9:
        cdef Slice key
        cdef Field field, value
        cdef Reader reader = reader_of(record.content)
        cdef int status
        while (status := next_field(&reader, &field)) == FIELD:
            if field.tag == otlp.LOG_ATTRIBUTE:
                if (status := otlp.read_pair(field.content, &key, &value)) != END:
                    return status
                if not record.has_event_name and _is(key, b"event.name"):
                    record.event_name, record.has_event_name = value, True
                self.note_audit(key)
                if not record.is_of_interest:
                    record.is_of_interest = self.is_name(key)
            elif field.tag == otlp.LOG_BODY:
                if (status := otlp.read_value(field.content, &record.value)) != END:
                    return status
            elif field.tag == otlp.LOG_TRACE_ID:
                record.trace_id = field.content
            elif field.tag == otlp.LOG_SPAN_ID:
                record.span_id = field.content
            elif field.tag == otlp.LOG_EVENT_NAME:
                record.name = field.content
            elif field.tag == otlp.LOG_TIME:
                record.start_ns = field.number
            elif field.tag == otlp.LOG_OBSERVED:
                record.other_ns = field.number
            elif field.tag == otlp.LOG_SEVERITY:
                record.kind = <int32_t>field.number
            elif field.tag == otlp.LOG_SEVERITY_TEXT:
                record.message = field.content
        if not record.name.size and record.event_name.tag == otlp.STRING:
            record.name = record.event_name.content
        if not record.is_of_interest:
            record.is_of_interest = self.is_name(record.name)
        return status

    cdef inline int read_attribute(self, Slice pair, bint* is_of_interest) except -9:
        cdef Slice key
        cdef Field value
        cdef int status = otlp.read_pair(pair, &key, &value)
        if status == END:
            self.note_audit(key)
            if not is_of_interest[0]:
                is_of_interest[0] = self.is_name(key)
        return status

    cdef inline void note_audit(self, Slice key) noexcept:
        """The key may be one of the audit trail's; it is of other things than of a record, too."""
        if key.size >= self.audit.size and key.at[0] == self.audit.at[0]:
            if memcmp(key.at, self.audit.at, self.audit.size) == 0:
                self.has_audit = True

    cdef inline bint is_name(self, Slice text) except -1:
        if self.has_mended:
            return _text(text) in self.wanted_names
        cdef Py_ssize_t index = self.names.find(text)
        return index >= 0 and self.names.is_name[index]

    # To Python

    cdef object span(self, otlp.Record* record, tuple shared):
        resource, scope, scope_name = shared
        return Span(
            self.known_text(record.name),
            _bytes(record.span_id),
            b"" if otlp.is_no_parent(record.parent_id) else _bytes(record.parent_id),
            record.start_ns or None,
            record.other_ns or None,
            self.attributes(record.content, otlp.SPAN_ATTRIBUTE),
            self.events(record.content),
            resource,
            scope,
            scope_name,
            KINDS.get(record.kind),
            STATUSES.get(record.status, "unset"),
            status_message=_text(record.message),
            identity=_bytes(record.span_id),
        )

    cdef object log(self, otlp.Record* record, tuple shared):
        resource, scope, scope_name = shared
        cdef dict attributes = self.attributes(record.content, otlp.LOG_ATTRIBUTE, True)
        span = Span(
            self.known_text(record.name),
            _bytes(record.span_id),
            start_ns=record.start_ns or record.other_ns or None,
            attributes={key: value for key, value in attributes.items() if key in self.wanted_attributes},
            resource=resource,
            scope=scope,
            scope_name=scope_name,
            is_log=True,
            log_body=_value(&record.value),
            log_severity=_text(record.message) or severity_name(record.kind),
        )
        span.identity = log_identity(span, attributes)
        return span

    cdef tuple shared(self, Origin origin):
        """What all records of a scope have of their origin: resource, scope, the scope's name."""
        cdef dict resource = {}, scope = {}
        cdef Slice name
        cdef Field field, inner_field
        cdef Reader reader = reader_of(origin.sender), inner
        name.size = 0
        while next_field(&reader, &field) == FIELD:
            if field.tag == otlp.ORIGIN:
                self.add_attributes(resource, field.content, otlp.RESOURCE_ATTRIBUTE, False)
        reader = reader_of(origin.scope)
        while next_field(&reader, &field) == FIELD:
            if field.tag == otlp.ORIGIN:
                self.add_attributes(scope, field.content, otlp.SCOPE_ATTRIBUTE, False)
                inner = reader_of(field.content)
                while next_field(&inner, &inner_field) == FIELD:
                    if inner_field.tag == otlp.SCOPE_NAME:
                        name = inner_field.content
        return resource, scope, _text(name) or None

    cdef tuple events(self, Slice span):
        cdef list events = []
        cdef Slice name
        cdef Field field, inner_field
        cdef Reader reader = reader_of(span), inner
        while next_field(&reader, &field) == FIELD:
            if field.tag == otlp.SPAN_EVENT:
                name.size = 0
                inner = reader_of(field.content)
                while next_field(&inner, &inner_field) == FIELD:
                    if inner_field.tag == otlp.EVENT_NAME:
                        name = inner_field.content
                events.append(Event(self.known_text(name), self.attributes(field.content, otlp.EVENT_ATTRIBUTE)))
        return tuple(events)

    cdef dict attributes(self, Slice holder, uint32_t tag, bint every=False):
        cdef dict found = {}
        self.add_attributes(found, holder, tag, every)
        return found

    cdef int add_attributes(self, dict found, Slice holder, uint32_t tag, bint every) except -1:
        """Adds those that rules look up, or all; the first of a key counts."""
        cdef Slice key
        cdef Field field, value
        cdef Reader reader = reader_of(holder)
        cdef Py_ssize_t index
        while next_field(&reader, &field) == FIELD:
            if field.tag != tag:
                continue
            otlp.read_pair(field.content, &key, &value)
            if every or self.has_mended:
                name = _text(key)
                if not every and name not in self.wanted_attributes:
                    continue
            else:
                index = self.names.find(key)
                if index < 0 or not self.names.is_attribute[index]:
                    continue
                name = self.names.texts[index]
            if name not in found:
                found[name] = _value(&value)
        return 0

    cdef str known_text(self, Slice text):
        cdef Py_ssize_t index = self.names.find(text)
        return _text(text) if index < 0 else self.names.texts[index]


cdef object _value(Field* value):
    cdef double real
    if value.tag == otlp.STRING:
        return _text(value.content)
    if value.tag == otlp.BOOL:
        return value.number != 0
    if value.tag == otlp.INT:
        return <int64_t>value.number
    if value.tag == otlp.DOUBLE:
        memcpy(&real, &value.number, sizeof(double))
        return math.nan if real != real else real
    if value.tag == otlp.BYTES:
        return _bytes(value.content)
    # Nested values are rare, and only upb knows which are damaged.
    if value.tag == otlp.ARRAY:
        return array_value(_bytes(value.content))
    return key_values_value(_bytes(value.content)) if value.tag == otlp.KEY_VALUES else None


cdef inline Slice _slice(bytes text) noexcept:
    cdef Slice slice
    slice.at = <const uint8_t*>PyBytes_AS_STRING(text)
    slice.size = PyBytes_GET_SIZE(text)
    return slice


cdef inline bint _is(Slice text, bytes other) noexcept:
    if text.size != PyBytes_GET_SIZE(other):
        return False
    # A text that is absent is empty and has no address, which memcmp must not be given.
    return not text.size or memcmp(text.at, PyBytes_AS_STRING(other), text.size) == 0


cdef inline bytes _bytes(Slice text):
    return PyBytes_FromStringAndSize(<const char*>text.at, text.size)


cdef inline str _text(Slice text):
    return PyUnicode_DecodeUTF8(<const char*>text.at, text.size, "replace")


cdef inline uint32_t _sketch(Slice text) noexcept nogil:
    """Twelve bits of a text: of its length, its first and its last byte."""
    if not text.size:
        return 0
    return (<uint32_t>text.size ^ <uint32_t>text.at[0] << 5 ^ 37 * <uint32_t>text.at[text.size - 1]) & (SKETCHES - 1)


cdef inline uint64_t _hash(Slice text) noexcept nogil:
    """A hash of a text that a rule's author chose: who sends spans chooses no slot of the table."""
    cdef const uint8_t* at = text.at
    cdef Py_ssize_t size = text.size
    cdef uint64_t hashed = <uint64_t>size * <uint64_t>0x9E3779B97F4A7C15
    while size >= 8:
        hashed = (hashed ^ little_endian(at, 8)) * <uint64_t>0x9E3779B97F4A7C15
        hashed ^= hashed >> 32
        at += 8
        size -= 8
    if size:
        hashed = (hashed ^ little_endian(at, <int>size)) * <uint64_t>0x9E3779B97F4A7C15
        hashed ^= hashed >> 32
    return hashed
