"""Redacts attribute values before anything is written to facts.

In: `NAME=hash|drop|mask` as the operator sets it, and the key. Out: attributes as they may be published. Rules are
judged on the original values; what leaves ingest, and so every signal, has the redacted ones.

    hash   `hmac-sha256:` and the HMAC-SHA256 of the value as text, in hex: equal values stay equal, whatever the
           attribute, and only the owner of the key can find out the value
    drop   the attribute is removed
    mask   `[masked]`: shows that there was a value, and nothing of it
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import msgspec

from dsl.judge.keys import HASH_BYTES, HashFunction, key_hash
from dsl.judge.span import Value
from streams.errors import ConfigError

MASK = "[masked]"
HASHED = "hmac-sha256:"

KEY_VARIABLE = "BETRACE_REDACT_KEY"
KEY_BYTES = 16
"""The minimum length of a key; a shorter one could be guessed."""


class Treatment(Enum):
    """How a value is redacted."""

    HASH = "hash"
    DROP = "drop"
    MASK = "mask"


@dataclass(frozen=True, slots=True)
class Redaction:
    """The treatment of each attribute by name, and the key of the hashes; the key is never shown.

    The constructor raises `ConfigError` when a hash is requested and the key is missing or too short.
    """

    treatments: Mapping[str, Treatment] = field(default_factory=dict)
    key: bytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Refuse hashes that anybody could reverse by guessing."""
        if Treatment.HASH not in self.treatments.values():
            return
        if self.key is None:
            raise ConfigError(f"--redact with hash requires a key: set {KEY_VARIABLE}, or --redact-key-file")
        if len(self.key) < KEY_BYTES:
            raise ConfigError(f"the redaction key has {len(self.key)} bytes, but must have at least {KEY_BYTES}")

    def redacted(self, attributes: Mapping[str, Value]) -> dict[str, Value]:
        """Return the redacted attributes, in their order.

        >>> Redaction({"user.id": Treatment.MASK, "ssn": Treatment.DROP}).redacted({"user.id": 7, "ssn": 1, "a": 2})
        {'user.id': '[masked]', 'a': 2}
        """
        if not self.treatments or self.treatments.keys().isdisjoint(attributes):
            return dict(attributes)
        kept = {name: value for name, value in attributes.items() if self.treatments.get(name) is not Treatment.DROP}
        return {name: self.value(name, value) for name, value in kept.items()}

    def key_hash(self, *names: str) -> HashFunction | None:
        """Return the hash function for values that pairs compare, of attributes looked up as `names` below any subject.

        If one of these attributes is redacted, the hash is keyed, so that only the owner of the key can find out the
        value. Without a key the result is None: the value must not leave in any form, and cannot be compared.
        """
        if not any(map(self.is_redacted, names)):
            return key_hash
        if self.key is None:
            return None
        secret = hashlib.sha256(self.key).digest()
        return lambda text: hashlib.blake2b(text.encode(), digest_size=HASH_BYTES, key=secret).digest()

    def is_redacted(self, name: str) -> bool:
        """Return whether any attribute that is looked up as `name` below any subject is redacted."""
        return any(redacted == name or redacted.endswith(f".{name}") for redacted in self.treatments)

    def value(self, name: str, value: Value) -> Value:
        """Return the redacted value of attribute `name`; None when it is dropped, or was None."""
        treatment = self.treatments.get(name)
        if treatment is None or value is None:
            return value
        if treatment is Treatment.DROP:
            return None
        text = None if treatment is Treatment.MASK else _text(value)
        return MASK if text is None or self.key is None else HASHED + _hmac(self.key, text)


def _hmac(key: bytes, text: str) -> str:
    return hmac.new(key, text.encode(errors="replace"), hashlib.sha256).hexdigest()


def _text(value: Value) -> str | None:
    """Return the text of which the hash is taken: a text itself, anything else as JSON, so 17 and "17" are equal.

    None for a value that JSON cannot represent.
    """
    if isinstance(value, str):
        return value
    try:
        return msgspec.json.encode(value, order="deterministic").decode()
    except (RecursionError, OverflowError, UnicodeEncodeError):
        return None


NOT_REDACTED = Redaction()


def treatments(text: str) -> dict[str, Treatment]:
    """Parse the treatments in `NAME=hash,NAME=drop`.

    Raises:
        ConfigError: an entry is invalid, or a name has two treatments.

    >>> treatments("user.id=hash, client.address=mask")
    {'user.id': <Treatment.HASH: 'hash'>, 'client.address': <Treatment.MASK: 'mask'>}
    """
    parsed: dict[str, Treatment] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, treatment = part.rpartition("=")
        if not name or treatment not in {each.value for each in Treatment}:
            raise ConfigError(f"{part!r} is not a redaction: write NAME=hash, NAME=drop or NAME=mask")
        if name in parsed:
            raise ConfigError(f"{name} is redacted twice: keep one of the two")
        parsed[name] = Treatment(treatment)
    return parsed


def read_key(path: Path | None) -> bytes | None:
    """Read the key: the file without its final line break, else the environment variable; None when neither is set.

    Raises:
        ConfigError: the file cannot be read.
    """
    if path is None:
        key = os.environ.get(KEY_VARIABLE)
        return None if key is None else key.encode(errors="surrogateescape")
    try:
        return path.read_bytes().rstrip(b"\r\n")
    except OSError as error:
        raise ConfigError(f"the redaction key cannot be read: {error}") from error
