"""Sends one HTTP request to a platform, as JSON: encrypted, bounded in time and size, and retried while that may help.

In: a method, a URL, a body, optionally a token. Out: the answer's JSON. A token and figures leave this machine
encrypted or not at all; whatever the other side answers, time and memory are bounded.
"""

from __future__ import annotations

import email.utils
import time
from ipaddress import ip_address
from urllib.parse import urlsplit

import msgspec
import urllib3
from urllib3.exceptions import HTTPError, LocationParseError

from streams.errors import ConfigError, NotDoneError

TRIES = 6
ANSWER_S = 30.0
"""The time limit of an answer, from the request to its last byte, also for a server that sends nothing."""
ANSWER_BYTES = 8 << 20
BACKOFF_S = 0.5
MOST_WAIT_S = 60.0
"""The longest wait before a retry, whatever the server requests."""
_AGAIN = frozenset({429, 500, 502, 503, 504})
_SHOWN_BYTES = 500
_READ_BYTES = 1 << 16


def check_url(url: str) -> None:
    """Raise `ConfigError` unless the URL is https, or http on this machine.

    >>> check_url("https://api.vanta.com"), check_url("http://127.0.0.1:8080")
    (None, None)
    """
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return
    if parts.scheme != "http" or not _is_this_machine(parts.hostname):
        raise ConfigError(f"{url} is not https: figures and tokens are sent unencrypted only to this machine")


def _is_this_machine(host: str | None) -> bool:
    try:
        return host == "localhost" or (host is not None and ip_address(host).is_loopback)
    except ValueError:
        return False


def send(method: str, url: str, body: object, *, backoff_s: float = BACKOFF_S, token: str | None = None) -> object:
    """Send one request; return the answer's JSON, None if it has none.

    Raises:
        ConfigError: the URL is not https, or the platform rejects the request, or its answer is invalid.
        NotDoneError: it does not answer, or not yet.
    """
    check_url(url)
    headers = {"Content-Type": "application/json", "Accept": "application/json", "Accept-Encoding": "identity"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    status, content = _tried(method, url, msgspec.json.encode(body), headers, backoff_s)
    if not 200 <= status < 300:  # noqa: PLR2004, HTTP's success
        raise ConfigError(f"{url} answers {status}: {content[:_SHOWN_BYTES].decode(errors='replace')}")
    try:
        return msgspec.json.decode(content) if content else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _tried(method: str, url: str, body: bytes, headers: dict[str, str], backoff_s: float) -> tuple[int, bytes]:
    """Return the status and content of the first answer that a retry would not change."""
    reason = ""
    with urllib3.PoolManager() as pool:
        for number in range(TRIES + 1):
            wait_s = min(backoff_s * 2**number, MOST_WAIT_S)
            try:
                status, content, retry_after_s = _send_once(pool, method, url, body, headers)
            except (LocationParseError, UnicodeError) as error:
                raise ConfigError(f"{url} is not a valid address: {error}") from error
            except HTTPError as error:
                reason = f"does not answer: {error}"
            else:
                if status not in _AGAIN:
                    return status, content
                reason = f"answers {status} after {TRIES} retries: try again later"
                wait_s = min(retry_after_s, MOST_WAIT_S) if retry_after_s is not None else wait_s
            if number < TRIES:
                time.sleep(wait_s)
    raise NotDoneError(f"{url} {reason}")


def _send_once(
    pool: urllib3.PoolManager, method: str, url: str, body: bytes, headers: dict[str, str]
) -> tuple[int, bytes, float | None]:
    """Return the status, the content, and how long the server asks to wait."""
    deadline_s = time.monotonic() + ANSWER_S
    answer = pool.request(
        method, url, body=body, headers=headers, retries=False, redirect=False, timeout=ANSWER_S, preload_content=False
    )
    try:
        if answer.headers.get("Content-Encoding", "identity") != "identity":
            raise ConfigError(f"{url} answers in an encoding that was not requested")
        content = b""
        while part := answer.read(_READ_BYTES, decode_content=False):
            content += part
            if len(content) > ANSWER_BYTES:
                raise ConfigError(f"{url} answers more than {ANSWER_BYTES:,} bytes")
            if time.monotonic() > deadline_s:
                raise NotDoneError(f"{url} does not answer: not finished after {ANSWER_S:g}s")
        return answer.status, content, _retry_after_s(answer.headers.get("Retry-After"))
    finally:
        # The rest of the answer is not needed.
        answer.close()


def _retry_after_s(text: str | None) -> float | None:
    """Return the wait that `Retry-After` requests, in seconds; None if it is missing or invalid."""
    if text is None:
        return None
    if text.strip().isdecimal():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None
