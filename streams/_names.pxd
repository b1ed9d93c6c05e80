# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""What the scanner uses of `streams._names`, and the look-ups that every span takes."""

cimport cython
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from streams._slices cimport text_of
from streams._wire cimport Slice

cdef enum:
    SKETCHES = 1 << 12

@cython.final
cdef class Names:
    cdef uint64_t* slots  # the upper half of a name's hash, and 1 + its index
    cdef uint64_t mask
    cdef uint8_t[SKETCHES] sketches  # most texts are told from all names by their sketch
    cdef list texts
    cdef list encoded
    cdef list are_names
    cdef list are_attributes
    cdef frozenset names
    cdef frozenset attributes
    cdef bint has_mended
    cdef int add(self, str text) except -1
    cdef Py_ssize_t find(self, Slice text) noexcept
    cdef str text(self, Slice text)
    cdef str attribute(self, Slice key)

    cdef inline bint is_name(self, Slice text) except -1:
        """Whether a span with such a name, attribute or event is one that rules look at."""
        cdef Py_ssize_t index
        if self.has_mended:
            return text_of(text) in self.names
        # As `find` does first: most texts take no call to be told from all names.
        if not self.sketches[sketch(text)]:
            return False
        index = self.find(text)
        return index >= 0 and self.are_names[index]


cdef inline uint32_t sketch(Slice text) noexcept nogil:
    """Twelve bits of a text: of its length, its first and its last byte."""
    if not text.size:
        return 0
    return (<uint32_t>text.size ^ <uint32_t>text.at[0] << 5 ^ 37 * <uint32_t>text.at[text.size - 1]) & (SKETCHES - 1)
