"""The security settings as Faust's client gets them; the token server is a real one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import faust
import pytest

from streams.config.security import Mechanism, Protocol, Security
from streams.errors import ConfigError, NotDoneError
from streams.sessions.credentials import Tokens, credentials
from tests.support import tokens
from tests.support.tokens import SECRET, TokenServer


@pytest.fixture
def server() -> Iterator[TokenServer]:
    """A running server."""
    with tokens.serving() as made:
        yield made


def bearer(url: str, password: str = SECRET) -> Security:
    """Create a client that fetches tokens."""
    return Security(
        protocol=Protocol.SASL_PLAINTEXT,
        mechanism=Mechanism.OAUTHBEARER,
        username="u",
        password=password,
        token_url=url,
    )


def test_open_cluster_needs_none() -> None:
    """For brokers without authentication, Faust gets no credentials."""
    assert credentials(Security()) is None


@pytest.mark.parametrize("mechanism", [Mechanism.PLAIN, Mechanism.SCRAM_SHA_256, Mechanism.SCRAM_SHA_512])
def test_user_and_password(mechanism: Mechanism) -> None:
    """A user of SASL over TLS is passed on to Faust."""
    made = credentials(Security(protocol=Protocol.SASL_SSL, mechanism=mechanism, username="u", password="p"))  # noqa: S106, of no one

    assert isinstance(made, faust.SASLCredentials)
    assert ("u", "p", mechanism.value, "SASL_SSL") == (
        made.username,
        made.password,
        made.mechanism.value,
        made.protocol.value,
    )
    assert made.ssl_context.check_hostname
    assert "p" not in repr(made).replace("username", "")


def test_tls_without_sasl() -> None:
    """A cluster may be encrypted without authentication."""
    assert isinstance(credentials(Security(protocol=Protocol.SSL)), faust.SSLCredentials)


def test_invalid_certificate(tmp_path: Path) -> None:
    """A file that is not a certificate is an error of the operator."""
    (tmp_path / "ca.pem").write_text("nothing")

    with pytest.raises(ConfigError, match="a certificate or key cannot be used"):
        credentials(Security(protocol=Protocol.SSL, ca_file=tmp_path / "ca.pem"))


def test_token_is_kept_while_it_is_valid(server: TokenServer) -> None:
    """A token is fetched once with id and secret, and again before it expires."""
    given = credentials(bearer(server.url))
    assert isinstance(given, faust.OAuthCredentials)
    provider = given.oauth_cb

    kept = [asyncio.run(provider.token()) for _ in range(2)]
    server.life_s = 0
    ending = Tokens(bearer(server.url), None)
    renewed = [asyncio.run(ending.token()) for _ in range(2)]

    assert (1, 2) == (len({*kept}), len({*renewed}))
    assert 3 == len(server.asked)
    assert 1 == len({*server.asked})
    assert "grant_type=client_credentials" == server.asked[0][1]


def test_refused_token_shows_no_secret(server: TokenServer) -> None:
    """The error names the server that refused, not the secret."""
    with pytest.raises(NotDoneError, match=r"^http://127\.0\.0\.1:\d+/token returned no token: ClientResponseError$"):
        asyncio.run(Tokens(bearer(server.url, "wrong"), None).token())
