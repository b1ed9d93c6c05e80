"""`betrace.dead_letters`: the source records that could not be read, and why.

    key      source topic and partition
    headers  `reason`, `topic`, `partition`, `offset`; for a record with a value also `length` and `sha256`
    value    none, unless the operator gave a key: then the record's bytes in a sealed box
             (`topics.records.sealed_box`), with `encryption` in the headers, and with `truncated`, the number of bytes
             in the box, if it does not hold all of them

BeTrace cannot redact what it cannot read, so it never stores those bytes in the clear. Position, length and hash
identify the record on its source topic for as long as that topic retains it.

In: a source record and why it could not be read. Out: a dead letter. Only source records become dead letters: a facts
message that cannot be read stops the program, because it holds a complete flush.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from topics.errors import Refusal
from topics.records import sealed_box
from topics.records.sealed_box import BoxError

VALUE_LIMIT_BYTES = 900_000
REASON_LIMIT_BYTES = 10_000

_TOPIC = re.compile(r"[a-zA-Z0-9._-]{1,249}", re.ASCII)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message of `betrace.dead_letters`, as the module docstring describes it."""

    key: bytes
    value: bytes | None
    headers: list[tuple[str, str | bytes | None]]


def letter(
    value: bytes | None, *, refusal: Refusal, topic: str, partition: int, offset: int, public_key: bytes | None = None
) -> DeadLetter:
    """Build the dead letter of the record at `offset`, small enough for Kafka's default message limit.

    With a `public_key` (`sealed_box.read_public_key`) it holds the record's bytes, readable only with the private key.

    >>> from topics.errors import RefusalReason
    >>> letter(b"junk", refusal=Refusal(RefusalReason.NOT_PROTOBUF), topic="otlp_spans", partition=3, offset=7).key
    b'otlp_spans-3'
    """
    headers: list[tuple[str, str | bytes | None]] = [
        ("reason", str(refusal).encode(errors="replace")[:REASON_LIMIT_BYTES]),
        ("topic", topic.encode()),
        ("partition", str(partition).encode()),
        ("offset", str(offset).encode()),
    ]
    box = None
    if value is not None:
        headers += [("length", str(len(value)).encode()), ("sha256", hashlib.sha256(value).hexdigest().encode())]
        if public_key is not None:
            box = sealed_box.seal(value[:VALUE_LIMIT_BYTES], _context(topic, partition, offset), public_key)
            headers.append(("encryption", sealed_box.SCHEME.encode()))
            if len(value) > VALUE_LIMIT_BYTES:
                headers.append(("truncated", str(VALUE_LIMIT_BYTES).encode()))
    return DeadLetter(f"{topic}-{partition}".encode(), box, headers)


def content(value: bytes, headers: Mapping[str, str], private_key: X25519PrivateKey) -> bytes:
    """Open the value of a dead letter with these headers; return the record's bytes, or the first of them.

    Raises:
        BoxError: the box is sealed for another key, or was changed.
    """
    if headers.get("encryption") != sealed_box.SCHEME:
        raise BoxError(f"it is sealed with {headers.get('encryption')}, this program supports {sealed_box.SCHEME}")
    context = "-".join(headers.get(name, "") for name in ("topic", "partition", "offset"))
    return sealed_box.unseal(value, context.encode(), private_key)


def is_topic(name: str) -> bool:
    """Return whether a topic may have this name, so that it is safe as part of a file name.

    >>> is_topic("otlp_spans"), is_topic("../etc/passwd")
    (True, False)
    """
    return _TOPIC.fullmatch(name) is not None


def _context(topic: str, partition: int, offset: int) -> bytes:
    return f"{topic}-{partition}-{offset}".encode()
