# cython: language_level=3
"""Reads the fields of protobuf bytes, one after the other.

In: the bytes of a message. Out: its fields in their order. Invariants: no byte outside the message is read. If
`next_field` returns a field, upb reads the same field; what it refuses, upb refuses; where versions of upb differ, or a
group begins, it is unsure.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    END = 0
    FIELD = 1
    REFUSED = -1
    UNSURE = -2

cdef enum:
    VARINT_BYTES = 10
    # upb accepts up to five bytes or up to ten, depending on its version.
    SHORT_VARINT_BYTES = 4

cdef struct Slice:
    const uint8_t* at
    Py_ssize_t size

cdef struct Field:
    # `number` is the value of a field of fixed size or of a varint, `content` that of one with a length.
    uint32_t tag
    uint64_t number
    Slice content

cdef struct Reader:
    const uint8_t* at
    const uint8_t* end


cdef inline Reader reader_of(Slice message) noexcept nogil:
    cdef Reader reader
    reader.at = message.at
    reader.end = message.at + message.size
    return reader


cdef inline bint read_varint(Reader* reader, int limit_bytes, uint64_t* number) noexcept nogil:
    """Read a varint of at most this many bytes; return whether there was one. Bits beyond 64 are dropped, as by upb."""
    cdef const uint8_t* at = reader.at
    cdef int room_bytes = limit_bytes
    cdef int shift = 0
    cdef uint64_t read = 0
    if reader.end - at < room_bytes:
        room_bytes = <int>(reader.end - at)
    while shift < 7 * room_bytes:
        read |= <uint64_t>(at[0] & 0x7F) << shift
        at += 1
        if at[-1] < 0x80:
            reader.at = at
            number[0] = read
            return True
        shift += 7
    return False


cdef inline uint64_t little_endian(const uint8_t* at, int size_bytes) noexcept nogil:
    cdef uint64_t number = 0
    cdef int byte
    for byte in range(size_bytes):
        number |= <uint64_t>at[byte] << 8 * byte
    return number


cdef inline int read_fixed(Reader* reader, int size_bytes, Field* field) noexcept nogil:
    if reader.end - reader.at < size_bytes:
        return REFUSED
    field.number = little_endian(reader.at, size_bytes)
    reader.at += size_bytes
    return FIELD


cdef inline int read_content(Reader* reader, Field* field) noexcept nogil:
    cdef uint64_t size
    if reader.at != reader.end and reader.at[0] < 0x80:
        size = reader.at[0]
        reader.at += 1
    elif not read_varint(reader, SHORT_VARINT_BYTES, &size):
        return UNSURE
    if size > <uint64_t>(reader.end - reader.at):
        return REFUSED
    field.content.at = reader.at
    field.content.size = <Py_ssize_t>size
    reader.at += size
    return FIELD


cdef inline int next_field(Reader* reader, Field* field) noexcept nogil:
    """Return `FIELD` if there is one more, `END` at the end of the message, else why the rest cannot be read."""
    cdef uint64_t tag
    cdef int wire_type
    if reader.at == reader.end:
        return END
    tag = reader.at[0]
    if tag < 0x80:
        reader.at += 1
    elif not read_varint(reader, SHORT_VARINT_BYTES, &tag):
        return UNSURE
    if tag < 8:
        return REFUSED
    field.tag = <uint32_t>tag
    wire_type = tag & 7
    if wire_type == 2:
        return read_content(reader, field)
    if wire_type == 0:
        return FIELD if read_varint(reader, VARINT_BYTES, &field.number) else REFUSED
    if wire_type == 1:
        return read_fixed(reader, 8, field)
    if wire_type == 5:
        return read_fixed(reader, 4, field)
    return UNSURE if wire_type == 3 else REFUSED
