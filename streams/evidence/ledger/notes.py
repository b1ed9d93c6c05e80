"""Implements signed notes as C2SP `signed-note` defines them: a text, and under it a line for each signature.

    <text, ends in a newline>
    <empty line>
    — <name> <base64(key id ‖ signature)>

    key id        SHA-256(name ‖ 0x0A ‖ algorithm ‖ public key)[:4]
    algorithm 1   Ed25519 over the text
    algorithm 4   cosignature/v1 (C2SP `tlog-cosignature`), a witness's: the signature begins with the time, u64
                  seconds, and is over two lines, `cosignature/v1` and `time <seconds>`, and the text

Keys have the format of Go's golang.org/x/mod/sumdb/note, which verifies what is signed here:

    private   PRIVATE+KEY+<name>+<key id in hex>+<base64(algorithm ‖ seed)>
    public    <name>+<key id in hex>+<base64(algorithm ‖ public key)>

Notes from outside are parsed strictly: there is one encoding, so no byte can change undetected.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

LIMIT_BYTES = 1_000_000
SIGNATURES_LIMIT = 100

_PRIVATE = "PRIVATE+KEY+"
_KEY_BYTES = 32
_ID_BYTES = 4
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
_TIME = struct.Struct(">Q")
_KEY = re.compile(r"(?P<name>[^+\s]+)\+(?P<id>[0-9a-f]{8})\+(?P<data>[A-Za-z0-9+/]+=*)")
_LINE = re.compile(r"— (?P<name>[^+\s]+) (?P<data>[A-Za-z0-9+/]+=*)")


class NoteError(ValueError):
    """A key or a note is malformed, or a signature is not the key's; the message says which."""


class Algorithm(IntEnum):
    """The algorithm of a key, with the byte that its id is made of."""

    ED25519 = 1
    COSIGNATURE_V1 = 4


@dataclass(frozen=True, slots=True)
class Signature:
    """One line under a note: `data` follows the key id."""

    name: str
    key_id: bytes
    data: bytes

    def line(self) -> str:
        """Return the line under the text, its newline included."""
        return f"— {self.name} {base64.b64encode(self.key_id + self.data).decode()}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """A text, which ends in a newline, and the signatures under it, in order."""

    text: str
    signatures: tuple[Signature, ...]

    def encode(self) -> bytes:
        """Return the note in its published form."""
        return (self.text + "\n" + "".join(signature.line() for signature in self.signatures)).encode()


@dataclass(frozen=True, slots=True)
class Verifier:
    """A public key: verifies whether a signature under a text is its own."""

    name: str
    algorithm: Algorithm
    public_key: Ed25519PublicKey

    @property
    def key_id(self) -> bytes:
        """The four bytes with which a signature names its key."""
        return _key_id(self.name, self.algorithm, self.public_key.public_bytes_raw())

    def is_by(self, signature: Signature) -> bool:
        """Return whether the signature names this key."""
        return (signature.name, signature.key_id) == (self.name, self.key_id)

    def verify(self, text: str, signature: Signature) -> int | None:
        """Return the time of a cosignature in seconds, None for a log's; raises `NoteError` if it is not valid."""
        is_timed = self.algorithm is Algorithm.COSIGNATURE_V1 and len(signature.data) > _TIME.size
        time_s = _TIME.unpack_from(signature.data)[0] if is_timed else None
        try:
            self.public_key.verify(signature.data[_TIME.size if is_timed else 0 :], _signed(text, time_s))
        except InvalidSignature as error:
            raise NoteError(f"the signature of {self.name} is invalid") from error
        return time_s

    def encode(self) -> str:
        """Return the key as one line without its newline, for auditors."""
        key = base64.b64encode(bytes([self.algorithm]) + self.public_key.public_bytes_raw()).decode()
        return f"{self.name}+{self.key_id.hex()}+{key}"

    @classmethod
    def decode(cls, line: str) -> Verifier:
        """Return the inverse of `encode`; raises `NoteError`."""
        name, key_id, algorithm, raw = _read_key(line.strip())
        verifier = cls(name, algorithm, Ed25519PublicKey.from_public_bytes(raw))
        if verifier.key_id != key_id:
            raise NoteError(f"the public key of {name} is damaged: its id is not {key_id.hex()}")
        return verifier


