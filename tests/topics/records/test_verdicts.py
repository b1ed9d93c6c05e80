"""The bytes of `betrace.verdicts`."""

from __future__ import annotations

import hashlib
import zlib
from base64 import b64encode
from collections.abc import Iterable

import msgspec
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from topics.distinct import DistinctTraces
from topics.records.verdicts import (
    Counted,
    Coverage,
    JudgingRule,
    Leaf,
    Retraction,
    SourceCoverage,
    VerdictCounts,
    VerdictSums,
    WindowBounds,
    decode,
    encode,
    hashes,
    judging_hash,
)


def sketch(trace_ids: Iterable[bytes]) -> bytes:
    """Return the sketch of these traces."""
    traces = DistinctTraces()
    traces.add(trace_ids)
    return traces.encode()


amounts = st.integers(0, 1 << 45)
texts = st.text(st.characters(exclude_categories=["Cs"]))
modes = st.sampled_from(["live", "shadow"])
few = st.integers(0, 2)
sums = st.builds(VerdictSums, held=few, broken=few, undetermined=few, not_applicable=amounts, excepted=amounts)
counts = st.builds(
    VerdictCounts,
    origin=texts,
    tenant=st.none() | texts,
    partition=st.integers(0, 99),
    seq=amounts,
    prev=st.none() | texts,
    generation=amounts,
    rule=texts,
    rule_fingerprint=texts,
    mode=modes,
    minute_ms=st.integers(0, 1 << 30).map(lambda minute: minute * 60_000),
    clock_ms=amounts,
    added=sums,
    taken_back=sums,
).map(
    lambda record: replace(
        record, leaves=bytes(32 * record.added.applicable), retractions=bytes(32 * record.taken_back.applicable)
    )
)
sources = st.builds(
    SourceCoverage,
    topic=texts,
    partition=st.integers(0, 99),
    epoch=amounts,
    from_offset=st.integers(0, 9),
    to_offset=st.integers(9, 99),
    lost=st.lists(st.tuples(st.integers(0, 5), st.integers(5, 9)), max_size=2),
    dead_letters=st.none() | amounts,
)
rules = st.lists(st.builds(JudgingRule, texts, texts, modes, amounts), max_size=2)
coverages = st.builds(
    Coverage,
    partition=st.integers(0, 99),
    generation=amounts,
    reset_ms=st.none() | amounts,
    start_ms=st.none() | amounts,
    from_ms=st.none() | st.integers(0, 9),
    to_ms=st.integers(9, 1 << 45),
    settled_from_ms=st.none() | st.integers(0, 5),
    settled_to_ms=st.integers(5, 9),
    final_to_ms=st.integers(0, 5),
    facts_from=st.integers(0, 9),
    facts_to=st.integers(9, 1 << 45),
    sources=st.lists(sources, max_size=2),
    rule_sets=st.lists(texts, max_size=2),
    judging=texts,
    rules=st.none() | rules,
    windows_judged=amounts,
    traces_seen_estimate=amounts,
    traces_seen_sketch=st.lists(st.binary(max_size=16), max_size=9).map(sketch),
    counted=st.builds(Counted, seq=amounts, head=st.none() | texts, added=sums, signals=amounts),
).map(lambda record: replace(record, judging=record.judging if record.rules is None else judging_hash(record.rules)))
leaves = st.builds(
    Leaf,
    revision=st.none() | st.integers(0, 1 << 50),
    rule=texts,
    trace_id=texts,
    verdict=st.sampled_from(["held", "broken"]),
    window=st.builds(WindowBounds, amounts, amounts),
)


@given(counts | coverages)
def test_record_round_trip(record: VerdictCounts | Coverage) -> None:
    """Decoding returns the record that was encoded."""
    assert record == decode(encode(record))


@given(leaves)
def test_a_leaf_is_canonical_json(leaf: Leaf) -> None:
    """A leaf's text is that of RFC 8785, and its hash is that of the text."""
    canonical = rfc8785.dumps(msgspec.to_builtins(leaf))

    assert canonical == leaf.canonical()
    assert hashlib.sha256(canonical).digest() == leaf.hash()


@given(leaves)
def test_a_retraction_is_canonical_json(leaf: Leaf) -> None:
    """A retraction's text is canonical too, and never equal to that of a leaf."""
    retraction = Retraction(
        revision=leaf.revision, rule=leaf.rule, trace_id=leaf.trace_id, verdict=leaf.verdict, window=leaf.window
    )
    canonical = rfc8785.dumps(msgspec.to_builtins(retraction))

    assert canonical == retraction.canonical()
    assert hashlib.sha256(canonical).digest() == retraction.hash() != leaf.hash()


def test_value_is_json_with_a_kind_and_a_schema() -> None:
    """The value is JSON with its kind and schema; hashes are base64."""
    record = VerdictCounts(
        partition=3,
        seq=0,
        prev=None,
        rule="r",
        rule_fingerprint="f",
        minute_ms=60_000,
        clock_ms=65_000,
        added=VerdictSums(held=1, not_applicable=2),
        taken_back=VerdictSums(broken=1),
        leaves=bytes(32),
        retractions=bytes(32),
    )

    value = msgspec.json.decode(encode(record))

    assert {
        "kind": "counts",
        "schema": 3,
        "origin": "live",
        "tenant": None,
        "partition": 3,
        "seq": 0,
        "prev": None,
        "generation": 0,
        "rule": "r",
        "rule_fingerprint": "f",
        "mode": "live",
        "minute_ms": 60_000,
        "clock_ms": 65_000,
        "added": {"held": 1, "not_applicable": 2},
        "taken_back": {"broken": 1},
        "leaves": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "retractions": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    } == value


