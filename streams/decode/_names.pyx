# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Looks up the names and attribute keys of interest by their UTF-8.

In: the interest of the rules, once; then slices of a message. Out: whether a slice is such a name, and the text of one
without creating it again. Invariant: the answers are those that Python gives for the mended text. Senders of spans
cannot choose slots of the table, and a text is read only within its bounds.
"""

from libc.stdlib cimport calloc, free

from streams.decode._slices cimport is_text, slice_of
from streams.decode._wire cimport little_endian

from topics.otlp.requests import MENDED


cdef class Names:
    """A table of names; `is_name` distinguishes names of spans and the like from attributes that are only looked up."""

    def __cinit__(self, frozenset names, frozenset attributes):
        cdef frozenset texts = names | attributes
        self.names, self.attributes = names, attributes
        self.texts, self.encoded, self.are_names, self.are_attributes = [], [], [], []
        # Damaged text has a different encoding from the name to which it is mended.
        self.has_mended = any([MENDED in text for text in texts])
        self.mask = 63
        while self.mask < 4 * <uint64_t>len(texts):
            self.mask = 2 * self.mask + 1
        self.slots = <uint64_t*>calloc(self.mask + 1, sizeof(uint64_t))
        if self.slots == NULL:
            raise MemoryError
        for text in texts:
            self.add(text)

    def __dealloc__(self):
        free(self.slots)

    cdef int add(self, str text) except -1:
        cdef bytes encoded
        cdef uint64_t hashed, slot
        try:
            encoded = text.encode()
        except UnicodeEncodeError:  # a lone surrogate, which cannot occur in a request
            return 0
        self.texts.append(text)
        self.encoded.append(encoded)
        self.are_names.append(text in self.names)
        self.are_attributes.append(text in self.attributes)
        self.sketches[sketch(slice_of(encoded))] = True
        hashed = _hash(slice_of(encoded))
        slot = hashed & self.mask
        while self.slots[slot]:
            slot = (slot + 1) & self.mask
        self.slots[slot] = hashed >> 32 << 32 | <uint64_t>len(self.texts)
        return 0

    cdef Py_ssize_t look_up(self, Slice text) noexcept:
        """Do what `find` does, for a text whose sketch is that of a name."""
        cdef uint64_t hashed = _hash(text)
        cdef uint64_t slot = hashed & self.mask
        cdef Py_ssize_t index
        while self.slots[slot]:
            if self.slots[slot] >> 32 == hashed >> 32:
                index = <Py_ssize_t>(self.slots[slot] & 0xFFFFFFFF) - 1
                if is_text(text, <bytes>self.encoded[index]):
                    return index
            slot = (slot + 1) & self.mask
        return -1


cdef inline uint64_t _hash(Slice text) noexcept nogil:
    """Hash a text chosen by a rule's author; senders of spans cannot choose slots of the table."""
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
