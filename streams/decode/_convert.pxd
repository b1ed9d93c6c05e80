# cython: language_level=3
"""Declares what the scanner uses of `streams.decode._convert`."""

cimport streams.decode._otlp as otlp
from streams.decode._names cimport Names
from streams.decode._wire cimport Slice

cdef object span(Names names, otlp.Record* record, tuple origin)
cdef object log(Names names, otlp.Record* record, tuple origin)
cdef dict resource_of(Names names, Slice sender)
cdef tuple origin_of(Names names, dict resource, Slice records_of_scope)
cdef int add_services(set services, Slice sender) except -1