@dataclass(frozen=True, slots=True)
class Signer:
    """A private key: a log's (`Algorithm.ED25519`) or a witness's (`Algorithm.COSIGNATURE_V1`)."""

    name: str
    algorithm: Algorithm
    private_key: Ed25519PrivateKey

    @classmethod
    def generated(cls, name: str, algorithm: Algorithm = Algorithm.ED25519) -> Signer:
        """Return a new key; `name` is the log's origin or the witness's name. Raises `NoteError` if that is invalid."""
        if not _KEY.fullmatch(f"{name}+00000000+AA=="):
            raise NoteError(
                f"{name!r} is not a valid key name: use no spaces or plus signs, such as example.com/betrace"
            )
        return cls(name, algorithm, Ed25519PrivateKey.generate())

    def verifier(self) -> Verifier:
        """Return the public key of this one."""
        return Verifier(self.name, self.algorithm, self.private_key.public_key())

    def sign(self, text: str, time_s: int | None = None) -> Signature:
        """Return the signature under `text`; a witness's needs the time in seconds, a log's is deterministic.

        Raises:
            ValueError: the time is missing, or given for a log.
        """
        if (time_s is not None) != (self.algorithm is Algorithm.COSIGNATURE_V1):
            raise ValueError("a witness signs with the time, a log without")
        signed = self.private_key.sign(_signed(text, time_s))
        return Signature(self.name, self.verifier().key_id, signed if time_s is None else _TIME.pack(time_s) + signed)

    def encode(self) -> str:
        """Return the key as one line without its newline; it is a secret."""
        key = base64.b64encode(bytes([self.algorithm]) + self.private_key.private_bytes_raw()).decode()
        return f"{_PRIVATE}{self.name}+{self.verifier().key_id.hex()}+{key}"

    @classmethod
    def decode(cls, line: str) -> Signer:
        """Return the inverse of `encode`; raises `NoteError`, whose message never contains the key."""
        text = line.strip()
        if not text.startswith(_PRIVATE):
            raise NoteError(f"a private key begins with {_PRIVATE}")
        name, key_id, algorithm, raw = _read_key(text.removeprefix(_PRIVATE))
        signer = cls(name, algorithm, Ed25519PrivateKey.from_private_bytes(raw))
        if signer.verifier().key_id != key_id:
            raise NoteError(f"the private key of {name} is damaged: its id is not {key_id.hex()}")
        return signer


def sign(text: str, signers: Iterable[Signer]) -> Note:
    """Return the text with the signature of each log key under it."""
    return Note(text, tuple(signer.sign(text) for signer in signers))


def cosign(note: Note, witness: Signer, time_s: int) -> Note:
    """Return the note with a witness's signature below the others."""
    return Note(note.text, (*note.signatures, witness.sign(note.text, time_s)))


def decode(value: bytes, expected: str | None = None) -> Note:
    """Return the note in `value` without verifying it; faster if its text equals `expected`.

    Raises:
        NoteError: it is not what `encode` would write.
    """
    prefix = f"{expected}\n".encode()
    if expected is not None and value.startswith(prefix):
        return Note(expected, _signatures(_utf8(value[len(prefix) :])))
    text, _, lines = _utf8(value).rpartition("\n\n")
    if not text or len(value) > LIMIT_BYTES:
        raise NoteError("not a signed note: it needs a text, an empty line, and signatures")
    return Note(text + "\n", _signatures(lines))


def verified(note: Note, verifiers: Iterable[Verifier]) -> list[Verifier]:
    """Return the keys whose signature is under the note, in the note's order; signatures of other keys are ignored.

    Raises:
        NoteError: a signature that names a known key is not that key's.
    """
    known = [*verifiers]
    keys = []
    for signature in note.signatures:
        for verifier in known:
            if verifier.is_by(signature):
                verifier.verify(note.text, signature)
                keys.append(verifier)
    return keys


def _signatures(lines: str) -> tuple[Signature, ...]:
    *signature_lines, rest = lines.split("\n")
    if rest or not 1 <= len(signature_lines) <= SIGNATURES_LIMIT:
        raise NoteError("not a signed note: it needs a text, an empty line, and signatures")
    return tuple(map(_signature, signature_lines))


def _signature(line: str) -> Signature:
    parts = _LINE.fullmatch(line)
    if parts is None:
        raise NoteError("a line under the note is not a signature")
    data = _base64(parts["data"])
    if len(data) <= _ID_BYTES:
        raise NoteError("a signature is too short")
    # Base64 has more than one encoding of the last bytes.
    if base64.b64encode(data).decode() != parts["data"]:
        raise NoteError("the note is not in canonical form")
    return Signature(parts["name"], data[:_ID_BYTES], data[_ID_BYTES:])


def _signed(text: str, time_s: int | None) -> bytes:
    return text.encode() if time_s is None else f"cosignature/v1\ntime {time_s}\n{text}".encode()


def _key_id(name: str, algorithm: Algorithm, public_key: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + bytes([algorithm]) + public_key).digest()[:_ID_BYTES]


def _read_key(text: str) -> tuple[str, bytes, Algorithm, bytes]:
    parts = _KEY.fullmatch(text)
    if parts is None:
        raise NoteError("not a key: it is <name>+<key id>+<base64>")
    data = _base64(parts["data"])
    if len(data) != 1 + _KEY_BYTES or data[0] not in {*Algorithm}:
        raise NoteError(f"the key of {parts['name']} has a type that this program does not know")
    return parts["name"], bytes.fromhex(parts["id"]), Algorithm(data[0]), data[1:]


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise NoteError(f"not base64: {error}") from error


def _utf8(value: bytes) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        raise NoteError(f"the note is not UTF-8: {error}") from error
    if _CONTROL.search(text):
        raise NoteError("the note has a control character")
    return text
