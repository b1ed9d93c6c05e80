"""`encode_within_limit(finding, limit_bytes, encode)`: encodes a finding, or as much of it as the limit allows.

In: a finding and the function that encodes it in some format. Out: its bytes, never more than the limit. Witnesses are
omitted first, starting with the last; then long texts and lists are truncated. The encoder gets the original size, so
that the signal can state that something is missing.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from typing import TypeAlias

from msgspec.structs import replace

from topics.signals.finding import Finding, RuleText, SignalWitness
from topics.values import Scalar

TRUNCATION_MARK = "…[cut]"

TEXT_LIMITS_BYTES = (8192, 1024, 256)
"""The limits of a text, tried in turn. With the last one a finding without witnesses is always below 400 KiB: 200 list
items and a dozen other texts, each up to six times as long in JSON, where a control character takes six bytes."""

LIST_ITEMS = 20

Encode: TypeAlias = Callable[[Finding, int | None], bytes]
"""Encodes a finding; the second argument is its size in bytes before truncation, None when it is complete."""


def encode_within_limit(finding: Finding, limit_bytes: int, encode: Encode) -> bytes:
    """Encode a finding with `encode`, in at most `limit_bytes` if that is at least 400 KiB."""
    whole = encode(finding, None)
    if len(whole) <= limit_bytes:
        return whole
    value = _with_most_witnesses(finding, limit_bytes, encode, len(whole))
    for text_limit_bytes in TEXT_LIMITS_BYTES:
        if len(value) <= limit_bytes:
            break
        value = _with_most_witnesses(truncate_texts(finding, text_limit_bytes), limit_bytes, encode, len(whole))
    return value


def _with_most_witnesses(finding: Finding, limit_bytes: int, encode: Encode, whole_bytes: int) -> bytes:
    """Encode with as many of the first witnesses as fit; the result is too long if it is so without any."""

    def with_first(count: int) -> bytes:
        return encode(replace(finding, witnesses=finding.witnesses[:count]), whole_bytes)

    counts = range(1, len(finding.witnesses) + 1)
    return with_first(bisect_left(counts, True, key=lambda count: len(with_first(count)) > limit_bytes))  # noqa: FBT003


def truncate_texts(finding: Finding, limit_bytes: int) -> Finding:
    """Truncate every text to `limit_bytes` and every list to `LIST_ITEMS` items; the uid does not change."""
    return replace(
        finding,
        rule=_truncate_rule(finding.rule, limit_bytes),
        missing=_truncate_list(finding.missing, limit_bytes),
        present=_truncate_list(finding.present, limit_bytes),
        witnesses=tuple(_truncate_witness(witness, limit_bytes) for witness in finding.witnesses),
        sources=finding.sources[:LIST_ITEMS],
        dedup=finding.dedup and replace(finding.dedup, by=_truncate_list(finding.dedup.by, limit_bytes)),
    )


def _truncate_rule(rule: RuleText, limit_bytes: int) -> RuleText:
    return replace(
        rule,
        title=truncate_text(rule.title, limit_bytes),
        description=rule.description and truncate_text(rule.description, limit_bytes),
        controls=_truncate_list(rule.controls, limit_bytes),
        tags=_truncate_list(rule.tags, limit_bytes),
        owner=rule.owner and truncate_text(rule.owner, limit_bytes),
        references=_truncate_list(rule.references, limit_bytes),
        text=truncate_text(rule.text, limit_bytes),
        author=rule.author and truncate_text(rule.author, limit_bytes),
        version=rule.version and truncate_text(rule.version, limit_bytes),
        related=_truncate_list(rule.related, limit_bytes),
        attack=_truncate_list(rule.attack, limit_bytes),
        atlas=_truncate_list(rule.atlas, limit_bytes),
        runbook=rule.runbook and truncate_text(rule.runbook, limit_bytes),
        false_positives=_truncate_list(rule.false_positives, limit_bytes),
    )


def _truncate_witness(witness: SignalWitness, limit_bytes: int) -> SignalWitness:
    return replace(
        witness,
        subject=truncate_text(witness.subject, limit_bytes),
        name=truncate_text(witness.name, limit_bytes),
        service=witness.service and truncate_text(witness.service, limit_bytes),
        attributes={
            truncate_text(name, limit_bytes): _truncate_value(value, limit_bytes)
            for name, value in witness.attributes.items()
        },
    )


def _truncate_value(value: Scalar, limit_bytes: int) -> Scalar:
    return truncate_text(value, limit_bytes) if isinstance(value, str) else value


def _truncate_list(texts: tuple[str, ...], limit_bytes: int) -> tuple[str, ...]:
    return tuple(truncate_text(text, limit_bytes) for text in texts[:LIST_ITEMS])


def truncate_text(text: str, limit_bytes: int) -> str:
    """Truncate a text to `limit_bytes` of UTF-8, with a mark at its end if it was longer.

    >>> truncate_text("grün ist die Heide", 12), truncate_text("grün", 12)
    ('grü…[cut]', 'grün')
    """
    encoded = text.encode()
    if len(encoded) <= limit_bytes:
        return text
    return encoded[: limit_bytes - len(TRUNCATION_MARK.encode())].decode(errors="ignore") + TRUNCATION_MARK
