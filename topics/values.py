"""Values of attributes, as facts, audit records and signals carry them."""

from __future__ import annotations

from hashlib import sha256

Scalar = str | bool | int | float | None

TRUNCATED_KEY = "betrace.cut"
"""An attribute in the place of others that were left out: its value is a digest of them."""

_DIGEST_CHARS = 16


def digest(content: bytes) -> str:
    """The first 8 bytes of the SHA-256, in hex: by it, who has the content can tell that it is this one."""
    return sha256(content).hexdigest()[:_DIGEST_CHARS]


def truncate_with_digest(text: str, limit_bytes: int) -> str:
    """A text of more than so many bytes is cut, with a mark and the digest of the whole; it has that many then.

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
