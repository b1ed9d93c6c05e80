# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Converts one span or log record of interest to a `dsl.Span`: `streams.decode.convert`, compiled.

In: a record whose fields were read, and the names that rules look at. Out: the span as rules read it. Invariant: the
result equals that of `streams.decode.convert`. The whole message was walked before, so a walk here ends only at the
message's end.
"""

import math

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy

from streams.decode._slices cimport bytes_of, is_text, text_of
from streams.decode._wire cimport FIELD, Field, Reader, next_field, reader_of

from dsl import Event, Span
from streams.decode.convert import (
    KINDS,
    SERVICE,
    STATUSES,
    add_value,
    log_identity,
    severity_name,
    span_identity,
)
from streams.decode.convert import span_id as valid_id
from topics.otlp.protobuf import array_value, key_values_value

cdef bytes SERVICE_NAME = SERVICE.encode()


cdef object span(Names names, otlp.Record* record, tuple origin):
    """Convert a span; one without an id is identified by all its attributes."""
    resource, scope, scope_name = origin
    cdef bytes span_id = _id(record.span_id)
    cdef dict attributes
    cdef object made = Span(
        names.text(record.name),
        span_id,
        b"" if otlp.is_no_parent(record.parent_id) else _id(record.parent_id),
        record.start_ns or None,
        record.other_ns or None,
        _attributes(names, record.content, otlp.SPAN_ATTRIBUTE),
        _events(names, record.content),
        resource,
        scope,
        scope_name,
        KINDS.get(record.kind),
        STATUSES.get(record.status, "unset"),
        status_message=text_of(record.message),
        identity=span_id,
    )
    if not span_id:
        attributes = {}
        _add_attributes(attributes, None, record.content, otlp.SPAN_ATTRIBUTE)
        made.identity = span_identity(made, attributes)
    return made


cdef object log(Names names, otlp.Record* record, tuple origin):
    """Convert a log record; its identity covers all its attributes."""
    resource, scope, scope_name = origin
    cdef dict attributes = {}
    _add_attributes(attributes, None, record.content, otlp.LOG_ATTRIBUTE)
    cdef object made = Span(
        names.text(record.name),
        _id(record.span_id),
        start_ns=record.start_ns or record.other_ns or None,
        attributes={key: value for key, value in attributes.items() if key in names.attributes},
        resource=resource,
        scope=scope,
        scope_name=scope_name,
        is_log=True,
        log_body=_value(&record.value),
        log_severity=text_of(record.message) or severity_name(record.kind),
    )
    made.identity = log_identity(made, attributes)
    return made


cdef inline bytes _id(Slice sent):
    """Return the span id of a record, as `streams.decode.convert.span_id` does."""
    return bytes_of(sent) if sent.size == otlp.SPAN_ID_BYTES else valid_id(bytes_of(sent))


cdef dict resource_of(Names names, Slice sender):
    """Convert the resource that all records of a sender share."""
    cdef dict resource = {}
    cdef Field field
    cdef Reader reader = reader_of(sender)
    while next_field(&reader, &field) == FIELD:
        if field.tag == otlp.ORIGIN:
            _add_attributes(resource, names, field.content, otlp.RESOURCE_ATTRIBUTE)
    return resource


cdef int add_services(set services, Slice sender) except -1:
    """Add the texts of the resource's `service.name`."""
    cdef Slice key
    cdef Field field, attribute, value
    cdef Reader reader = reader_of(sender), inner
    while next_field(&reader, &field) == FIELD:
        if field.tag != otlp.ORIGIN:
            continue
        inner = reader_of(field.content)
        while next_field(&inner, &attribute) == FIELD:
            if attribute.tag == otlp.RESOURCE_ATTRIBUTE:
                otlp.read_pair(attribute.content, &key, &value)
                if is_text(key, SERVICE_NAME) and value.tag == otlp.STRING and value.content.size:
                    services.add(text_of(value.content))
    return 0


cdef tuple origin_of(Names names, dict resource, Slice records_of_scope):
    """Convert the origin that all records of a scope share: resource, scope, the scope's name."""
    cdef dict scope = {}
    cdef Slice name
    cdef Field field, inner_field
    cdef Reader reader = reader_of(records_of_scope), inner
    name.size = 0
    while next_field(&reader, &field) == FIELD:
        if field.tag == otlp.ORIGIN:
            _add_attributes(scope, names, field.content, otlp.SCOPE_ATTRIBUTE)
            inner = reader_of(field.content)
            while next_field(&inner, &inner_field) == FIELD:
                if inner_field.tag == otlp.SCOPE_NAME:
                    name = inner_field.content
    return resource, scope, text_of(name) or None


cdef tuple _events(Names names, Slice holder):
    cdef list events = []
    cdef Slice name
    cdef uint64_t time_ns
    cdef Field field, inner_field
    cdef Reader reader = reader_of(holder), inner
    while next_field(&reader, &field) == FIELD:
        if field.tag == otlp.SPAN_EVENT:
            name.size = 0
            time_ns = 0
            inner = reader_of(field.content)
            while next_field(&inner, &inner_field) == FIELD:
                if inner_field.tag == otlp.EVENT_NAME:
                    name = inner_field.content
                elif inner_field.tag == otlp.EVENT_TIME:
                    time_ns = inner_field.number
            attributes = _attributes(names, field.content, otlp.EVENT_ATTRIBUTE)
            events.append(Event(names.text(name), attributes, time_ns or None))
    return tuple(events)


cdef dict _attributes(Names names, Slice holder, uint32_t tag):
    cdef dict found = {}
    _add_attributes(found, names, holder, tag)
    return found


cdef int _add_attributes(dict found, Names names, Slice holder, uint32_t tag) except -1:
    """Add the attributes that rules look up, or all without `names`; repeated keys give an array of their values."""
    cdef Slice key
    cdef Field field, value
    cdef Reader reader = reader_of(holder)
    cdef str name
    while next_field(&reader, &field) == FIELD:
        if field.tag == tag:
            otlp.read_pair(field.content, &key, &value)
            name = text_of(key) if names is None else names.attribute(key)
            if name is None:
                continue
            if name in found:
                add_value(found, name, _value(&value))
            else:
                found[name] = _value(&value)
    return 0


cdef object _value(Field* value):
    cdef double real
    if value.tag == otlp.STRING:
        return text_of(value.content)
    if value.tag == otlp.BOOL:
        return value.number != 0
    if value.tag == otlp.INT:
        return <int64_t>value.number
    if value.tag == otlp.DOUBLE:
        memcpy(&real, &value.number, sizeof(double))
        return math.nan if real != real else real
    if value.tag == otlp.BYTES:
        return bytes_of(value.content)
    # Nested values are rare, and only upb can tell which are damaged.
    if value.tag == otlp.ARRAY:
        return array_value(bytes_of(value.content))
    return key_values_value(bytes_of(value.content)) if value.tag == otlp.KEY_VALUES else None
