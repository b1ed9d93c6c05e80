"""A token server for the client credentials grant (RFC 6749, 4.4)."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = "no-one-guesses-it"  # noqa: S105, of clients that live as long as a test


@contextmanager
def serving() -> Iterator[TokenServer]:
    """A server as long as the context lasts."""
    made = TokenServer()
    threading.Thread(target=made.serve_forever, daemon=True).start()
    try:
        yield made
    finally:
        made.shutdown()
        made.server_close()


class TokenServer(ThreadingHTTPServer):
    """Gives a token to every client that knows the secret, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.life_s = 1000
        super().__init__(("127.0.0.1", 0), _Answers)

    @property
    def url(self) -> str:
        """Where tokens are."""
        return f"http://127.0.0.1:{self.server_port}/token"

    def token(self, subject: str) -> str:
        """A token that nobody signed (RFC 7519, 6), as a broker takes it that was not told whom to believe."""
        claims = {"sub": subject, "jti": str(len(self.asked)), "iat": int(time.time()), "exp": int(time.time()) + 600}
        return f"{_part({'alg': 'none'})}.{_part(claims)}."


def _part(content: dict[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


class _Answers(BaseHTTPRequestHandler):
    server: TokenServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """A token, or a refusal."""
        said = self.headers["Authorization"]
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.asked.append((said, body))
        name, _, secret = base64.b64decode(said.removeprefix("Basic ")).decode().partition(":")
        token = self.server.token(name)
        is_client = secret == SECRET
        content = json.dumps({"access_token": token, "expires_in": self.server.life_s}).encode()
        self.send_response(200 if is_client else 401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Says nothing."""
