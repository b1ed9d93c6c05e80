"""How clients show who they are, and how they know the brokers.

In: settings. Out: librdkafka's settings for them. What Faust's client takes instead is made in
`streams.sessions.credentials`. A secret comes from a file or the environment, never from a command line, which every
user of a machine can read; it is shown nowhere.
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
    """What is spoken to the brokers."""

    PLAINTEXT = "PLAINTEXT"
    SSL = "SSL"
    SASL_PLAINTEXT = "SASL_PLAINTEXT"
    SASL_SSL = "SASL_SSL"

    @property
    def has_sasl(self) -> bool:
        """A client says who it is by SASL."""
        return self in {Protocol.SASL_PLAINTEXT, Protocol.SASL_SSL}

    @property
    def has_tls(self) -> bool:
        """The connection is encrypted."""
        return self in {Protocol.SSL, Protocol.SASL_SSL}


class Mechanism(Enum):
    """How a client says who it is; OAUTHBEARER by a token that it gets with its client id and secret."""

    PLAIN = "PLAIN"
    SCRAM_SHA_256 = "SCRAM-SHA-256"
    SCRAM_SHA_512 = "SCRAM-SHA-512"
    OAUTHBEARER = "OAUTHBEARER"


@dataclass(frozen=True, slots=True)
class Security:
    """What every client of the cluster needs; the default is a cluster that asks for nothing.

    `username` and `password` are a user's, or with OAUTHBEARER a client's id and secret for `token_url`. The files are
    PEM; without `ca_file` the system's certificate authorities are trusted.
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
        """Refuses what cannot work.

        Raises:
            ConfigError: names the option that is missing or of no use.
        """
        if self.protocol.has_sasl:
            self._check_sasl()
        elif self.username is not None:
            raise ConfigError(
                f"--sasl-username is of no use with --security-protocol {self.protocol.value}: SASL_SSL makes use of it"
            )
        files = {"--ssl-ca-file": self.ca_file, "--ssl-cert-file": self.cert_file, "--ssl-key-file": self.key_file}
        for option, path in files.items():
            _check_file(option, path, self.protocol)
        if (self.cert_file is None) != (self.key_file is None):
            raise ConfigError("--ssl-cert-file and --ssl-key-file belong together: give both or none")

    def client(self) -> Mapping[str, str]:
        """Settings of librdkafka.

        >>> Security().client()
        {}
        >>> Security(Protocol.SASL_SSL, username="ingest", password="x").client()["sasl.username"]
        'ingest'
        """
        if self.protocol is Protocol.PLAINTEXT:
            return {}
        files = {
            "ssl.ca.location": self.ca_file,
            "ssl.certificate.location": self.cert_file,
            "ssl.key.location": self.key_file,
        }
        found = {name: str(path) for name, path in files.items() if path is not None}
        return {"security.protocol": self.protocol.value, **found, **self._sasl()}

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
            raise ConfigError("--sasl-mechanism OAUTHBEARER and --sasl-token-url belong together: give both or none")


def read_password(path: Path | None) -> str | None:
    """The password in a file, without the line's end, or else in the environment; None when there is neither.

    Raises:
        ConfigError: the file cannot be read; the message says where it is, and nothing of what is in it.
    """
    if path is None:
        return os.environ.get(PASSWORD_VARIABLE) or None
    try:
        with path.open("rb") as file:
            found = file.read(MOST_PASSWORD_BYTES + 1).decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise ConfigError(f"--sasl-password-file {path} holds no text") from None
    except OSError as error:
        raise ConfigError(f"--sasl-password-file {path} cannot be read: {error.strerror}") from error
    if not found or len(found) > MOST_PASSWORD_BYTES or "\n" in found:
        raise ConfigError(f"--sasl-password-file {path} must hold one line, the password")
    return found


def _check_file(option: str, path: Path | None, protocol: Protocol) -> None:
    if path is None:
        return
    if not protocol.has_tls:
        raise ConfigError(f"{option} is of no use with --security-protocol {protocol.value}: SSL or SASL_SSL is")
    if not os.access(path, os.R_OK) or not path.is_file():
        raise ConfigError(f"{option} {path} cannot be read")


NO_SECURITY = Security()
