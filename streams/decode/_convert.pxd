# cython: language_level=3
"""What the scanner uses of `streams.decode._convert`."""

cimport streams.decode._otlp as otlp
from streams.decode._names cimport Names
from streams.decode._wire cimport Slice

cdef object span(Names names, otlp.Record* record, tuple origin)
cdef object log(Names names, otlp.Record* record, tuple origin)
cdef tuple origin_of(Names names, Slice sender, Slice records_of_scope)
