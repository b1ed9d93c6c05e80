"""The bytes of `betrace.verdicts`."""

from __future__ import annotations

import hashlib

import msgspec
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from topics.records.verdicts import (
    Coverage,
    Leaf,
    SourceCoverage,
    VerdictCounts,
    WindowBounds,
    decode,
    encode,
    hashes,
)

deltas = st.integers(-(1 << 31), 1 << 31)
amounts = st.integers(0, 1 << 45)
texts = st.text(st.characters(exclude_categories=["Cs"]))
counts = st.builds(
    VerdictCounts,
    rule=texts,
    rule_fingerprint=texts,
    partition=st.integers(0, 99),
    clock_ms=amounts,
    held=deltas,
    broken=deltas,
    undetermined=deltas,
    not_applicable=deltas,
    excepted=deltas,
    leaves=st.lists(st.binary(min_size=32, max_size=32), max_size=3).map(b"".join),
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
coverages = st.builds(
    Coverage,
    partition=st.integers(0, 99),
    from_ms=st.none() | st.integers(0, 9),
    to_ms=st.integers(9, 1 << 45),
    facts_from=st.integers(0, 9),
    facts_to=st.integers(9, 1 << 45),
    sources=st.lists(sources, max_size=2),
    rule_sets=st.lists(texts, max_size=2),
    windows_judged=amounts,
    traces_seen_estimate=amounts,
)
leaves = st.builds(
    Leaf,
    st.none() | st.integers(0, 1 << 50),
    texts,
    texts,
    st.sampled_from(["held", "broken"]),
    st.builds(WindowBounds, amounts, amounts),
)


@given(counts | coverages)
def test_records_come_back(record: VerdictCounts | Coverage) -> None:
    """What was written is read the same, counts that take back included."""
    assert record == decode(encode(record))


@given(leaves)
def test_a_leaf_is_canonical_json(leaf: Leaf) -> None:
    """A leaf's text is that of RFC 8785, and its hash that of the text."""
    canonical = rfc8785.dumps(msgspec.to_builtins(leaf))

    assert canonical == leaf.canonical()
    assert hashlib.sha256(canonical).digest() == leaf.hash()


def test_value_is_json_with_a_kind_and_a_schema() -> None:
    """The value is JSON, says what it is and which form it has; hashes are base64."""
    record = VerdictCounts(rule="r", rule_fingerprint="f", partition=3, clock_ms=5, held=2, broken=-1, leaves=bytes(32))

    value = msgspec.json.decode(encode(record))

    assert {
        "kind": "counts",
        "schema": 1,
        "rule": "r",
        "rule_fingerprint": "f",
        "partition": 3,
        "clock_ms": 5,
        "held": 2,
        "broken": -1,
        "undetermined": 0,
        "not_applicable": 0,
        "excepted": 0,
        "leaves": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    } == value


@given(st.lists(st.binary(min_size=32, max_size=32)))
def test_hashes_are_those_that_were_packed(packed: list[bytes]) -> None:
    """Each hash comes out, in order."""
    assert packed == [*hashes(b"".join(packed))]


COUNTS = encode(VerdictCounts(rule="r", rule_fingerprint="f", partition=3, clock_ms=5, leaves=bytes(32)))
COVERAGE = encode(
    Coverage(
        partition=3,
        from_ms=4,
        to_ms=5,
        facts_from=6,
        facts_to=7,
        sources=[SourceCoverage(topic="t", partition=0, epoch=1, from_offset=8, to_offset=9, lost=[(8, 9)])],
        rule_sets=[],
        windows_judged=0,
        traces_seen_estimate=0,
    )
)


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
        COUNTS.replace(b'"schema":1', b'"schema":2'),
        COUNTS.replace(b'"partition":3', b'"partition":-3'),
        COUNTS.replace(b"AAAA", b"", 1),
        COUNTS.replace(b"AAAA", b"????", 1),
        COVERAGE.replace(b'"schema":1', b'"schema":0'),
        COVERAGE.replace(b'"from_ms":4', b'"from_ms":6'),
        COVERAGE.replace(b'"facts_to":7', b'"facts_to":5'),
        COVERAGE.replace(b'"to_offset":9', b'"to_offset":7'),
        COVERAGE.replace(b"[[8,9]]", b"[[9,8]]"),
        COVERAGE.replace(b"[[8,9]]", b"[[8]]"),
    ],
)
def test_no_record(value: bytes) -> None:
    """Bytes that are no record are refused, whatever they are."""
    with pytest.raises(msgspec.DecodeError):
        decode(value)


def test_records_that_the_refused_ones_are_made_of_are_read() -> None:
    """The refused values differ from good ones in one thing each."""
    assert isinstance(decode(COUNTS), VerdictCounts)
    assert isinstance(decode(COVERAGE), Coverage)


@given(st.binary(max_size=100))
def test_any_bytes_are_read_or_refused(value: bytes) -> None:
    """Nothing else than a refusal comes of hostile bytes."""
    try:
        record = decode(value)
    except msgspec.DecodeError:
        return
    assert record == decode(encode(record))
