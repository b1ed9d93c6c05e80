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
from functools import cache
from pathlib import Path

import msgspec
from confluent_kafka import Message

import streams
from dsl import Interest
from streams.decode import touches
from streams.decode.backend import Backend, Scan, batch_reader, scanner
from streams.decode.batches import BatchContext, ReadBatch
from streams.decode.decoder import Decoded, Decoder
from streams.errors import RecordError
from tests.support import paths
from tests.support.mutated_requests import SCHEMAS, Part, damaged, joined, mutated, taken_apart
from topics.embedded import capture
from topics.otlp.requests import RecordKind

COUNT, CHUNK = 10_000_000, 20_000
ROOT = paths.ROOT
LARGEST_BYTES = 3000
BUILD_VARIABLE = "FUZZ_SCAN_BUILD"
FLAGS = ("-shared", "-fPIC", "-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined")

ATTRIBUTES = frozenset({"user.id", "service.name", "http.route", "tags", "a", "é"})
INTERESTS = (
    Interest(frozenset(), every_span=False, attributes=frozenset()),
    Interest(frozenset({"audit.log", "a", "", "http.route"}), every_span=False, attributes=ATTRIBUTES),
    Interest(frozenset({"\ufffd", "user.id"}), every_span=False, attributes=ATTRIBUTES | {"\ufffd", ""}),
    Interest(frozenset({"a"}), every_span=True, attributes=ATTRIBUTES),
)


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
            scanner(each, Backend.CYTHON),
            batch_reader(each, Backend.CYTHON),
            Decoder(each, backend=Backend.CYTHON),
            Decoder(each, backend=Backend.PURE),
        )
        for each in INTERESTS
    ]
    for kind, request in requests(count, seed):
        at = chance.randrange(len(paths))
        scan, read_batch, fast, slow = paths[at]
        asked = kind if chance.random() < 0.9 else chance.choice(tuple(RecordKind))
        expected = outcome(slow, request, asked)
        if scan is None or read_batch is None or scanned(scan, request, asked) is None:
            outcomes["passed_on"] += 1
        elif repr(expected) == repr(outcome(fast, request, asked)) and is_run(read_batch, request, asked, expected):
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


def is_run(read_batch: ReadBatch, request: bytes, kind: RecordKind, expected: Decoded | str) -> bool:
    """Whether a run of the request, twice, says twice what is expected; or it is none."""
    start = BatchContext(
        topic="t",
        partition=0,
        next_offset=0,
        has_logs=kind is RecordKind.LOGS,
        highest_ms=None,
        local_ms=0,
        out_of_order_ms=0,
        broker_skew_ms=0,
        bounds_ms=(0, 0),
        follow=int,
    )
    seen = touches.new_touches()
    run = read_batch([Message("t", 0, offset, None, request) for offset in range(2)], 0, start, seen)
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
