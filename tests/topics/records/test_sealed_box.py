"""Bytes that only the owner of a key can read."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topics.records import sealed_box
from topics.records.sealed_box import OVERHEAD_BYTES, BoxError

PRIVATE, PUBLIC = sealed_box.generate()
KEY, OWNER = sealed_box.read_public_key(PUBLIC), sealed_box.read_private_key(PRIVATE)


@given(st.binary(max_size=300), st.binary(max_size=30))
def test_content_round_trip(content: bytes, context: bytes) -> None:
    """Any content can be unsealed, and no two boxes of it are equal."""
    box, other = sealed_box.seal(content, context, KEY), sealed_box.seal(content, context, KEY)

    assert content == sealed_box.unseal(box, context, OWNER)
    assert len(content) + OVERHEAD_BYTES == len(box)
    assert box != other


def test_every_changed_byte_is_detected() -> None:
    """A change in the ephemeral key, the content or the tag is detected, and so is truncation."""
    box = sealed_box.seal(b"content", b"here", KEY)

    for at in range(len(box)):
        changed = bytearray(box)
        changed[at] ^= 1
        with pytest.raises(BoxError):
            sealed_box.unseal(bytes(changed), b"here", OWNER)
        with pytest.raises(BoxError):
            sealed_box.unseal(box[:at], b"here", OWNER)


def test_another_key_or_context_opens_nothing() -> None:
    """A box is sealed for one key and one context."""
    box = sealed_box.seal(b"content", b"here", KEY)

    with pytest.raises(BoxError):
        sealed_box.unseal(box, b"there", OWNER)
    with pytest.raises(BoxError):
        sealed_box.unseal(box, b"here", sealed_box.read_private_key(sealed_box.generate()[0]))


def test_invalid_key(tmp_path: Path) -> None:
    """An invalid key, or one of another kind, is refused, and the error does not reveal it."""
    other = tmp_path / "ed25519"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", other], check=True)

    for pem in (b"", b"hidden", PUBLIC, other.read_bytes()):
        with pytest.raises(BoxError) as raised:
            sealed_box.read_private_key(pem)
        assert "hidden" not in str(raised.value)
    for pem in (b"", b"hidden", PRIVATE):
        with pytest.raises(BoxError):
            sealed_box.read_public_key(pem)


def test_keys_are_those_of_openssl(tmp_path: Path) -> None:
    """A key that OpenSSL generated opens a box sealed for its public key as OpenSSL writes it."""
    key, public = tmp_path / "key", tmp_path / "pub"
    subprocess.run(["openssl", "genpkey", "-algorithm", "x25519", "-out", key], check=True)
    subprocess.run(["openssl", "pkey", "-in", key, "-pubout", "-out", public], check=True)

    box = sealed_box.seal(b"content", b"", sealed_box.read_public_key(public.read_bytes()))

    assert b"content" == sealed_box.unseal(box, b"", sealed_box.read_private_key(key.read_bytes()))
