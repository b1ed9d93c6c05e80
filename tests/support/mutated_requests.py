"""OTLP requests that no sender should make: taken apart into fields, changed, and put together again.

Fields are moved, doubled, left out, exchanged, joined by unknown ones, given another number, wire type or length, or
another encoding of a number; `damaged` changes bytes.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias

from tests.support.otlp_requests import delimited, varint
from topics.otlp.requests import RecordKind

VARINT, EIGHT_BYTES, DELIMITED, GROUP, GROUP_END, FOUR_BYTES = range(6)

Schema: TypeAlias = "Mapping[int, Schema]"
"""The messages that a message holds, by number, as far as this program reads them."""

VALUE: Schema = {5: {1: {}}, 6: {1: {}}}
PAIR: Schema = {2: VALUE}
SPAN: Schema = {9: PAIR, 11: {3: PAIR}, 15: {}}
LOG: Schema = {5: VALUE, 6: PAIR}
SCHEMAS: Mapping[RecordKind, Schema] = {
    kind: {1: {1: {1: PAIR}, 2: {1: {3: PAIR}, 2: record}}}
    for kind, record in ((RecordKind.SPANS, SPAN), (RecordKind.LOGS, LOG))
}

# Of the captured requests, and others.
TEXTS = (
    b"service.name",
    b"user.id",
    b"tags",
    b"http.route",
    b"",
    b"a",
    b"audit.log",
    b"event.name",
    "é".encode(),
    b"\xff",
    b"a\xed\xa0\x80b",
    b"\xef\xbf\xbd",
)
IDS = (b"", bytes(8), bytes(16), b"\1" * 8, b"\1" * 16, b"\2" * 16, b"\1" * 17)
VALUES = tuple(
    bytes.fromhex(text) for text in ("", "0a00", "0a0161", "1001", "1002", "1807", "2a00", "2a01ff", "3200", "4003")
)
NUMBERS = (0, 1, 2, 127, 128, 1 << 31, 1 << 32, (1 << 63) - 1, (1 << 64) - 1)


@dataclass(frozen=True)
class Part:
    """One field of a request: `content` is its fields where the schema knows them, else its bytes after the length."""

    number: int
    wire_type: int
    content: bytes | tuple[Part, ...]
    length_change: int = 0
    padding_bytes: int = 0

    @cached_property
    def encoded(self) -> bytes:
        """The field's bytes: its length is wrong by `length_change`, its tag and length are padded to be longer."""
        # Kept, as most parts of a request are in many others, and encoding all of them anew takes longer than the rest.
        tag = _padded(self.number << 3 | self.wire_type, self.padding_bytes)
        content = self.content if isinstance(self.content, bytes) else joined(self.content)
        if self.wire_type != DELIMITED:
            return tag + content
        return tag + _padded(max(0, len(content) + self.length_change), self.padding_bytes) + content


def joined(parts: tuple[Part, ...]) -> bytes:
    """A message of these fields."""
    return b"".join([part.encoded for part in parts])


def taken_apart(message: bytes, schema: Schema) -> tuple[Part, ...]:
    """The fields of a well-formed message without groups."""
    parts = []
    at = 0
    while at < len(message):
        tag, at = _number(message, at)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == DELIMITED:
            size, at = _number(message, at)
            end = at + size
        else:
            end = _number(message, at)[1] if wire_type == VARINT else at + (8 if wire_type == EIGHT_BYTES else 4)
        content = message[at:end]
        known = wire_type == DELIMITED and number in schema
        parts.append(Part(number, wire_type, taken_apart(content, schema[number]) if known else content))
        at = end
    return tuple(parts)


