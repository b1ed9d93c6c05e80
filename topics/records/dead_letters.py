"""`betrace.dead_letters`: the source records that could not be read, as they were.

In: a source record and why it could not be read. Out: the message that keeps it. Nothing else goes here: facts that
cannot be read stop the program, because a message of facts holds a whole flush.
"""

from __future__ import annotations

from dataclasses import dataclass

VALUE_LIMIT_BYTES = 900_000
REASON_LIMIT_BYTES = 10_000


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message of `betrace.dead_letters`.

    `value` is empty when the record had none. The headers are `reason`, `topic`, `partition` and `offset` as text, and
    `truncated`, the original length in bytes, when the value was cut.
    """

    key: bytes
    value: bytes
    headers: list[tuple[str, str | bytes | None]]


def letter(value: bytes | None, *, reason: str, topic: str, partition: int, offset: int) -> DeadLetter:
    """The dead letter of the record at `offset`, small enough for Kafka's default message limit.

    >>> letter(b"junk", reason="no protobuf", topic="otlp_spans", partition=3, offset=7).key
    b'otlp_spans-3'
    """
    headers: list[tuple[str, str | bytes | None]] = [
        ("reason", reason.encode(errors="replace")[:REASON_LIMIT_BYTES]),
        ("topic", topic.encode()),
        ("partition", str(partition).encode()),
        ("offset", str(offset).encode()),
    ]
    value = value or b""
    if len(value) > VALUE_LIMIT_BYTES:
        headers.append(("truncated", str(len(value)).encode()))
    return DeadLetter(f"{topic}-{partition}".encode(), value[:VALUE_LIMIT_BYTES], headers)
