"""Dead letters: source records that could not be read."""

from __future__ import annotations

import hashlib

import pytest

from topics.errors import Refusal, RefusalReason
from topics.records import sealed_box
from topics.records.dead_letters import REASON_LIMIT_BYTES, VALUE_LIMIT_BYTES, DeadLetter, content, letter
from topics.records.sealed_box import BoxError

KAFKA_DEFAULT_LIMIT_BYTES = 1_048_588
PRIVATE, PUBLIC = sealed_box.generate()
KEY = sealed_box.read_public_key(PUBLIC)
EMPTY = Refusal(RefusalReason.EMPTY)


def headers(dead: DeadLetter) -> dict[str, str]:
    """Return the headers as text."""
    return {name: value.decode() for name, value in dead.headers if isinstance(value, bytes)}


def test_dead_letter_identifies_the_record() -> None:
    """A dead letter has the reason, the position, the length and the hash of the record, and none of its bytes."""
    dead = letter(b"\x00junk", refusal=Refusal(RefusalReason.NOT_PROTOBUF), topic="otlp_spans", partition=3, offset=41)

    assert (b"otlp_spans-3", None) == (dead.key, dead.value)
    assert {
        "reason": "not protobuf",
        "topic": "otlp_spans",
        "partition": "3",
        "offset": "41",
        "length": "5",
        "sha256": hashlib.sha256(b"\x00junk").hexdigest(),
    } == headers(dead)


def test_dead_letter_of_a_tombstone_has_no_length() -> None:
    """A tombstone differs from an empty record."""
    dead = letter(None, refusal=EMPTY, topic="t", partition=0, offset=0, public_key=KEY)

    assert dead.value is None
    assert not {"length", "sha256", "encryption"} & headers(dead).keys()


@pytest.mark.parametrize("size_bytes", [0, 1, VALUE_LIMIT_BYTES, VALUE_LIMIT_BYTES + 1])
def test_only_the_key_opens_the_bytes(size_bytes: int) -> None:
    """The key opens the record's bytes, up to the limit; the message does not contain them in the clear."""
    value = bytes(at % 251 for at in range(size_bytes))

    dead = letter(value, refusal=EMPTY, topic="t", partition=0, offset=7, public_key=KEY)

    assert value[:VALUE_LIMIT_BYTES] == content(dead.value or b"", headers(dead), sealed_box.read_private_key(PRIVATE))
    assert str(size_bytes) == headers(dead)["length"]
    assert (size_bytes > VALUE_LIMIT_BYTES) == ("truncated" in headers(dead))
    assert size_bytes < 16 or value[:16] not in (dead.value or b"")


def test_bytes_are_bound_to_their_position() -> None:
    """A box under the headers of another dead letter, or with another scheme, cannot be opened."""
    dead = letter(b"junk", refusal=EMPTY, topic="t", partition=0, offset=7, public_key=KEY)
    private = sealed_box.read_private_key(PRIVATE)

    for other in ({"offset": "8"}, {"topic": "u"}, {"encryption": "rot13"}):
        with pytest.raises(BoxError):
            content(dead.value or b"", headers(dead) | other, private)


@pytest.mark.parametrize("public_key", [None, KEY], ids=["position", "sealed_bytes"])
def test_every_dead_letter_fits_kafkas_default_limit(public_key: bytes | None) -> None:
    """The largest possible dead letter is below a topic's default limit."""
    dead = letter(
        bytes(2 << 20),
        refusal=Refusal(RefusalReason.NOT_JSON, "é" * (1 << 20)),
        topic="t" * 249,
        partition=2**31 - 1,
        offset=2**63 - 1,
        public_key=public_key,
    )

    headers_bytes = sum(len(name) + len(value or b"") for name, value in dead.headers)
    assert len(dict(dead.headers)["reason"] or b"") == REASON_LIMIT_BYTES
    assert len(dead.key) + len(dead.value or b"") + headers_bytes + 1024 < KAFKA_DEFAULT_LIMIT_BYTES


def test_reason_with_a_lone_surrogate() -> None:
    """A reason with a lone surrogate, from a damaged string, is kept as far as possible."""
    dead = letter(b"", refusal=Refusal(RefusalReason.NOT_JSON, "bad \udc80 byte"), topic="t", partition=0, offset=0)

    assert dict(dead.headers)["reason"] == b"not json: bad ? byte"
