"""`encode_within_limit(finding, limit_bytes, encode)`: encodes a finding, or as much of it as the limit allows.

In: a finding and the function that writes it in some format. Out: its bytes, never more than the limit. Witnesses are
left out first, the last ones first; then long texts and lists are cut. The writer is told how long the whole is, so
that the signal can say that something is missing.
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
"""Limits of one text, tried in turn. Under the last one a finding without witnesses is always shorter than 400 KiB: 200
list items and ten other texts, each up to six times as long in JSON, where a control character takes six bytes."""

LIST_ITEMS = 20

Encode: TypeAlias = Callable[[Finding, int | None], bytes]
"""Writes a finding; the second argument is its length in bytes before anything was left out, None when it is whole."""


def encode_within_limit(finding: Finding, limit_bytes: int, encode: Encode) -> bytes:
    """The finding as `encode` writes it, in at most `limit_bytes` when that is 400 KiB or more."""
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
    """As many witnesses as fit, from the first on. It is still too long when it is so without any."""

    def with_first(count: int) -> bytes:
        return encode(replace(finding, witnesses=finding.witnesses[:count]), whole_bytes)

    counts = range(1, len(finding.witnesses) + 1)
    return with_first(bisect_left(counts, True, key=lambda count: len(with_first(count)) > limit_bytes))  # noqa: FBT003


def truncate_texts(finding: Finding, limit_bytes: int) -> Finding:
    """The finding with every text at most `limit_bytes` long and every list at most 20; its uid stays what it was."""
    return replace(
        finding,
        rule=_truncate_rule(finding.rule, limit_bytes),
        missing=_truncate_list(finding.missing, limit_bytes),
        present=_truncate_list(finding.present, limit_bytes),
        witnesses=tuple(_truncate_witness(witness, limit_bytes) for witness in finding.witnesses),
        sources=finding.sources[:LIST_ITEMS],
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
    """Text of at most `limit_bytes` in UTF-8, with a mark at its end when it was longer.

    >>> truncate_text("grün ist die Heide", 12), truncate_text("grün", 12)
    ('grü…[cut]', 'grün')
    """
    encoded = text.encode()
    if len(encoded) <= limit_bytes:
        return text
    return encoded[: limit_bytes - len(TRUNCATION_MARK.encode())].decode(errors="ignore") + TRUNCATION_MARK
