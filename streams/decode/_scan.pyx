# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, embedsignature=True
"""OTLP in protobuf to traces of spans, in one walk over the bytes.

In: the bytes of a request, and the interest of the rules. Out: the same as without this module
(`streams.decode.decoder`), or None for requests that the Python path must decode: bytes that are not a request,
requests in which nothing distinguishes spans from log records, and those with anything that `streams/decode/_wire.pxd`
is unsure of. So a request is never refused here, and each reason is written in one place.

Invariant: a request that is read here is read alike there. A Python object is made only for a trace and for a span of
interest; in a batch of records (`streams.decode.batches`) only for the latter. Fields come in any order: the last of
repeated fields counts, and all fields of repeated messages count, as protobuf defines it.

    bytes  ─ streams/decode/_wire.pxd ─►  fields  ─ streams/decode/_otlp.pxd ─►  records
    records, by the names of interest (streams.decode._names)  ─ streams.decode._convert ─►  spans
    records and spans  ─ streams.decode._found ─►  traces, or a batch
"""

cimport cython
from libc.stdint cimport int32_t, uint32_t
from libc.string cimport memcmp, memset

cimport streams.decode._convert as convert
cimport streams.decode._otlp as otlp
from streams.decode._found cimport Found, Running
from streams.decode._names cimport Names
from streams.decode._slices cimport is_text, slice_of
from streams.decode._touches cimport Touches
from streams.decode._wire cimport END, FIELD, REFUSED, Field, Reader, Slice, next_field, reader_of

from streams.decode.batches import MOST_HITS
from streams.decode.records import Decoded
from topics.records import audit

cdef bytes AUDIT = audit.PREFIX.encode()

cdef Py_ssize_t MOST_RUN_HITS = MOST_HITS

cdef struct Origin:
    Slice sender
    Slice scope
    bint is_of_interest


@cython.final
cdef class Scanner:
    """Finds the spans and log records of interest in requests."""

    cdef Names names
    cdef bint every_span
    cdef Slice audit
    cdef bint has_audit
    cdef dict resource  # of the current sender, None until one of its records needs it

    def __init__(self, interest):
        self.names = Names(interest.names, interest.attributes)
        self.every_span = interest.every_span
        self.audit = slice_of(AUDIT)

    def scan(self, bytes value not None, bint logs_first):
        """Return the traces of a request, None if Python must decode it; `logs_first` as in `otlp.protobuf.read`."""
        cdef Found found = Found()
        cdef int logs = self.find(found, value, logs_first)
        if logs < 0:
            return None
        cdef Py_ssize_t spans_without_trace = 0 if logs else found.without_trace_count
        cdef Py_ssize_t logs_without_trace = found.without_trace_count - spans_without_trace
        cdef list services = sorted(found.services)
        return Decoded(found.traces, found.span_count, spans_without_trace, logs_without_trace, services)

    def read_batch(self, list messages not None, Py_ssize_t index, start, Touches touches not None):
        """Read the batch that begins at an index, as `streams.decode.batches.ReadBatch` does."""
        cdef Running running = Running(start)
        cdef Found found = Found()
        cdef Py_ssize_t first = index
        cdef int logs
        found.touches = touches
        while index < len(messages) and running.is_next(messages[index]):
            logs = self.find(found, running.value, running.has_logs)
            if logs < 0 or self.has_audit or (not logs and found.without_trace_count and not found.span_count):
                break
            running.add(found, logs)
            index += 1
            if running.hit_count >= MOST_RUN_HITS:
                break
        touches.discard()
        return running.run(index - first)

    cdef int find(self, Found found, bytes value, bint logs_first) except -2:
        """Read a request; return 1 if it has log records, 0 if spans, -1 if Python must decode it.

        Its touches are staged; the caller must not count them if `has_audit` is set.
        """
        cdef bint logs = logs_first
        cdef Slice request = slice_of(value)
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

    cdef int read_request(self, Found found, Slice request, bint logs) except -9:
        cdef Field field
        cdef Reader reader = reader_of(request)
        cdef int status
        while (status := next_field(&reader, &field)) == FIELD:
            if field.tag == otlp.SENDER and (status := self.read_sender(found, field.content, logs)) != END:
                return status
        return status

    cdef int read_sender(self, Found found, Slice sender, bint logs) except -9:
        cdef Origin origin
        cdef Field field
        cdef Reader reader = reader_of(sender)
        cdef int status
        origin.sender = sender
        origin.is_of_interest = self.every_span
        if (status := self.read_origin(sender, otlp.RESOURCE_ATTRIBUTE, &origin.is_of_interest)) != END:
            return status
        convert.add_services(found.services, sender)
        self.resource = None
        while (status := next_field(&reader, &field)) == FIELD:
            if field.tag == otlp.RECORDS_OF_SCOPE:
                origin.scope = field.content
                if (status := self.read_scope(found, origin, logs)) != END:
                    return status
        return status

    cdef int read_scope(self, Found found, Origin origin, bint logs) except -9:
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
                    if self.resource is None:
                        self.resource = convert.resource_of(self.names, origin.sender)
                    shared = convert.origin_of(self.names, self.resource, origin.scope)
                found.add(
                    convert.log(self.names, &record, shared) if logs else convert.span(self.names, &record, shared)
                )
        return status

    cdef int read_origin(self, Slice holder, uint32_t attribute_tag, bint* is_of_interest) except -9:
        """Walk the resource or the scope, which may follow the records that it is the origin of."""
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
            record.is_of_interest = self.names.is_name(record.name)
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
            is_of_interest[0] = self.names.is_name(name)
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
                if not record.has_event_name and is_text(key, b"event.name"):
                    record.event_name, record.has_event_name = value, True
                self.note_audit(key)
                if not record.is_of_interest:
                    record.is_of_interest = self.names.is_name(key)
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
            record.is_of_interest = self.names.is_name(record.name)
        return status

    cdef inline int read_attribute(self, Slice pair, bint* is_of_interest) except -9:
        cdef Slice key
        cdef Field value
        cdef int status = otlp.read_pair(pair, &key, &value)
        if status == END:
            self.note_audit(key)
            if not is_of_interest[0]:
                is_of_interest[0] = self.names.is_name(key)
        return status

    cdef inline void note_audit(self, Slice key) noexcept:
        """Note a key that may be one of the audit trail's; it need not be that of a record."""
        if key.size >= self.audit.size and key.at[0] == self.audit.at[0]:
            if memcmp(key.at, self.audit.at, self.audit.size) == 0:
                self.has_audit = True
