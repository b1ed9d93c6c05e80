"""Configures authentication and encryption for connections to the brokers.

In: settings. Out: the librdkafka settings for TLS and SASL. `streams.sessions.credentials` builds what Faust's client
takes instead. A secret comes from a file or the environment, never from a command line, which every user of a machine
can read; no log line or message contains it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from streams.errors import ConfigError

PASSWORD_VARIABLE = "BETRACE_SASL_PASSWORD"  # noqa: S105, the name of a variable
MOST_PASSWORD_BYTES = 65_536


class Protocol(Enum):
    """The security protocol spoken with the brokers."""

    PLAINTEXT = "PLAINTEXT"
    SSL = "SSL"
    SASL_PLAINTEXT = "SASL_PLAINTEXT"
    SASL_SSL = "SASL_SSL"

    @property
    def has_sasl(self) -> bool:
        """Whether clients authenticate with SASL."""
        return self in {Protocol.SASL_PLAINTEXT, Protocol.SASL_SSL}

    @property
    def has_tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self in {Protocol.SSL, Protocol.SASL_SSL}


class Mechanism(Enum):
    """The SASL mechanism; OAUTHBEARER obtains a token with the client id and secret."""

    PLAIN = "PLAIN"
    SCRAM_SHA_256 = "SCRAM-SHA-256"
    SCRAM_SHA_512 = "SCRAM-SHA-512"
    OAUTHBEARER = "OAUTHBEARER"


@dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """The connection security of every client; by default plaintext without authentication.

    `username` and `password` are the SASL credentials or, with OAUTHBEARER, the client id and secret for `token_url`.
    The files are PEM; without `ca_file` the system's certificate authorities are trusted.
    """

    protocol: Protocol = Protocol.PLAINTEXT
    mechanism: Mechanism = Mechanism.SCRAM_SHA_512
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    token_url: str | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    def __post_init__(self) -> None:
        """Validate the options against each other.

        Raises:
            ConfigError: an option is missing or does not apply; the message names it.
        """
        if self.protocol.has_sasl:
            self._check_sasl()
        elif self.username is not None:
            raise ConfigError(
                f"--sasl-username does not apply to --security-protocol {self.protocol.value}: use SASL_SSL"
            )
        files = {"--ssl-ca-file": self.ca_file, "--ssl-cert-file": self.cert_file, "--ssl-key-file": self.key_file}
        for option, path in files.items():
            _check_file(option, path, self.protocol)
        if (self.cert_file is None) != (self.key_file is None):
            raise ConfigError("--ssl-cert-file and --ssl-key-file belong together: give both or neither")

    def client(self) -> Mapping[str, str]:
        """Return the librdkafka settings.

        >>> Security().client()
        {}
        >>> Security(protocol=Protocol.SASL_SSL, username="ingest", password="x").client()["sasl.username"]
        'ingest'
        """
        if self.protocol is Protocol.PLAINTEXT:
            return {}
        files = {
            "ssl.ca.location": self.ca_file,
            "ssl.certificate.location": self.cert_file,
            "ssl.key.location": self.key_file,
        }
        options = {name: str(path) for name, path in files.items() if path is not None}
        return {"security.protocol": self.protocol.value, **options, **self._sasl()}

    def _sasl(self) -> Mapping[str, str]:
        if not self.protocol.has_sasl:
            return {}
        user, password = self.username or "", self.password or ""
        if self.mechanism is not Mechanism.OAUTHBEARER:
            return {"sasl.mechanism": self.mechanism.value, "sasl.username": user, "sasl.password": password}
        ca_file = {} if self.ca_file is None else {"https.ca.location": str(self.ca_file)}
        return {
            "sasl.mechanism": self.mechanism.value,
            "sasl.oauthbearer.method": "oidc",
            "sasl.oauthbearer.client.id": user,
            "sasl.oauthbearer.client.secret": password,
            "sasl.oauthbearer.token.endpoint.url": self.token_url or "",
            **ca_file,
        }

    def _check_sasl(self) -> None:
        if not self.username:
            raise ConfigError(f"--security-protocol {self.protocol.value} needs --sasl-username")
        if not self.password:
            raise ConfigError(
                f"--security-protocol {self.protocol.value} needs --sasl-password-file, or {PASSWORD_VARIABLE} in the "
                "environment"
            )
        if (self.mechanism is Mechanism.OAUTHBEARER) != (self.token_url is not None):
            raise ConfigError("--sasl-mechanism OAUTHBEARER and --sasl-token-url belong together: give both or neither")


def read_password(path: Path | None) -> str | None:
    """Return the password in a file, without the line ending, or else in the environment; None if there is neither.

    Raises:
        ConfigError: the file cannot be read; the message names the file and never quotes its content.
    """
    if path is None:
        return os.environ.get(PASSWORD_VARIABLE) or None
    try:
        with path.open("rb") as file:
            password = file.read(MOST_PASSWORD_BYTES + 1).decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise ConfigError(f"--sasl-password-file {path} is not UTF-8 text") from None
    except OSError as error:
        raise ConfigError(f"--sasl-password-file {path} cannot be read: {error.strerror}") from error
    if not password or len(password) > MOST_PASSWORD_BYTES or "\n" in password:
        raise ConfigError(f"--sasl-password-file {path} must contain exactly one line, the password")
    return password


def _check_file(option: str, path: Path | None, protocol: Protocol) -> None:
    if path is None:
        return
    if not protocol.has_tls:
        raise ConfigError(f"{option} does not apply to --security-protocol {protocol.value}: use SSL or SASL_SSL")
    if not os.access(path, os.R_OK) or not path.is_file():
        raise ConfigError(f"{option} {path} cannot be read")


NO_SECURITY = Security()
