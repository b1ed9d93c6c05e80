"""Tests the security settings: what is refused, what clients get, and that no secret is shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from streams.config.security import MOST_PASSWORD_BYTES, Mechanism, Protocol, Security, read_password
from streams.config.settings import Settings
from streams.errors import ConfigError

SECRET = "s3cret"  # noqa: S105, of nobody
URL = "https://id.example.com/token"


def security(protocol: Protocol = Protocol.SASL_SSL, **changed: Any) -> Security:  # noqa: ANN401, each field has its own
    """Security settings with some changed."""
    usual: dict[str, Any] = {"username": "u", "password": SECRET} if protocol.has_sasl else {}
    return Security(protocol=protocol, **usual | changed)


@pytest.mark.parametrize(
    ("protocol", "changed", "message"),
    [
        (Protocol.SASL_SSL, {"username": None}, "SASL_SSL needs --sasl-username"),
        (Protocol.SASL_PLAINTEXT, {"password": None}, "needs --sasl-password-file, or BETRACE_SASL_PASSWORD"),
        (Protocol.SSL, {"username": "u"}, "--sasl-username does not apply to --security-protocol SSL"),
        (Protocol.PLAINTEXT, {"ca_file": Path("ca")}, "--ssl-ca-file does not apply to --security-protocol PLAINTEXT"),
        (Protocol.SSL, {"ca_file": Path("/nowhere")}, "--ssl-ca-file /nowhere cannot be read"),
        (Protocol.SSL, {"cert_file": Path(__file__)}, "--ssl-cert-file and --ssl-key-file belong together"),
        (Protocol.SASL_SSL, {"mechanism": Mechanism.OAUTHBEARER}, "OAUTHBEARER and --sasl-token-url belong together"),
        (Protocol.SASL_SSL, {"token_url": URL}, "OAUTHBEARER and --sasl-token-url belong together"),
    ],
)
def test_invalid_settings(protocol: Protocol, changed: dict[str, object], message: str) -> None:
    """An option that is missing or does not apply is named."""
    with pytest.raises(ConfigError, match=message):
        security(protocol, **changed)


@pytest.mark.parametrize(
    ("made", "client"),
    [
        (security(Protocol.PLAINTEXT), {}),
        (security(Protocol.SSL), {"security.protocol": "SSL"}),
        (
            security(Protocol.SSL, ca_file=Path(__file__), cert_file=Path(__file__), key_file=Path(__file__)),
            {
                "security.protocol": "SSL",
                "ssl.ca.location": __file__,
                "ssl.certificate.location": __file__,
                "ssl.key.location": __file__,
            },
        ),
        (
            security(mechanism=Mechanism.PLAIN),
            {
                "security.protocol": "SASL_SSL",
                "sasl.mechanism": "PLAIN",
                "sasl.username": "u",
                "sasl.password": SECRET,
            },
        ),
        (
            security(mechanism=Mechanism.OAUTHBEARER, token_url=URL, ca_file=Path(__file__)),
            {
                "security.protocol": "SASL_SSL",
                "ssl.ca.location": __file__,
                "sasl.mechanism": "OAUTHBEARER",
                "sasl.oauthbearer.method": "oidc",
                "sasl.oauthbearer.client.id": "u",
                "sasl.oauthbearer.client.secret": SECRET,
                "sasl.oauthbearer.token.endpoint.url": URL,
                "https.ca.location": __file__,
            },
        ),
    ],
)
def test_settings_of_clients(made: Security, client: dict[str, str]) -> None:
    """Every client gets them from the settings, beside the address."""
    settings = Settings(bootstrap="a:1", state_dir=Path("state"), security=made)

    assert {"bootstrap.servers": "a:1", **client}.items() <= settings.client().items()
    assert SECRET not in repr(settings)


@pytest.mark.parametrize("content", [f"{SECRET}\n", SECRET, f"{SECRET}\r\n"])
def test_password_from_a_file(tmp_path: Path, content: str) -> None:
    """The line ending is not part of the password."""
    (tmp_path / "p").write_text(content, newline="")

    assert SECRET == read_password(tmp_path / "p")


@pytest.mark.parametrize("content", [b"", b"\n", b"two\nlines", b"\xff", b"x" * (MOST_PASSWORD_BYTES + 1)])
def test_unusable_password_file(tmp_path: Path, content: bytes) -> None:
    """An unusable file is refused by name, and its content is not shown."""
    (tmp_path / "p").write_bytes(content)

    with pytest.raises(
        ConfigError, match=r"--sasl-password-file \S+/p (is not UTF-8 text|must contain exactly one line)"
    ):
        read_password(tmp_path / "p")


def test_missing_password_file(tmp_path: Path) -> None:
    """A file that cannot be read is named."""
    with pytest.raises(ConfigError, match=r"--sasl-password-file \S+/p cannot be read: No such file"):
        read_password(tmp_path / "p")


def test_password_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a file the variable is the password; an empty one counts as unset."""
    monkeypatch.setenv("BETRACE_SASL_PASSWORD", SECRET)
    found = read_password(None)
    monkeypatch.setenv("BETRACE_SASL_PASSWORD", "")

    assert (SECRET, None) == (found, read_password(None))
