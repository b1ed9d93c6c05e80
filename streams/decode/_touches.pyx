# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, embedsignature=True
"""The traces of each tick: `streams.decode.touches.PureTouches`, compiled.

In: a trace, a tick and a span count at a time, from Python or directly from the scanner. Out: touches as they are on
`betrace.facts`. What the scanner stages is counted when its record has been read to the end, and discarded otherwise.

Invariant: the results equal those of `PureTouches`, including the order. Senders of spans cannot choose trace ids that
share a slot: the hash is multilinear (D. Lemire, O. Kaser, "Strongly universal string hashing is fast") with factors
that every process draws anew.
"""

import os

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcmp, memcpy

from streams.decode._touches cimport Touch
from streams.decode._wire cimport little_endian

cdef enum:
    TRACE_ID_BYTES = 16
    TICK_BYTES = 8
    SPAN_COUNT_BYTES = 4
    TOUCH_BYTES = 28
    FIRST_ROOM = 64
    FACTORS = 7

cdef const uint8_t* HEX = b"0123456789abcdef"
cdef uint64_t[FACTORS] factors


def _draw_factors():
    cdef bytes drawn = os.urandom(8 * FACTORS)
    memcpy(factors, PyBytes_AS_STRING(drawn), 8 * FACTORS)


_draw_factors()


cdef class Touches:
    """Traces by tick, with their span counts, and whether a root was among the spans."""

    def __dealloc__(self):
        free(self.touches)
        free(self.slots)
        free(self.staged)

    def __len__(self):
        return self.count - self.taken_count

    def add(self, bytes trace_id not None, uint64_t tick, uint32_t span_count, bint root_seen):
        """Count spans of a trace in a tick."""
        cdef Touch touch = _touch(trace_id, tick)
        touch.span_count, touch.root_seen = span_count, root_seen
        self.count_in(&touch)

    def take(self, bytes trace_id not None, uint64_t tick):
        """Remove a trace in a tick, and return its span count and root."""
        cdef Touch sought = _touch(trace_id, tick)
        cdef uint32_t at = 0 if not self.room else self.slot(&sought)[0]
        if not at or self.touches[at - 1].is_taken:
            raise KeyError((trace_id, tick))
        self.touches[at - 1].is_taken = True
        self.taken_count += 1
        return self.touches[at - 1].span_count, bool(self.touches[at - 1].root_seen)

    @staticmethod
    def partition_of(bytes trace_id not None, uint32_t partitions):
        """Return the facts partition of a trace."""
        cdef Touch touch = _touch(trace_id, 0)
        return _partition(touch.trace_id, partitions)

    def sample(self):
        """Return one trace in 256, with whether its root was seen."""
        cdef Py_ssize_t index
        return [
            (_bytes(self.touches[index].trace_id), bool(self.touches[index].root_seen))
            for index in range(self.count)
            if not self.touches[index].trace_id[TRACE_ID_BYTES - 1] and not self.touches[index].is_taken
        ]

    def pack(self, uint32_t partitions):
        """Return the touches of each facts partition, packed, in order of arrival."""
        cdef list packed = []
        cdef uint32_t* homes = <uint32_t*>calloc(self.count + 1, sizeof(uint32_t))
        cdef uint8_t** ends = <uint8_t**>calloc(partitions, sizeof(uint8_t*))
        cdef Py_ssize_t* sizes = <Py_ssize_t*>calloc(partitions, sizeof(Py_ssize_t))
        cdef Py_ssize_t index
        try:
            if homes == NULL or ends == NULL or sizes == NULL:
                raise MemoryError
            for index in range(self.count):
                homes[index] = _partition(self.touches[index].trace_id, partitions)
                if not self.touches[index].is_taken:
                    sizes[homes[index]] += TOUCH_BYTES
            for index in range(partitions):
                packed.append(PyBytes_FromStringAndSize(NULL, sizes[index]))
                ends[index] = <uint8_t*>PyBytes_AS_STRING(packed[index])
            for index in range(self.count):
                if not self.touches[index].is_taken:
                    ends[homes[index]] = _write(ends[homes[index]], &self.touches[index])
            return packed
        finally:
            free(homes)
            free(ends)
            free(sizes)

    # For the scanner

    cdef int stage(self, const uint8_t* trace_id, uint32_t span_count, bint root_seen) except -1:
        """Stage spans of a record that has not been read to its end yet."""
        cdef Touch* staged = self.staged
        if self.staged_count == self.staged_room:
            staged = <Touch*>realloc(staged, (2 * self.staged_room + FIRST_ROOM) * sizeof(Touch))
            if staged == NULL:
                raise MemoryError
            self.staged, self.staged_room = staged, 2 * self.staged_room + FIRST_ROOM
        staged = &self.staged[self.staged_count]
        memcpy(staged.trace_id, trace_id, TRACE_ID_BYTES)
        staged.span_count, staged.root_seen, staged.is_taken = span_count, root_seen, False
        self.staged_count += 1
        return 0

    cdef int commit(self, uint64_t tick) except -1:
        """Count what was staged."""
        cdef Py_ssize_t index
        for index in range(self.staged_count):
            self.staged[index].tick = tick
            self.count_in(&self.staged[index])
        self.staged_count = 0
        return 0

    cdef void discard(self) noexcept:
        """Discard what was staged."""
        self.staged_count = 0

    cdef int count_in(self, Touch* touch) except -1:
        cdef uint32_t* slot
        cdef Touch* known
        if self.count == self.room:
            self.grow()
        slot = self.slot(touch)
        if slot[0] and not self.touches[slot[0] - 1].is_taken:
            known = &self.touches[slot[0] - 1]
            known.span_count += touch.span_count
            known.root_seen = known.root_seen or touch.root_seen
            return 0
        self.touches[self.count] = touch[0]
        self.count += 1
        slot[0] = <uint32_t>self.count
        return 0

    cdef int grow(self) except -1:
        cdef Py_ssize_t room = 2 * self.room if self.room else FIRST_ROOM
        cdef Py_ssize_t index
        cdef Touch* touches = <Touch*>realloc(self.touches, room * sizeof(Touch))
        if touches == NULL:
            raise MemoryError
        self.touches = touches
        cdef uint32_t* slots = <uint32_t*>calloc(2 * room, sizeof(uint32_t))
        if slots == NULL:
            raise MemoryError
        free(self.slots)
        self.slots, self.room = slots, room
        for index in range(self.count):
            self.slot(&self.touches[index])[0] = <uint32_t>index + 1
        return 0

    cdef uint32_t* slot(self, Touch* touch) noexcept:
        """Return the slot of this trace and tick, or the free one for it; half of all slots are free."""
        cdef uint64_t mask = <uint64_t>(2 * self.room - 1)
        cdef uint64_t at = _hash(touch) & mask
        cdef Touch* known
        while self.slots[at]:
            known = &self.touches[self.slots[at] - 1]
            if known.tick == touch.tick and memcmp(known.trace_id, touch.trace_id, TRACE_ID_BYTES) == 0:
                break
            at = (at + 1) & mask
        return &self.slots[at]


