# cython: language_level=3
"""Converts slices of a message from and to Python.

In: bytes, or a slice of them. Out: the other of the two, or text. Invariants: a slice is read only while its bytes are
alive; damaged text is mended as Python mends it.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport uint8_t
from libc.string cimport memcmp

from streams.decode._wire cimport Slice


cdef inline Slice slice_of(bytes text) noexcept:
    cdef Slice slice
    slice.at = <const uint8_t*>PyBytes_AS_STRING(text)
    slice.size = PyBytes_GET_SIZE(text)
    return slice


cdef inline bytes bytes_of(Slice slice):
    return PyBytes_FromStringAndSize(<const char*>slice.at, slice.size)


cdef inline str text_of(Slice slice):
    return PyUnicode_DecodeUTF8(<const char*>slice.at, slice.size, "replace")


cdef inline bint is_text(Slice slice, bytes text) noexcept:
    if slice.size != PyBytes_GET_SIZE(text):
        return False
    # An absent slice is empty and has no address; memcmp must not get that.
    return not slice.size or memcmp(slice.at, PyBytes_AS_STRING(text), slice.size) == 0
