# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Declares what the scanner uses of `streams.decode._names`, with the lookups that every span needs."""

cimport cython
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from streams.decode._slices cimport text_of
from streams.decode._wire cimport Slice

cdef enum:
    SKETCHES = 1 << 12

@cython.final
cdef class Names:
    cdef uint64_t* slots  # the upper half of a name's hash, and 1 + its index
    cdef uint64_t mask
    cdef uint8_t[SKETCHES] sketches  # the sketch suffices to tell most texts from all names
    cdef list texts
    cdef list encoded
    cdef list are_names
    cdef list are_attributes
    cdef frozenset names
    cdef frozenset attributes
    cdef bint has_mended
    cdef int add(self, str text) except -1
    cdef Py_ssize_t look_up(self, Slice text) noexcept

    cdef inline Py_ssize_t find(self, Slice text) noexcept:
        """Return the index of the name with these bytes, -1 if there is none."""
        return self.look_up(text) if self.sketches[sketch(text)] else -1

    cdef inline bint is_name(self, Slice text) except -1:
        """Return whether a span with this name, attribute or event is of interest to rules."""
        cdef Py_ssize_t index
        if self.has_mended:
            return text_of(text) in self.names
        index = self.find(text)
        return index >= 0 and self.are_names[index]

    cdef inline str attribute(self, Slice key):
        """Return the key of an attribute that rules look up, None for any other."""
        cdef Py_ssize_t index
        cdef str text
        if self.has_mended:
            text = text_of(key)
            return text if text in self.attributes else None
        index = self.find(key)
        return <str>self.texts[index] if index >= 0 and self.are_attributes[index] else None

    cdef inline str text(self, Slice text):
        """Return the text; for a name of interest, always the same object."""
        cdef Py_ssize_t index = self.find(text)
        return text_of(text) if index < 0 else <str>self.texts[index]


cdef inline uint32_t sketch(Slice text) noexcept nogil:
    """Return twelve bits of a text, from its length, first and last byte."""
    if not text.size:
        return 0
    return (<uint32_t>text.size ^ <uint32_t>text.at[0] << 5 ^ 37 * <uint32_t>text.at[text.size - 1]) & (SKETCHES - 1)
