"""Defines attribute values as facts, audit records and signals carry them, and truncates long ones."""

from __future__ import annotations

from hashlib import sha256

Scalar = str | bool | int | float | None

TRUNCATED_KEY = "betrace.cut"
"""The name of the attribute that replaces omitted ones; its value is a digest of them."""

_DIGEST_CHARS = 16


def digest(content: bytes) -> str:
    """Return the first 8 bytes of the SHA-256, in hex; whoever has the content can recognise it by this digest."""
    return sha256(content).hexdigest()[:_DIGEST_CHARS]


def truncate_with_digest(text: str, limit_bytes: int) -> str:
    """Truncate a text of more than `limit_bytes` to that size, including a mark with the digest of the complete text.

    >>> truncate_with_digest("x" * 100, 40), truncate_with_digest("short", 40)
    ('xxxxxxxx…[cut sha256:09ecb6ebc8bcefc7]', 'short')
    """
    if len(text) * 4 <= limit_bytes:
        return text
    encoded = text.encode(errors="replace")
    if len(encoded) <= limit_bytes:
        return text
    mark = f"…[cut sha256:{digest(encoded)}]"
    return encoded[: limit_bytes - len(mark.encode())].decode(errors="ignore") + mark