@given(st.lists(st.binary(min_size=32, max_size=32)))
def test_hashes_round_trip(packed: list[bytes]) -> None:
    """Unpacking returns each hash, in order."""
    assert packed == [*hashes(b"".join(packed))]


COUNTS = encode(
    VerdictCounts(
        partition=3,
        seq=0,
        prev=None,
        rule="r",
        rule_fingerprint="f",
        minute_ms=60_000,
        clock_ms=65_000,
        added=VerdictSums(held=1),
        leaves=bytes(32),
    )
)
COVERAGE = encode(
    Coverage(
        partition=3,
        from_ms=4,
        to_ms=5,
        settled_from_ms=2,
        settled_to_ms=3,
        final_to_ms=3,
        facts_from=6,
        facts_to=7,
        sources=[SourceCoverage(topic="t", partition=0, epoch=1, from_offset=8, to_offset=9, lost=[(8, 9)])],
        rule_sets=[],
        judging=judging_hash([JudgingRule("r", "f", "live", 5)]),
        rules=[JudgingRule("r", "f", "live", 5)],
        windows_judged=0,
        traces_seen_estimate=2,
        traces_seen_sketch=sketch([b"a", b"b"]),
    )
)
SKETCH = f'"traces_seen_sketch":"{b64encode(sketch([b"a", b"b"])).decode()}"'.encode()


def with_sketch(sketch: bytes) -> bytes:
    """Return the coverage record with another sketch."""
    assert SKETCH in COVERAGE
    return COVERAGE.replace(SKETCH, b'"traces_seen_sketch":"' + b64encode(sketch) + b'"')


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"[]",
        b"{}",
        b'{"kind":"counts","rule":5}',
        b"\xff",
        b'{"kind":"counts","rule":"\xff"}',
        b'{"kind":"counts","x":' + b"[" * 100_000,
        b'{"kind":"other"}',
        COUNTS.replace(b'"kind":"counts"', b'"kind":"coverage"'),
        COUNTS.replace(b'"schema":3', b'"schema":2'),
        COUNTS.replace(b'"schema":3', b'"schema":4'),
        COUNTS.replace(b'"held":1', b'"held":2'),
        COUNTS.replace(b'"held":1', b'"held":-1'),
        COUNTS.replace(b'"taken_back":{}', b'"taken_back":{"broken":1}'),
        COUNTS.replace(b'"mode":"live"', b'"mode":"off"'),
        COUNTS.replace(b'"minute_ms":60000', b'"minute_ms":60001'),
        COUNTS.replace(b'"partition":3', b'"partition":-3'),
        COUNTS.replace(b"AAAA", b"", 1),
        COUNTS.replace(b"AAAA", b"????", 1),
        COVERAGE.replace(b'"schema":3', b'"schema":2'),
        COVERAGE.replace(b'"settled_to_ms":3', b'"settled_to_ms":1'),
        COVERAGE.replace(b'"settled_to_ms":3', b'"settled_to_ms":6'),
        COVERAGE.replace(b'"live",5', b'"live",4'),
        COVERAGE.replace(b'"from_ms":4', b'"from_ms":6'),
        COVERAGE.replace(b'"facts_to":7', b'"facts_to":5'),
        COVERAGE.replace(b'"to_offset":9', b'"to_offset":7'),
        COVERAGE.replace(b"[[8,9]]", b"[[9,8]]"),
        COVERAGE.replace(b"[[8,9]]", b"[[8]]"),
        COVERAGE.replace(SKETCH + b",", b""),
        COVERAGE.replace(SKETCH, b'"traces_seen_sketch":"?"'),
        with_sketch(b"no zlib"),
        with_sketch(sketch([b"a"])[:-1]),
        with_sketch(sketch([b"a"]) + b"\0"),
        with_sketch(zlib.compress(bytes(4095))),
        with_sketch(zlib.compress(bytes(4097))),
        with_sketch(zlib.compress(bytes(1 << 24))),
        with_sketch(zlib.compress(bytes(4095) + b"\x36")),
    ],
)
def test_invalid_record(value: bytes) -> None:
    """Bytes that are not a record are refused."""
    with pytest.raises(msgspec.DecodeError):
        decode(value)


def test_records_behind_the_invalid_ones_are_valid() -> None:
    """Each refused value differs from a valid one in one respect."""
    assert isinstance(decode(COUNTS), VerdictCounts)
    assert isinstance(decode(COVERAGE), Coverage)


@given(st.binary(max_size=100))
def test_any_bytes_are_read_or_refused(value: bytes) -> None:
    """Hostile bytes are refused, with no other error."""
    try:
        record = decode(value)
    except msgspec.DecodeError:
        return
    assert record == decode(encode(record))
