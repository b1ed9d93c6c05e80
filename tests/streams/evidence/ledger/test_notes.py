"""Tests signed notes: they equal Go's, and no byte can change undetected."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.evidence.ledger import notes
from streams.evidence.ledger.notes import Algorithm, NoteError, Signer, Verifier
from tests.support.gotools import GoMissingError, gonote

# The key pair and the note of the documentation of golang.org/x/mod/sumdb/note.
GO_PRIVATE = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
GO_PUBLIC = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_TEXT = (
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"  # the text
)
GO_NOTE = (
    GO_TEXT
    + "\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
TEXT = "example.com/log\n1\nAAAA\n"

log_key = Signer.generated("example.com/log")
witness_key = Signer.generated("witness.example", Algorithm.COSIGNATURE_V1)


def test_signature_equals_that_of_go() -> None:
    """The documentation's key signs the documentation's text with the documentation's signature."""
    note = notes.sign(GO_TEXT, [Signer.decode(GO_PRIVATE)])

    assert GO_NOTE.encode() == note.encode()


def test_a_key_is_written_as_go_writes_it() -> None:
    """Keys are read and written in Go's form, and the public one follows from the private."""
    signer = Signer.decode(GO_PRIVATE)

    assert GO_PRIVATE == signer.encode()
    assert GO_PUBLIC == signer.verifier().encode()
    assert GO_PUBLIC == Verifier.decode(GO_PUBLIC).encode()


def test_a_note_of_go_verifies() -> None:
    """A note that Go signed is found signed by its key."""
    verifier = Verifier.decode(GO_PUBLIC)

    signed_by = notes.verified(notes.decode(GO_NOTE.encode()), [log_key.verifier(), verifier])

    assert [verifier] == signed_by


@pytest.mark.go
def test_go_verifies_our_notes_and_we_its() -> None:
    """Go's package opens what is signed here, and what Go signs with the same key is the same note."""
    note = notes.sign(TEXT, [log_key]).encode()

    try:
        opened = gonote("verify", log_key.verifier().encode(), text=note)
        signed = gonote("sign", log_key.encode(), text=TEXT.encode())
    except GoMissingError as error:
        pytest.skip(str(error))

    assert (TEXT.encode(), b"") == (opened.stdout, opened.stderr)
    assert note == signed.stdout


@pytest.mark.go
def test_go_opens_a_cosigned_note() -> None:
    """A witness's signature does not prevent Go from verifying the log's."""
    note = notes.cosign(notes.sign(TEXT, [log_key]), witness_key, 1_700_000_000).encode()

    try:
        opened = gonote("verify", log_key.verifier().encode(), text=note)
    except GoMissingError as error:
        pytest.skip(str(error))

    assert (TEXT.encode(), b"") == (opened.stdout, opened.stderr)


def test_a_cosignature_has_its_time() -> None:
    """A witness signs the text with the time, and verification returns the time."""
    note = notes.cosign(notes.sign(TEXT, [log_key]), witness_key, 1_700_000_000)

    time_s = witness_key.verifier().verify(TEXT, note.signatures[1])

    assert time_s == 1_700_000_000
    assert [log_key.verifier(), witness_key.verifier()] == notes.verified(
        note, [witness_key.verifier(), log_key.verifier()]
    )


def test_a_cosignature_covers_its_time() -> None:
    """A time other than the signed one is refused."""
    signature = witness_key.sign(TEXT, 5)
    later = notes.Signature(signature.name, signature.key_id, (6).to_bytes(8, "big") + signature.data[8:])

    with pytest.raises(NoteError, match="is invalid"):
        witness_key.verifier().verify(TEXT, later)


@pytest.mark.parametrize(("signer", "time_s"), [(log_key, 5), (witness_key, None)])
def test_only_a_witness_signs_with_the_time(signer: Signer, time_s: int | None) -> None:
    """A log's key is never used for a cosignature, nor a witness's for a log."""
    with pytest.raises(ValueError, match="a witness signs with the time"):
        signer.sign(TEXT, time_s)


def test_every_changed_byte_is_found() -> None:
    """With any single bit of a cosigned note flipped, it is not a note, or not signed by its keys."""
    content = notes.cosign(notes.sign(TEXT, [log_key]), witness_key, 1).encode()
    keys = [log_key.verifier(), witness_key.verifier()]
    unseen = []

    for at in range(len(content)):
        for bit in range(8):
            changed = content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :]
            try:
                if notes.verified(notes.decode(changed), keys) == keys:
                    unseen.append((at, bit))
            except NoteError:
                continue

    assert [] == unseen


@given(st.binary(max_size=200))
def test_any_bytes_are_a_note_or_refused(content: bytes) -> None:
    """Any input is either encoded again unchanged, or a `NoteError`."""
    try:
        note = notes.decode(content)
    except NoteError:
        return
    assert content == note.encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"text\n",
        b"text\n\n",
        b"text\n\nno signature\n",
        "text\n\n— name AAAAAAA=".encode(),
        "text\n\n— name AAAA\n".encode(),
        "te\rxt\n\n— name AAAAAAA=\n".encode(),
        "\n\n— name AAAAAAA=\n".encode(),
        "text\n\n— name AAAAAAB=\n".encode(),
        "text\n\n— na+me AAAAAAA=\n".encode(),
        ("text\n\n" + "— name AAAAAAA=\n" * 101).encode(),
        b"\xff\n\n\xe2\x80\x94 name AAAAAAA=\n",
    ],
)
def test_invalid_note(content: bytes) -> None:
    """A note that is not in canonical form is refused."""
    with pytest.raises(NoteError):
        notes.decode(content)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb"])
def test_invalid_key_name(name: str) -> None:
    """A name that would make a line of a note ambiguous is refused."""
    with pytest.raises(NoteError, match="not a valid key name"):
        Signer.generated(name)


@pytest.mark.parametrize(
    "line",
    ["", "PeterNeumann", GO_PUBLIC.replace("c74f20a3", "c74f20a4"), GO_PUBLIC[:-4], GO_PUBLIC.replace("+AR", "+CR")],
)
def test_invalid_public_key(line: str) -> None:
    """A damaged public key is refused."""
    with pytest.raises(NoteError):
        Verifier.decode(line)


@pytest.mark.parametrize("line", ["", GO_PUBLIC, GO_PRIVATE.replace("c74f20a3", "c74f20a4"), GO_PRIVATE[:-4]])
def test_invalid_private_key(line: str) -> None:
    """A damaged private key is refused, and not shown."""
    with pytest.raises(NoteError) as raised:
        Signer.decode(line)

    assert "AYEKFALV" not in str(raised.value)