cdef Touch _touch(bytes trace_id, uint64_t tick) except *:
    cdef Touch touch
    if PyBytes_GET_SIZE(trace_id) != TRACE_ID_BYTES:
        raise ValueError(f"a trace id has {TRACE_ID_BYTES} bytes, not {len(trace_id)}")
    memcpy(touch.trace_id, PyBytes_AS_STRING(trace_id), TRACE_ID_BYTES)
    touch.tick, touch.span_count, touch.root_seen, touch.is_taken = tick, 0, False, False
    return touch


cdef inline bytes _bytes(const uint8_t* trace_id):
    return PyBytes_FromStringAndSize(<const char*>trace_id, TRACE_ID_BYTES)


cdef inline uint64_t _hash(Touch* touch) noexcept nogil:
    cdef uint64_t hashed = factors[0]
    cdef int part
    for part in range(4):
        hashed += factors[part + 1] * little_endian(&touch.trace_id[4 * part], 4)
    hashed += factors[5] * (touch.tick & <uint64_t>0xFFFFFFFF) + factors[6] * (touch.tick >> 32)
    return hashed >> 32


cdef inline uint32_t _partition(const uint8_t* trace_id, uint32_t partitions) noexcept nogil:
    """Compute `topics.partition.of_trace`."""
    cdef uint32_t hashed = 0x811C9DC5
    cdef int index
    for index in range(TRACE_ID_BYTES):
        hashed = (hashed ^ HEX[trace_id[index] >> 4]) * <uint32_t>0x01000193
        hashed = (hashed ^ HEX[trace_id[index] & 15]) * <uint32_t>0x01000193
    cdef int64_t signed_hash = <int32_t>hashed
    return <uint32_t>((-signed_hash if signed_hash < 0 else signed_hash) % partitions)


cdef inline uint8_t* _write(uint8_t* at, Touch* touch) noexcept nogil:
    """Write a touch as `topics.records.facts.pack_touches` does; return where the next one goes."""
    memcpy(at, touch.trace_id, TRACE_ID_BYTES)
    at = _write_number(at + TRACE_ID_BYTES, touch.tick, TICK_BYTES)
    return _write_number(at, touch.span_count, SPAN_COUNT_BYTES)


cdef inline uint8_t* _write_number(uint8_t* at, uint64_t number, int size_bytes) noexcept nogil:
    cdef int byte
    for byte in range(size_bytes):
        at[byte] = <uint8_t>(number >> 8 * (size_bytes - 1 - byte))
    return at + size_bytes
