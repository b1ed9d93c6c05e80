"""Converts the security settings (`streams.config.security`) to those of aiokafka, Faust's client."""

from __future__ import annotations

import base64
import ssl
import time
from typing import Any

import aiohttp
import faust
from aiokafka.abc import AbstractTokenProvider

from streams.config.security import Mechanism, Security
from streams.errors import ConfigError, NotDoneError

TOKEN_S = 10.0
RENEW_AT = 0.8
"""A token is renewed after this fraction of its lifetime."""


def credentials(security: Security) -> Any | None:  # noqa: ANN401, Faust has no types
    """Return Faust's credentials, None when the brokers require none.

    Raises:
        ConfigError: a certificate or key cannot be used.
    """
    tls = _tls(security) if security.protocol.has_tls else None
    if not security.protocol.has_sasl:
        return None if tls is None else faust.SSLCredentials(tls)
    if security.mechanism is Mechanism.OAUTHBEARER:
        return faust.OAuthCredentials(oauth_cb=Tokens(security, tls), ssl_context=tls)
    return faust.SASLCredentials(
        username=security.username,
        password=security.password,
        ssl_context=tls,
        mechanism=security.mechanism.value,
    )


class Tokens(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka has no types
    """Access tokens by the client credentials grant (RFC 6749, 4.4), as librdkafka fetches them for its clients."""

    def __init__(self, security: Security, tls: ssl.SSLContext | None) -> None:
        self._security = security
        self._tls = tls
        self._token = ""
        self._renew_s = 0.0

    async def token(self) -> str:
        """Return a token that is still valid for a while.

        Raises:
            NotDoneError: the server returned none; the message repeats nothing of its answer.
        """
        if time.monotonic() >= self._renew_s:
            self._token, life_s = await self._ask()
            self._renew_s = time.monotonic() + life_s * RENEW_AT
        return self._token

    async def _ask(self) -> tuple[str, float]:
        security = self._security
        client = base64.b64encode(f"{security.username}:{security.password}".encode()).decode()
        headers = {"Authorization": f"Basic {client}"}
        url = security.token_url or ""
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(TOKEN_S)) as session,
                session.post(
                    url, data={"grant_type": "client_credentials"}, headers=headers, ssl=self._tls or True
                ) as answer,
            ):
                answer.raise_for_status()
                body = await answer.json(content_type=None)
                return str(body["access_token"]), float(body.get("expires_in", 0))
        except (aiohttp.ClientError, TimeoutError, KeyError, TypeError, ValueError) as error:
            raise NotDoneError(f"{url} returned no token: {type(error).__name__}") from error


def _tls(security: Security) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=security.ca_file)
        if security.cert_file is not None and security.key_file is not None:
            context.load_cert_chain(security.cert_file, security.key_file, _no_password)
    except (OSError, ValueError) as error:
        raise ConfigError(f"a certificate or key cannot be used: {error}") from error
    return context


def _no_password() -> str:
    """Return an empty password; OpenSSL would prompt at the terminal otherwise."""
    return ""
