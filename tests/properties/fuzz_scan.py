"""Mutated and odd OTLP requests: the compiled scanner reads each as the path without it does, or passes it on.

    python -m tests.properties.fuzz_scan [COUNT] [SEED] [--sanitize]

A request is a captured one that was taken apart into its fields. Fields are moved, doubled, left out, exchanged, joined
by unknown ones, given another number, wire type or length, or another encoding of a number; then it is put together
again, and in one of four cases bytes are changed as well. What the scanner reads is read without it, too, for several
sets of rules, alone and in a run of records. Prints a line of JSON; a request on which they differ is printed in
hexadecimal, and the exit code is 1. The same count and seed give the same requests.

`--sanitize` compiles the scanner with AddressSanitizer and UndefinedBehaviorSanitizer into a directory of its own, and
runs with that one: it ends at the first byte that is read outside a request. It needs gcc (or what `CC` names) with
libasan, and Cython.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import random
import subprocess
import sys
import sysconfig
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import TypeAlias

import msgspec
from confluent_kafka import Message

import streams
from dsl import Interest
from streams.decode import touches
from streams.decode.backend import Choice, Scan, run_reader, scanner
from streams.decode.batches import ReadRun, RunStart
from streams.decode.decoder import Decoded, Decoder
from streams.errors import RecordError
from tests.support import paths
from tests.support.otlp_requests import delimited, varint
from topics.embedded import capture
from topics.otlp.requests import RecordKind

COUNT, CHUNK = 10_000_000, 20_000
ROOT = paths.ROOT
LARGEST_BYTES = 3000
BUILD_VARIABLE = "FUZZ_SCAN_BUILD"
FLAGS = ("-shared", "-fPIC", "-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined")

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
ATTRIBUTES = frozenset({"user.id", "service.name", "http.route", "tags", "a", "é"})
INTERESTS = (
    Interest(frozenset(), every_span=False, attributes=frozenset()),
    Interest(frozenset({"audit.log", "a", "", "http.route"}), every_span=False, attributes=ATTRIBUTES),
    Interest(frozenset({"\ufffd", "user.id"}), every_span=False, attributes=ATTRIBUTES | {"\ufffd", ""}),
    Interest(frozenset({"a"}), every_span=True, attributes=ATTRIBUTES),
)


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


@cache
def originals() -> tuple[tuple[RecordKind, tuple[Part, ...]], ...]:
    """Captured requests that are not large, taken apart; each shape once."""
    found: dict[str, tuple[RecordKind, tuple[Part, ...]]] = {}
    corpus, captures = ROOT / "tests" / "fixtures" / "corpus", ROOT / "topics" / "embedded" / "captures"
    for path in sorted([*corpus.glob("*proto*.bin.gz"), *captures.glob("*.bin.gz")]):
        kind = RecordKind.LOGS if "logs" in path.name else RecordKind.SPANS
        for frame in capture.read(path):
            if frame.value.startswith(b"\n") and len(frame.value) <= LARGEST_BYTES:
                request = taken_apart(frame.value, SCHEMAS[kind])
                found.setdefault(_shape(request), (kind, request))
    return tuple(found.values())


def requests(count: int, seed: str) -> Iterator[tuple[RecordKind, bytes]]:
    """That many requests."""
    chance = random.Random(seed)
    for _ in range(count):
        kind, parts = chance.choice(originals())
        for _ in range(chance.choice((0, 1, 1, 2, 3, 6))):
            parts = mutated(chance, parts)
        request = joined(parts)
        yield kind, request if chance.random() < 0.75 else damaged(chance, request)


def outcome(decoder: Decoder, request: bytes, kind: RecordKind) -> Decoded | str:
    """What a request decodes to, or the reason why it does not."""
    try:
        return decoder.decode(request, kind)
    except RecordError as error:
        return str(error)


def run(count: int, seed: str) -> Counter[str]:
    """How many requests were read or passed on; the ones that were read differently are printed and `failed`."""
    outcomes: Counter[str] = Counter()
    chance = random.Random(seed)
    paths = [
        (
            scanner(each, Choice.CYTHON),
            run_reader(each, Choice.CYTHON),
            Decoder(each, choice=Choice.CYTHON),
            Decoder(each, choice=Choice.PURE),
        )
        for each in INTERESTS
    ]
    for kind, request in requests(count, seed):
        at = chance.randrange(len(paths))
        scan, read_run, fast, slow = paths[at]
        asked = kind if chance.random() < 0.9 else chance.choice(tuple(RecordKind))
        expected = outcome(slow, request, asked)
        if scan is None or read_run is None or scanned(scan, request, asked) is None:
            outcomes["passed_on"] += 1
        elif repr(expected) == repr(outcome(fast, request, asked)) and is_run(read_run, request, asked, expected):
            outcomes["read"] += 1
        else:
            outcomes["failed"] += 1
            print(asked.value, INTERESTS[at], request.hex(), flush=True)  # noqa: T201, it is a command
    return outcomes


def scanned(scan: Scan, request: bytes, kind: RecordKind) -> Decoded | None:
    """What the scanner reads of a request; with sanitizers it ends when one byte behind the request is read."""
    if BUILD_VARIABLE not in os.environ:
        return scan(request, kind is RecordKind.LOGS)
    # Python has a zero behind all bytes, which belongs to the object: AddressSanitizer knows only of what is behind it.
    behind = ctypes.c_void_p(id(request) + bytes.__basicsize__ - 1 + len(request))
    sanitizer = ctypes.CDLL(None)
    sanitizer.__asan_poison_memory_region(behind, ctypes.c_size_t(1))
    try:
        return scan(request, kind is RecordKind.LOGS)
    finally:
        sanitizer.__asan_unpoison_memory_region(behind, ctypes.c_size_t(1))


def is_run(read_run: ReadRun, request: bytes, kind: RecordKind, expected: Decoded | str) -> bool:
    """Whether a run of the request, twice, says twice what is expected; or it is none."""
    start = RunStart("t", 0, 0, kind is RecordKind.LOGS, None, 0, 0, 0)
    seen = touches.none_yet()
    run = read_run([Message("t", 0, offset, None, request) for offset in range(2)], 0, start, seen)
    if isinstance(expected, str) or not run.record_count:
        return not run.record_count and not len(seen)
    spans = {
        trace_id: [each for hit in run.hits if hit[2] == trace_id for each in hit.spans] for trace_id in expected.traces
    }
    found = [
        *(run.record_count, run.span_count, run.spans_without_trace, run.logs_without_trace),
        *((trace_id, seen.take(trace_id, 0), spans[trace_id]) for trace_id in expected.traces),
    ]
    said = [
        *(2, 2 * expected.span_count, 2 * expected.spans_without_trace, 2 * expected.logs_without_trace),
        *(
            (trace_id, (2 * each.span_count, each.root_seen), 2 * each.spans)
            for trace_id, each in expected.traces.items()
        ),
    ]
    return repr(said) == repr(found) and not len(seen)


def _shape(parts: tuple[Part, ...]) -> str:
    inner = [_shape(part.content) if isinstance(part.content, tuple) else str(len(part.content)) for part in parts]
    return f"({','.join(f'{part.number}:{each}' for part, each in zip(parts, inner, strict=True))})"


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


def sanitized(directory: Path) -> Mapping[str, str]:
    """Compiles the scanner with sanitizers; what the environment of a program that uses it must hold besides."""
    compiler = os.environ.get("CC", "gcc")
    for source in sorted((ROOT / "streams" / "decode").glob("*.pyx")):
        written = directory / f"{source.stem}.c"
        built = written.with_suffix(sysconfig.get_config_var("EXT_SUFFIX"))
        cython = (sys.executable, "-m", "cython", "-3", "-I", ROOT, source, "-o", written)
        subprocess.run(cython, check=True)
        subprocess.run((compiler, *FLAGS, f"-I{sysconfig.get_path('include')}", written, "-o", built), check=True)
    library = subprocess.run((compiler, "-print-file-name=libasan.so"), check=True, capture_output=True, text=True)
    return {
        BUILD_VARIABLE: str(directory),
        "LD_PRELOAD": library.stdout.strip(),
        "ASAN_OPTIONS": "detect_leaks=0",
        "PYTHONMALLOC": "malloc",
    }


def main() -> None:
    """Runs chunks on all cores."""
    parser = argparse.ArgumentParser()
    parser.add_argument("count", type=int, nargs="?", default=COUNT)
    parser.add_argument("seed", nargs="?", default="1")
    parser.add_argument("--sanitize", action="store_true")
    asked = parser.parse_args()
    if asked.sanitize:
        with tempfile.TemporaryDirectory() as directory:
            environment = {**os.environ, **sanitized(Path(directory))}
            again = (sys.executable, "-m", "tests.properties.fuzz_scan", str(asked.count), asked.seed)
            sys.exit(subprocess.run(again, env=environment, check=False).returncode)
    sizes = [min(CHUNK, asked.count - start) for start in range(0, asked.count, CHUNK)]
    outcomes: Counter[str] = Counter(read=0, passed_on=0, failed=0)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for found in pool.map(run, sizes, [f"{asked.seed}.{chunk}" for chunk in range(len(sizes))]):
            outcomes.update(found)
    print(msgspec.json.encode(outcomes).decode())  # noqa: T201, it is a command
    sys.exit(outcomes["failed"] > 0)


if BUILD_VARIABLE in os.environ:
    streams.__path__.insert(0, os.environ[BUILD_VARIABLE])

if __name__ == "__main__":
    main()
