"""Records that could not be read."""

from __future__ import annotations

from topics.records.dead_letters import REASON_LIMIT_BYTES, VALUE_LIMIT_BYTES, letter

KAFKA_DEFAULT_LIMIT_BYTES = 1_048_588


def test_letter_keeps_the_record_and_says_where_it_was() -> None:
    """A dead letter has the record's bytes, the reason, and the place in the source."""
    dead = letter(b"\x00junk", reason="no protobuf", topic="otlp_spans", partition=3, offset=41)

    assert (dead.key, dead.value, dead.headers) == (
        b"otlp_spans-3",
        b"\x00junk",
        [("reason", b"no protobuf"), ("topic", b"otlp_spans"), ("partition", b"3"), ("offset", b"41")],
    )


def test_letter_of_a_record_at_the_limit_is_whole() -> None:
    """A value of exactly the limit is not cut."""
    dead = letter(bytes(VALUE_LIMIT_BYTES), reason="", topic="t", partition=0, offset=0)

    assert (len(dead.value), "truncated" in dict(dead.headers)) == (VALUE_LIMIT_BYTES, False)


def test_letter_of_a_long_record_is_cut_and_says_how_long_it_was() -> None:
    """A longer value is cut, and its length is in the header `truncated`."""
    dead = letter(bytes(VALUE_LIMIT_BYTES + 1), reason="", topic="t", partition=0, offset=0)

    assert (len(dead.value), dict(dead.headers)["truncated"]) == (VALUE_LIMIT_BYTES, b"900001")


def test_letter_fits_kafkas_default_limit_whatever_the_record() -> None:
    """The longest possible dead letter is smaller than what a topic takes by default."""
    dead = letter(bytes(2 << 20), reason="é" * (1 << 20), topic="t" * 249, partition=2**31 - 1, offset=2**63 - 1)

    headers_bytes = sum(len(name) + len(value or b"") for name, value in dead.headers)
    assert len(dict(dead.headers)["reason"] or b"") == REASON_LIMIT_BYTES
    assert len(dead.key) + len(dead.value) + headers_bytes + 1024 < KAFKA_DEFAULT_LIMIT_BYTES


def test_letter_of_a_record_without_value_is_empty() -> None:
    """A record without a value still has its dead letter."""
    dead = letter(None, reason="no value", topic="t", partition=0, offset=0)

    assert dead.value == b""


def test_letter_takes_a_reason_that_is_no_text() -> None:
    """A reason with a lone surrogate, as a broken string gives, is kept as far as it can be."""
    dead = letter(b"", reason="bad \udc80 byte", topic="t", partition=0, offset=0)

    assert dict(dead.headers)["reason"] == b"bad ? byte"
