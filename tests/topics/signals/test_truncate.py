"""Truncation of findings that are too long."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.support.findings import ACCESS, FINDING
from topics.signals.finding import Dedup, Finding, SourceRange
from topics.signals.truncate import LIST_ITEMS, encode_within_limit, truncate_text

LIMIT_BYTES = 400 * 1024


def write(finding: Finding, whole_bytes: int | None) -> bytes:
    """Encode a finding in a format of these tests, with the size before truncation."""
    return msgspec.json.encode(
        (finding.rule.id, len(finding.witnesses), whole_bytes, finding.rule.text, finding.witnesses)
    )


def heavy(count: int, text: str) -> Finding:
    """Build a finding whose witnesses have distinct names and a long text each."""
    witnesses = tuple(replace(ACCESS, name=f"w{n}", attributes={"text": text}) for n in range(count))
    return replace(FINDING, witnesses=witnesses)


def test_short_finding_is_complete() -> None:
    """A finding within the limit is complete."""
    expected = write(FINDING, None)

    assert encode_within_limit(FINDING, len(expected), write) == expected


def test_one_byte_too_long() -> None:
    """A finding one byte over the limit loses a witness and states its original size."""
    finding = heavy(3, "x" * 1000)
    whole_bytes = len(write(finding, None))

    value = encode_within_limit(finding, whole_bytes - 1, write)

    assert msgspec.json.decode(value)[1:3] == [2, whole_bytes]


def test_last_witnesses_are_omitted_first() -> None:
    """As many of the first witnesses as fit are kept, unchanged."""
    finding = heavy(100, "x" * 10_000)

    value = encode_within_limit(finding, LIMIT_BYTES, write)

    kept = msgspec.json.decode(value)[4]
    assert [witness["name"] for witness in kept] == [f"w{n}" for n in range(len(kept))]
    assert {witness["attributes"]["text"] for witness in kept} == {"x" * 10_000}
    assert LIMIT_BYTES - 11_000 < len(value) <= LIMIT_BYTES


def test_long_texts_are_truncated_after_witnesses() -> None:
    """A rule that is too long by itself is truncated with a mark, and the witnesses fit again."""
    finding = replace(FINDING, rule=replace(FINDING.rule, text="y" * LIMIT_BYTES))

    value = encode_within_limit(finding, LIMIT_BYTES, write)

    _, count, _, text, _ = msgspec.json.decode(value)
    assert text == "y" * (8192 - 8) + "…[cut]"
    assert count == 1


@pytest.mark.parametrize("char", ["\x01", "ä", "\U0001f512", '"'])
def test_the_worst_finding_fits(char: str) -> None:
    """A finding with every text and list too long, of characters that take six bytes in JSON, still fits."""
    long, many = char * 300_000, (char * 3_000,) * 300
    rule = replace(
        FINDING.rule, title=long, description=long, owner=long, text=long, controls=many, tags=many, references=many
    )
    rule = replace(rule, author=long, version=long, runbook=long, related=many, false_positives=many)
    rule = replace(rule, attack=("T1059.001",) * 300, atlas=("AML.T0051.000",) * 300)
    sources = tuple(SourceRange("t" * 249, n, n, n) for n in range(10_000))
    finding = replace(heavy(50, long), rule=rule, missing=many, present=many, sources=sources)
    finding = replace(finding, dedup=Dedup("u" * 36, many, 0, 1))

    value = encode_within_limit(finding, LIMIT_BYTES, lambda shown, _: msgspec.json.encode(shown))

    assert len(value) <= LIMIT_BYTES
    assert len(msgspec.json.decode(value, type=Finding).missing) == LIST_ITEMS


@given(st.text(st.characters(codec="utf-8")), st.integers(8, 40))
def test_truncated_text_is_a_short_beginning(text: str, limit_bytes: int) -> None:
    """A text that fits is unchanged; another becomes its beginning and a mark, never half a character."""
    actual = truncate_text(text, limit_bytes)

    assert len(actual.encode()) <= limit_bytes or actual == text
    assert text.startswith(actual.removesuffix("…[cut]"))
    assert (actual == text) == (len(text.encode()) <= limit_bytes)