def mutated(chance: random.Random, parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """The message with one thing changed, at any depth."""
    inner = [index for index, part in enumerate(parts) if isinstance(part.content, tuple)]
    if inner and chance.random() < 0.8:
        index = chance.choice(inner)
        content = parts[index].content
        assert isinstance(content, tuple)
        return (*parts[:index], replace(parts[index], content=mutated(chance, content)), *parts[index + 1 :])
    change = chance.choice((_moved, _moved, _doubled, _doubled, _left_out, _joined_by, _joined_by, _altered, _altered))
    return change(chance, parts)


def _moved(chance: random.Random, parts: tuple[Part, ...]) -> tuple[Part, ...]:
    return tuple(chance.sample(parts, len(parts))) if chance.random() < 0.5 else parts[::-1]


def _doubled(chance: random.Random, parts: tuple[Part, ...]) -> tuple[Part, ...]:
    if not parts:
        return parts
    again = chance.choice(parts)
    if isinstance(again.content, tuple) and chance.random() < 0.5:
        again = replace(again, content=mutated(chance, again.content))
    at = chance.randint(0, len(parts))
    return (*parts[:at], again, *parts[at:])


def _left_out(chance: random.Random, parts: tuple[Part, ...]) -> tuple[Part, ...]:
    at = chance.randint(0, len(parts))
    return (*parts[:at], *parts[at + chance.choice((1, 1, 3)) :])


def _joined_by(chance: random.Random, parts: tuple[Part, ...]) -> tuple[Part, ...]:
    at = chance.randint(0, len(parts))
    return (*parts[:at], _any_part(chance), *parts[at:])


def _altered(chance: random.Random, parts: tuple[Part, ...]) -> tuple[Part, ...]:
    if not parts:
        return (_any_part(chance),)
    at = chance.randrange(len(parts))
    other = _any_part(chance)
    changed = chance.choice(
        (
            replace(parts[at], number=other.number),
            replace(other, number=parts[at].number),
            replace(other, number=parts[at].number),
            replace(parts[at], wire_type=other.wire_type),
            replace(parts[at], padding_bytes=chance.choice((1, 1, 2, 3, 4, 8))),
            replace(parts[at], length_change=chance.choice((-1, 1, 100, 1 << 31))),
        )
    )
    return (*parts[:at], changed, *parts[at + 1 :])


def _any_part(chance: random.Random) -> Part:
    number = chance.choice((*range(1, 17), *range(1, 17), 0, 100, (1 << 29) - 1))
    wire_type = chance.choice(
        (VARINT, EIGHT_BYTES, DELIMITED, DELIMITED, DELIMITED, FOUR_BYTES, GROUP, GROUP_END, 6, 7)
    )
    content: bytes = chance.choice((*TEXTS, *IDS, *VALUES))
    if wire_type == DELIMITED and chance.random() < 0.5:
        content = delimited(1, chance.choice(TEXTS)) + delimited(2, chance.choice(VALUES))
    if wire_type == VARINT:
        content = _padded(chance.choice(NUMBERS), chance.choice((0, 0, 0, 1, 5)))
    if wire_type in (EIGHT_BYTES, FOUR_BYTES):
        content = chance.choice(NUMBERS).to_bytes(8, "little")[: 8 if wire_type == EIGHT_BYTES else 4]
    if wire_type == GROUP:
        content = b"".join((_any_part(chance).encoded, varint(number << 3 | GROUP_END)))
    return Part(number, wire_type, content)


def damaged(chance: random.Random, request: bytes) -> bytes:
    """The request cut off, or with a few of its bytes changed."""
    if chance.random() < 0.3:
        return request[: chance.randint(0, len(request))]
    changed = bytearray(request)
    for _ in range(chance.choice((1, 1, 1, 2, 4)) if request else 0):
        changed[chance.randrange(len(changed))] = chance.choice((0, 1, 10, 18, 127, 128, 255, chance.randrange(256)))
    return bytes(changed)


def _number(message: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        number |= (message[at] & 127) << shift
        shift += 7
        at += 1
        if message[at - 1] < 128:
            return number, at


def _padded(number: int, padding_bytes: int) -> bytes:
    encoded = varint(number)
    if not padding_bytes:
        return encoded
    return encoded[:-1] + bytes([encoded[-1] | 128]) + b"\x80" * (padding_bytes - 1) + b"\0"
