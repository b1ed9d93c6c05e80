"""Tests pushing figures to Drata and Vanta, against servers that behave as their documentation says."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from click.testing import CliRunner, Result

from streams.cli import main
from streams.errors import ConfigError, NotDoneError
from streams.evidence.report import request
from streams.evidence.report.push import INT32_MAX, Drata, Vanta
from tests.support.quarter import START_MS, Quarter

FIRST: Mapping[str, str | int | bool] = {"id": "example.com/a", "title": "A", "held": 3}
SECOND: Mapping[str, str | int | bool] = {"id": "example.com/b", "title": "B", "held": 4}


@dataclass(slots=True)
class Account:
    """The platform's state: records by id, requests, and answers that it gives first instead."""

    records: dict[str, Any] = field(default_factory=dict)
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    failing: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    raw: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)
    tokens: int = 0


class Api(BaseHTTPRequestHandler):
    """Drata's upsert of records, and Vanta's token and replacement of all resources."""

    account: ClassVar[Account]

    def do_POST(self) -> None:
        """Handles an upsert, or a token request."""
        self._answer(self._post)

    def do_PUT(self) -> None:
        """Handles the replacement of all resources."""
        self._answer(self._put)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as above
        """Logs nothing."""

    def _answer(self, act: Any) -> None:  # noqa: ANN401 - a method
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.account.asked.append((self.command, self.path, dict(self.headers)))
        if self.account.raw:
            self._send(*self.account.raw.pop(0))
        elif self.account.failing:
            status, headers = self.account.failing.pop(0)
            self._say(status, {"message": "later"}, headers)
        else:
            self._say(*act(body))

    def _post(self, body: Any) -> tuple[int, object]:  # noqa: ANN401 - JSON
        if self.path == "/oauth/token":
            if (body["client_secret"], body["grant_type"]) != ("s3cret", "client_credentials"):
                return 401, {"error": "invalid_client"}
            self.account.tokens += 1
            return 200, {"access_token": f"token-{self.account.tokens}", "expires_in": 3599}
        if self.headers["Authorization"] != "Bearer s3cret":
            return 401, {"message": "Invalid Authorization"}
        if self.path != "/custom-connections/12/resources/34/records":
            return 404, {"message": "Not Found"}
        said = []
        for record in body["data"]:
            if "held" not in record:
                error = {"message": "must have required property 'held'", "code": 28022}
                said.append({"statusCode": 400, "data": record, "error": error})
                continue
            code = 200 if record["id"] in self.account.records else 201
            self.account.records[record["id"]] = record
            said.append({"id": record["id"], "statusCode": code, "data": record})
        return 200, said

    def _put(self, body: Any) -> tuple[int, object]:  # noqa: ANN401 - JSON
        if self.headers["Authorization"] != f"Bearer token-{self.account.tokens}" or not self.account.tokens:
            return 401, {"error": "invalid_token"}
        if body["resourceId"] != "res1":
            return 404, {"error": "no such resource"}
        for resource in body["resources"]:
            assert {"displayName", "uniqueId", "externalUrl", "customProperties"} == resource.keys()
        self.account.records = {resource["uniqueId"]: resource for resource in body["resources"]}
        return 200, {"success": True}

    def _say(self, status: int, body: object, headers: dict[str, str] | None = None) -> None:
        self._send(status, headers or {}, json.dumps(body).encode())

    def _send(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        with suppress(ConnectionError):  # the client may not read all of it
            self.wfile.write(content)


@contextmanager
def serving() -> Iterator[tuple[str, Account]]:
    """The platform on a free port of this machine."""
    account = Account()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Own", (Api,), {"account": account}))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", account
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def platform() -> Iterator[tuple[str, Account]]:
    """A platform of its own."""
    with serving() as found:
        yield found


def drata(url: str, token: str = "s3cret", resource: int = 34) -> Drata:  # noqa: S107 - the test's own
    """A resource there."""
    return Drata(token=token, connection=12, resource=resource, url=url, backoff_s=0.001)


def vanta(url: str, secret: str = "s3cret", resource: str = "res1") -> Vanta:  # noqa: S107 - the test's own
    """A resource there."""
    return Vanta(
        client_id="id",
        client_secret=secret,
        resource=resource,
        link="https://example.com/report",
        url=url,
        backoff_s=0.001,
    )


@pytest.mark.parametrize("target", [drata, vanta])
def test_push_is_idempotent(platform: tuple[str, Account], target: Any) -> None:  # noqa: ANN401 - either
    """Pushing the same figures changes nothing, and new ones replace the old."""
    url, account = platform
    target(url).push([FIRST, SECOND])
    once = dict(account.records)

    target(url).push([FIRST, SECOND])

    assert once == account.records
    assert {"example.com/a", "example.com/b"} == account.records.keys()
    target(url).push([{**FIRST, "held": 5}, SECOND])
    assert once != account.records
    assert 2 == len(account.records)


@pytest.mark.parametrize("target", [drata, vanta])
def test_temporary_failures_are_retried(platform: tuple[str, Account], target: Any) -> None:  # noqa: ANN401
    """Rate limits and server errors are retried, after the wait that the server names."""
    url, account = platform
    account.failing = [(503, {}), (429, {"Retry-After": "0"}), (500, {})]

    target(url).push([FIRST])

    assert [] == account.failing
    assert ["example.com/a"] == [*account.records]


@pytest.mark.parametrize("target", [drata, vanta])
def test_retries_are_limited(platform: tuple[str, Account], target: Any) -> None:  # noqa: ANN401 - either
    """After some retries the command fails and says so."""
    url, account = platform
    account.failing = [(503, {})] * 50

    with pytest.raises(NotDoneError, match="answers 503 after"):
        target(url).push([FIRST])

    assert 50 > len(account.failing) > 30


@pytest.mark.parametrize("asked", ["86400", "Fri, 31 Dec 2100 23:59:59 GMT"])
def test_retry_after_is_limited(platform: tuple[str, Account], monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    """`Retry-After` is respected up to a limit."""
    url, account = platform
    waited: list[float] = []
    monkeypatch.setattr("streams.evidence.report.request.time.sleep", waited.append)
    account.failing = [(429, {"Retry-After": asked})]

    drata(url).push([FIRST])

    assert [request.MOST_WAIT_S] == waited


def test_retry_after_is_respected(platform: tuple[str, Account], monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds are parsed; an invalid time counts as absent."""
    url, account = platform
    waited: list[float] = []
    monkeypatch.setattr("streams.evidence.report.request.time.sleep", waited.append)
    account.failing = [(429, {"Retry-After": "7"}), (503, {"Retry-After": "soon"})]

    drata(url).push([FIRST])

    assert [7.0, 0.002] == waited


@pytest.mark.parametrize("headers", [{}, {"Content-Encoding": "gzip"}])
def test_size_of_an_answer_is_limited(platform: tuple[str, Account], headers: dict[str, str]) -> None:
    """An answer above the limit is not read, nor one that would have to be decompressed."""
    url, account = platform
    content = gzip.compress(bytes(64 << 20)) if headers else bytes(request.ANSWER_BYTES + 1)
    account.raw = [(200, headers, content), (503, headers, content)]

    with pytest.raises(ConfigError, match=r"not requested$|answers more than"):
        drata(url).push([FIRST])


@pytest.mark.parametrize("url", ["http://api.example.com", "ftp://127.0.0.1/x", "http://127.0.0.1.example.com", "//x"])
def test_figures_are_encrypted(url: str) -> None:
    """Neither figures nor a token are sent unencrypted to another machine."""
    with pytest.raises(ConfigError, match="is not https"):
        drata(url).push([FIRST])


@pytest.mark.parametrize("url", ["http://localhost:1", "http://[::1]:1", "https://127.0.0.1:1"])
def test_local_requests_may_be_unencrypted(url: str) -> None:
    """Nobody else can listen."""
    request.check_url(url)


def test_missing_answer_is_an_error() -> None:
    """Without an answer the command fails and says so."""
    with serving() as (url, _):
        pass

    with pytest.raises(NotDoneError, match="does not answer"):
        drata(url).push([FIRST])


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        (lambda url: drata(url, "wrong"), "answers 401: .*Invalid Authorization"),
        (lambda url: drata(url, resource=35), "answers 404"),
        (lambda url: vanta(url, "wrong"), "answers 401: .*invalid_client"),
        (lambda url: vanta(url, resource="other"), "answers 404"),
    ],
)
def test_refused_request_is_not_retried(platform: tuple[str, Account], target: Any, reason: str) -> None:  # noqa: ANN401
    """The platform's message is shown, and no secret."""
    url, account = platform

    with pytest.raises(ConfigError, match=reason) as raised:
        target(url).push([FIRST])

    assert "s3cret" not in str(raised.value)
    assert 2 >= len(account.asked)


def test_a_record_that_drata_refuses_is_an_error(platform: tuple[str, Account]) -> None:
    """A single record of an accepted batch may be rejected."""
    with pytest.raises(ConfigError, match="required property 'held'"):
        drata(platform[0]).push([FIRST, {"id": "x"}])


def test_numbers_that_vanta_cannot_hold_are_refused() -> None:
    """The platform has 32-bit numbers; nothing is sent rather than a wrong one."""
    with pytest.raises(ConfigError, match="accepts no number above"):
        vanta("http://127.0.0.1:1").bodies([{**FIRST, "held": INT32_MAX + 1}])


def call(*words: object, **environment: str) -> Result:
    """Runs the command."""
    return CliRunner().invoke(main, ["evidence", "push", *map(str, words)], env=environment)


def test_the_command_pushes_a_report(platform: tuple[str, Account], tmp_path: Path) -> None:
    """Each rule is a record with the report's figures; a dry run prints the same and sends nothing."""
    url, account = platform
    quarter = Quarter(tmp_path, 2, broken={3})
    quarter.make()
    words = [tmp_path, "--platform", "drata", "--connection", 12, "--resource", 34, "--url", url]
    words += ["--from", "2026-01-01T00:00:00Z"]

    dry = call(*words, "--dry-run")

    assert (0, []) == (dry.exit_code, account.asked)
    done = call(*words, DRATA_API_KEY="s3cret")
    assert (0, "pushed 3 records to drata\n") == (done.exit_code, done.stdout)
    assert [*account.records.values()] == json.loads(dry.stdout.split("\n", 1)[1])["data"]
    pii = account.records["example.com/betrace/pii-access-is-logged"]
    assert (1, False, True) == (pii["broken"], pii["held_over_whole_period"], pii["whole_period_judged"])
    assert sum(one.added.held for one in quarter.told if one.rule == "pii-access-is-logged") == pii["held"]
    assert START_MS == 1_767_225_600_000
    assert "2026-01-01T00:00:00.000Z" == pii["period_from"]


def test_without_a_secret_nothing_is_done(tmp_path: Path) -> None:
    """The message names the missing variable."""
    done = call(
        tmp_path, "--platform", "vanta", "--resource", "r", "--link", "https://example.com", VANTA_CLIENT_ID="x"
    )

    assert 2 == done.exit_code
    assert "VANTA_CLIENT_SECRET is not set" in done.stderr
