"""Seals bytes with a public key into a box that only the holder of the private key can open.

    32 bytes    an ephemeral X25519 public key, generated for this box
    the rest    ChaCha20-Poly1305 of the content, with the context as associated data

The key of the box is HKDF-SHA256 of the X25519 secret, with both public keys in its info; it is used only once, so the
nonce is zero. Keys are PEM files as OpenSSL writes them (`openssl genpkey -algorithm X25519`).

In: bytes and keys. Out: bytes. Guarantee: a box that was changed, or that has another context, cannot be opened.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

SCHEME = "x25519-hkdf-sha256-chacha20poly1305"
KEY_BYTES = 32
OVERHEAD_BYTES = KEY_BYTES + 16
_INFO = b"betrace sealed box v1"
_NONCE = bytes(12)


class BoxError(ValueError):
    """A key cannot be read, or a box cannot be opened."""


def seal(content: bytes, context: bytes, public_key: bytes) -> bytes:
    """Seal `content` for the owner of a public key (`read_public_key`)."""
    ephemeral = X25519PrivateKey.generate()
    head = ephemeral.public_key().public_bytes_raw()
    secret = ephemeral.exchange(X25519PublicKey.from_public_bytes(public_key))
    return head + _cipher(secret, head, public_key).encrypt(_NONCE, content, context)


def unseal(box: bytes, context: bytes, private_key: X25519PrivateKey) -> bytes:
    """Open a box and return its content; raises `BoxError`."""
    head = box[:KEY_BYTES]
    try:
        secret = private_key.exchange(X25519PublicKey.from_public_bytes(head))
        return _cipher(secret, head, private_key.public_key().public_bytes_raw()).decrypt(
            _NONCE, box[KEY_BYTES:], context
        )
    except (InvalidTag, ValueError) as error:
        raise BoxError("the box is not sealed for this key, or was changed") from error


def generate() -> tuple[bytes, bytes]:
    """Generate a private key and its public key, each as PEM."""
    key = X25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private, public


def read_public_key(pem: bytes) -> bytes:
    """Return the 32 bytes of a public key in PEM; raises `BoxError`."""
    try:
        key = serialization.load_pem_public_key(pem)
    except ValueError as error:
        raise BoxError("the file does not hold a public key in PEM") from error
    if not isinstance(key, X25519PublicKey):
        raise BoxError("the public key must be an X25519 key")
    return key.public_bytes_raw()


def read_private_key(pem: bytes) -> X25519PrivateKey:
    """Load a private key in PEM; raises `BoxError`, whose message reveals nothing of the content."""
    try:
        key = serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError):
        raise BoxError("the file does not hold a private key in PEM without a password") from None
    if not isinstance(key, X25519PrivateKey):
        raise BoxError("the private key must be an X25519 key")
    return key


def _cipher(secret: bytes, ephemeral: bytes, public_key: bytes) -> ChaCha20Poly1305:
    info = _INFO + ephemeral + public_key
    return ChaCha20Poly1305(HKDF(SHA256(), length=KEY_BYTES, salt=None, info=info).derive(secret))
