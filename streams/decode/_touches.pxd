# cython: language_level=3
"""Declares what the scanner uses of `streams.decode._touches`."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef struct Touch:
    uint8_t[16] trace_id
    uint64_t tick
    uint32_t span_count
    bint root_seen
    bint is_taken

cdef class Touches:
    cdef Touch* touches
    cdef uint32_t* slots  # 1 + the index of a touch; 0 is free
    cdef Py_ssize_t count
    cdef Py_ssize_t room
    cdef Py_ssize_t taken_count
    cdef Touch* staged
    cdef Py_ssize_t staged_count
    cdef Py_ssize_t staged_room
    cdef int stage(self, const uint8_t* trace_id, uint32_t span_count, bint root_seen) except -1
    cdef int commit(self, uint64_t tick) except -1
    cdef void discard(self) noexcept
    cdef int count_in(self, Touch* touch) except -1
    cdef int grow(self) except -1
    cdef uint32_t* slot(self, Touch* touch) noexcept
